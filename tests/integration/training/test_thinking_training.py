# SPDX-License-Identifier: Apache-2.0
"""Two steps of training with a model whose chat template opens the thinking: the run knows it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medix_verl.report.run.dumps import read_dumps
from medix_verl.response import parse_response

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
START = "<|im_start|>assistant\\n"


@pytest.fixture(scope="module")
def thinking_policy(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's policy with `<think>` at the end of its generation prompt."""
    folder = tmp_path_factory.mktemp("thinking") / "policy"
    shutil.copytree(demo_folder / "policy", folder)
    path = folder / "chat_template.jinja"
    template = path.read_text(encoding="utf-8")
    assert START in template
    path.write_text(template.replace(START, START + "<think>\\n"), encoding="utf-8")
    return folder


def test_two_steps_behind_an_open_thinking(train: Callable[..., Any], thinking_policy: Path) -> None:
    run = train("trainer.total_training_steps=2", f"actor_rollout_ref.model.path={thinking_policy}", limit_s=500.0)
    assert run.end.returncode == 0, run.log[-3000:]
    steps = [step for step in run.steps if step.is_training]
    assert [step.number for step in steps] == [1, 2]
    assert all(step.data["medix/thinking/open"] == 1.0 for step in steps)
    assert all(step.data["medix/unscored"] == 0 for step in steps)

    answers = read_dumps(run.folder / "rollouts", run.folder / "rollouts" / "parts", keep=100).kept
    assert len(answers) == 32
    # verl's dump has the model's own text, and the prompt that it stands behind.
    assert all(answer.input.endswith("<think>\n") for answer in answers)
    for answer in answers:
        found = parse_response(answer.output, "open")
        assert answer.terms["format"] == float(found.well_formed) and answer.parsed == found.answer
        if not answer.output.lstrip().startswith(("<think", "<X_RAY")):
            assert not parse_response(answer.output).well_formed  # what the reward said before
    parts = [json.loads(line) for path in (run.folder / "rollouts" / "parts").glob("*.jsonl")
             for line in path.read_text(encoding="utf-8").splitlines()]  # fmt: skip
    assert {part["thinking_open"] for part in parts} == {1.0}
    # The warm-up wrote behind another prompt; some of its answers are well formed behind this one all the same.
    assert max(step.data["medix/format/mean"] for step in steps) > 0


def test_a_run_stops_before_it_trains_where_tags_are_special(train: Callable[..., Any], thinking_policy: Path) -> None:
    path = thinking_policy.with_name("special")
    shutil.copytree(thinking_policy, path)
    state = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    for token in state["added_tokens"]:
        token["special"] = token["special"] or token["content"] in ("<answer>", "</answer>")
    (path / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    run = train("trainer.total_training_steps=2", f"actor_rollout_ref.model.path={path}", limit_s=500.0)
    assert run.end.returncode != 0 and not run.steps
    assert "<answer>, </answer> as special tokens" in run.log
    assert "type reward.medix.special_tokens=keep" in run.log

# SPDX-License-Identifier: Apache-2.0
"""Time, worked out by hand: 2,560 answers a step, 8 GPUs, rollouts measured on 2 of them at 5 answers a second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from medix_verl.recipe.bench.measure import Measured
from medix_verl.recipe.bench.record import BenchRecord, make_record
from medix_verl.recipe.check import Check
from medix_verl.recipe.plan.pace import Demand, pace_checks

SETTINGS: dict[str, dict[str, Any]] = {
    "rollout": {"model": "m"},
    "judge": {"kind": "openai"},
    "encoder": {"model": "e"},
}
DEMAND = Demand(
    answers=2560,
    gpus={"rollout": 8, "judge": 0},
    settings=SETTINGS,
    waiting_gpus=8,
    command="--recipe medix",
)


def record(name: str, rate: float, gpus: int = 0, failed: int = 0, **settings: Any) -> BenchRecord:
    found = Measured(answers=10, failed=failed, seconds=10 / rate, median_s=1.0, slow_s=1.0)
    lengths = {"prompt_tokens": 500, "response_tokens": 1000} if name == "rollout" else {}
    return make_record(name, found, 4, settings or SETTINGS[name], lengths, gpus)


def checks(*records: BenchRecord, demand: Demand = DEMAND, step_s: float | None = None) -> dict[str, Check]:
    return {check.name: check for check in pace_checks(demand, records, step_s)}


def test_the_slowest_makes_the_gpus_wait() -> None:
    """Rollouts 5 x 8 / 2 = 20 a second, 128 s a step; the judge's 8 a second take 320 s: 192 s more, 60 % of it."""
    found = checks(record("rollout", 5.0, gpus=2), record("judge", 8.0), record("encoder", 40.0))
    assert found["rollout pace"].found == (
        "holds 20.0 answers a second (8 GPUs, measured on 2), 20.0 are needed (prompts of 500 tokens, answers of 1000)"
    )
    assert found["judge pace"] == Check(
        "judge pace",
        "warn",
        "holds 8.0 answers a second, 20.0 are needed",
        "more servers in reward.medix.judge.url, or reward.medix.judge.max_concurrent higher, or a smaller judge",
    )
    assert (found["rollout pace"].status, found["encoder pace"].status) == ("ok", "ok")
    assert found["GPUs wait"].status == "warn" and found["GPUs wait"].found == (
        "for the judge: the 2560 answers of a step take it 320 s instead of 128 s; 8 GPUs wait 192 s a step, 60 % of it"
    )


def test_nothing_waits_where_all_hold_what_the_rollouts_give() -> None:
    found = checks(record("rollout", 5.0, gpus=2), record("judge", 20.0), record("encoder", 21.0))
    assert [check.status for check in found.values()] == ["ok"] * 4
    assert found["GPUs wait"].found == (
        "for nothing: the 2560 answers of a step are judged within the 128 s of their rollouts"
    )


def test_a_time_for_the_step_holds_the_rollouts_to_it_too() -> None:
    """2,560 answers in 64 s: 40 a second."""
    found = checks(record("rollout", 5.0, gpus=2), record("judge", 50.0), record("encoder", 50.0), step_s=64.0)
    assert found["rollout pace"].status == "warn" and "20.0 answers a second (8" in found["rollout pace"].found
    assert "40.0 are needed" in found["judge pace"].found and found["judge pace"].status == "ok"
    assert found["GPUs wait"].found.startswith(
        "for the rollout: the 2560 answers of a step take it 128 s instead of 64"
    )


def test_trainers_with_gpus_of_their_own_are_told_of_the_flag() -> None:
    every = (record("rollout", 5.0, gpus=2), record("judge", 50.0), record("encoder", 50.0))
    assert checks(*every, demand=replace(DEMAND, apart=True))["GPUs wait"].found.endswith("--step-seconds S says")


def test_a_judge_on_gpus_of_the_run_grows_with_them() -> None:
    demand = replace(DEMAND, gpus={"rollout": 6, "judge": 4})
    assert checks(record("judge", 8.0, gpus=2), demand=demand)["judge pace"].found.startswith(
        "holds 16.0 answers a second (4 GPUs, measured on 2)"
    )


def test_what_is_not_measured_is_said_with_its_command() -> None:
    found = checks(record("rollout", 5.0, gpus=2))
    assert found["judge pace"] == Check(
        "judge pace",
        "warn",
        "not measured; 20.0 answers a second are needed",
        "medix-verl bench judge --recipe medix --out judge.json, then --bench judge.json",
    )
    assert found["GPUs wait"].status == "warn" and "judge, encoder not measured" in found["GPUs wait"].found
    assert checks()["GPUs wait"].found.startswith("not known: nothing is measured")
    alone = checks(record("judge", 8.0))["GPUs wait"]
    assert "2560 answers of a step take judge 320 s, rollouts unmeasured" in alone.found
    assert alone.todo.startswith("medix-verl bench rollout --recipe medix")


def test_a_recipe_without_an_encoder_needs_none() -> None:
    found = checks(demand=replace(DEMAND, settings={kind: SETTINGS[kind] for kind in ("rollout", "judge")}))
    assert "encoder pace" not in found


def test_other_settings_than_the_recipes_are_named() -> None:
    found = checks(record("judge", 50.0, kind="rule"))["judge pace"]
    assert found.status == "warn" and "measured with kind='rule', the recipe has 'openai'" in found.found
    assert found.todo == "medix-verl bench judge --recipe medix --out judge.json"


@pytest.mark.parametrize("rate", [8.0, 50.0])
def test_failures_are_said(rate: float) -> None:
    found = checks(record("rollout", 5.0, gpus=2), record("judge", rate, failed=5))["judge pace"]
    assert found.status == "warn" and "5 of 15 failed" in found.found and found.todo

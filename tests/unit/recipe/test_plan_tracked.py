# SPDX-License-Identifier: Apache-2.0
"""The planner against what torch's FSDPMemTracker found of verl's actor and reference.

The figures are those of tests/benchmarks/fsdp_memory.py; two are measured again in
tests/integration/recipe/test_fsdp_memory.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from helpers.places import golden
from medix_verl.recipe.plan.estimate import (
    GIB,
    Engine,
    Plan,
    Rollout,
    Training,
    probability_parts,
    reference_parts,
    update_parts,
)
from medix_verl.recipe.plan.from_recipe import BYTES
from medix_verl.recipe.plan.model_sizes import ModelSize, known_models

GOLDEN: dict[str, Any] = golden("fsdp_memory")
WITHIN = 0.15
PARTS = {"update": update_parts, "probabilities": probability_parts, "reference": reference_parts}


def plan_of(case: dict[str, Any]) -> Plan:
    """The plan of a measured case."""
    known = {**known_models(), **{name: ModelSize(**fields) for name, fields in GOLDEN["models"].items()}}
    model = known[case["model"]]
    if layers := case["layers"]:
        counts = case["parameters"]
        fewer = {"parameters": counts["all"], "vision": counts["vision"]}
        model = replace(model, layers=layers, vision_layers=layers, **fewer)
    training = Training(
        tokens=case["tokens"],
        probability_tokens=case["tokens"],
        pictures=case["pictures"],
        recompute=case["recompute"],
        compiled=case["compiled"],
        flash=case["flash"],
    )
    engine = Engine(bytes_per_weight=BYTES[case["dtype"]])
    return Plan(model, case["world"], 1, 80.0, engine, training, Rollout(1, 0.5, 8192))


def tracked(case: dict[str, Any]) -> float:
    """GiB at the peak; a reference's own weights are on the host, and were on the device when it was tracked."""
    peaks = [sizes["Total"] - (sizes["Sharded Param"] if case["phase"] == "reference" else 0) for sizes in
             case["bytes"].values()]  # fmt: skip
    return float(max(peaks)) / GIB


def test_each_geometry_and_phase_was_tracked() -> None:
    found = {(case["model"], case["phase"]) for case in GOLDEN["cases"].values()}
    models = ("Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-30B-A3B-Thinking")
    assert found >= {(model, phase) for model in models for phase in PARTS}
    assert all(case["world"] == 8 for case in GOLDEN["cases"].values() if case["model"] in models)


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_the_planner_is_within_15_percent(name: str) -> None:
    case = GOLDEN["cases"][name]
    parts = PARTS[case["phase"]](plan_of(case))
    assert sum(parts.values()) == pytest.approx(tracked(case), rel=WITHIN), parts


@pytest.mark.parametrize("name", GOLDEN["real"])
def test_the_planner_is_within_15_percent_of_two_real_ranks(name: str) -> None:
    """What the CPU's allocator gave out, over gloo."""
    case = GOLDEN["real"][name]
    parts = PARTS[case["phase"]](plan_of(case))
    assert sum(parts.values()) == pytest.approx(case["bytes"]["pass"]["Total"] / GIB, rel=WITHIN), parts

# SPDX-License-Identifier: Apache-2.0
"""Averages over the answers that a part applies to, and over no others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.embedding.encoder import EncoderStats
from medix_verl.judge.stats import JudgeStats
from medix_verl.rewards.keys import to_verl
from medix_verl.rewards.metrics import REDUCERS, part_metrics, service_metrics
from medix_verl.types import RewardBreakdown

PARTS = ("score", "acc", "judge", "semantic", "format", "modality")


def answer(
    score: float, acc: float, semantic: float | None = 1.0, modality: float | None = 1.0, form: float = 1.0
) -> dict[str, float]:
    return to_verl(
        RewardBreakdown(
            score=score,
            acc=acc,
            judge=acc,
            semantic=semantic,
            format=form,
            modality=modality,
            judge_ok=True,
            semantic_ok=semantic is not None,
            modality_applies=modality is not None,
            semantic_applies=semantic is not None,
            answer="x",
        )
    )


def test_no_answers_give_no_metrics() -> None:
    assert part_metrics([]) == {}


def test_means_and_deviations() -> None:
    metrics = part_metrics([answer(1.0, 1.0), answer(0.1, 0.0, semantic=0.0, modality=0.0)])
    assert metrics["medix/score/mean"] == pytest.approx(0.55)
    assert metrics["medix/score/std"] == pytest.approx(0.45)
    assert metrics["medix/acc/mean"] == metrics["medix/judge/mean"] == 0.5
    assert metrics["medix/format/std"] == 0.0
    assert {metrics[f"medix/{part}/valid"] for part in PARTS} == {1.0}


def test_a_text_only_answer_does_not_lower_the_modality() -> None:
    """verl's own average would count its 0."""
    metrics = part_metrics([answer(1.0, 1.0), answer(1.0, 1.0, modality=None), answer(1.0, 1.0, modality=None)])
    assert metrics["medix/modality/mean"] == 1.0
    assert metrics["medix/modality/valid"] == pytest.approx(1 / 3)
    assert metrics["medix/acc/valid"] == 1.0


def test_a_part_that_applies_nowhere_has_a_share_but_no_mean() -> None:
    metrics = part_metrics([answer(1.0, 1.0, semantic=None)])
    assert metrics["medix/semantic/valid"] == 0.0
    assert "medix/semantic/mean" not in metrics and "medix/semantic/std" not in metrics


def test_busy_seconds_are_summed_over_those_that_have_them() -> None:
    extras = [{**answer(1.0, 1.0), "reward_busy_s": 0.25}, {**answer(1.0, 1.0), "reward_busy_s": 0.5}]
    assert part_metrics(extras)["medix/reward/busy_s"] == 0.75
    assert part_metrics([*extras, answer(1.0, 1.0)])["medix/reward/busy_s"] == 0.75
    assert "medix/reward/busy_s" not in part_metrics([answer(1.0, 1.0)])


def test_the_services_numbers_carry_their_names() -> None:
    found = service_metrics({"calls": 3.0, "p95_s": 0.5}, {"embedded": 7}, "medix/val")
    assert found == {"medix/val/judge/calls": 3.0, "medix/val/judge/p95_s": 0.5, "medix/val/encoder/embedded": 7.0}
    assert service_metrics({}, {}) == {}


def test_no_name_changes_verls_reducer() -> None:
    assert service_metrics({"time_max_s": 1.0, "total": 2.0}, {"calls": 1.0}) == {"medix/encoder/calls": 1.0}
    named = [
        *JudgeStats(failures={"timeout": 1}).flat(),
        *EncoderStats.__dataclass_fields__,
        *part_metrics([answer(1, 1)]),
    ]
    assert [name for name in named if any(word in name for word in REDUCERS)] == []


def test_validation_has_names_of_its_own() -> None:
    assert part_metrics([answer(1.0, 1.0)], "medix/val")["medix/val/acc/mean"] == 1.0


unit = st.floats(0, 1)


@given(st.lists(st.builds(answer, unit, st.sampled_from([0.0, 1.0]), st.none() | unit, st.none() | unit), min_size=1))
def test_every_metric_is_a_finite_number_between_its_bounds(extras: list[dict[str, float]]) -> None:
    metrics = part_metrics(extras)
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in metrics.values())
    for part in PARTS:
        has_mean = f"medix/{part}/mean" in metrics
        assert has_mean is (metrics[f"medix/{part}/valid"] > 0)

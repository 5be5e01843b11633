# SPDX-License-Identifier: Apache-2.0
"""The warm-up's targets: well formed, with the tag only where there is a picture, and answers of the row's own kind."""

from __future__ import annotations

import re

import numpy as np
import pytest

from helpers.wheels import scikit_image
from medix_verl.demo.models.fit import pace
from medix_verl.demo.models.warmup import answer_pools, lean, target_text
from medix_verl.demo.questions.picture_rows import demo_samples
from medix_verl.response import parse_response

scikit_image()
ROWS = list(demo_samples("train", 60, seed=0))


def test_every_target_is_a_well_formed_response() -> None:
    for sample in ROWS:
        response = parse_response(target_text(sample, sample.answer))
        assert response.well_formed and response.answer == sample.answer and response.modality == sample.modality


def test_targets_never_give_the_answer_away_in_the_thinking() -> None:
    for sample in ROWS:
        thinking = parse_response(target_text(sample, sample.answer)).thinking or ""
        assert not re.search(rf"\b{re.escape(sample.answer)}\b", thinking, re.IGNORECASE)


def test_pools_hold_the_answers_of_one_kind() -> None:
    pools = answer_pools(ROWS)
    assert set(pools["where"]) <= {"upper left", "upper right", "lower left", "lower right"}
    assert all(sample.answer in pools[str(sample.meta["kind"])] for sample in ROWS)
    assert len(pools["modality"]) == 6


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    assert pace(0, 100, 10) == pytest.approx(0.1) and pace(9, 100, 10) == 1.0
    falling = [pace(step, 100, 10) for step in range(10, 100)]
    assert falling == sorted(falling, reverse=True) and falling[-1] < 0.01


def test_a_share_of_the_targets_is_right_and_the_rest_is_drawn() -> None:
    pools = answer_pools(ROWS)
    asked = [row for row in ROWS if row.meta["kind"] == "modality"]
    rng = np.random.default_rng(0)

    def right(share: float) -> float:
        drawn = [(row, lean(rng, row, pools["modality"], share)) for _ in range(100) for row in asked]
        return sum(answer == row.answer for row, answer in drawn) / len(drawn)

    chance = 1 / len(pools["modality"])
    assert right(1.0) == 1.0
    assert right(0.0) == pytest.approx(chance, abs=0.03)
    assert right(0.5) == pytest.approx(0.5 + 0.5 * chance, abs=0.03)

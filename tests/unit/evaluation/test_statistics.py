# SPDX-License-Identifier: Apache-2.0
"""A task's numbers: counts beside the mean, bounds, splits, and the average over tasks."""

import math

import numpy as np
import pytest

from medix_verl.errors import DataError
from medix_verl.evaluation.agreement import Estimate
from medix_verl.evaluation.intervals import clustered_mean
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.simulation import draw
from medix_verl.evaluation.statistics import macro_average, mean_of, summarise, summarise_task


def record(number: int, value: float | None = 1.0, status: str = "scored", **more: object) -> Record:
    given = {"task": "t", "cluster": str(number), "question": "q", "reference": "r", "response": "x", "answer": "x"}
    return Record(**{**given, "id": str(number), "value": value, "status": status, **more})  # type: ignore[arg-type]


def test_what_has_no_score_is_counted_and_bounded() -> None:
    records = [record(0), record(1), record(2, 0.0), record(3, None, "unscored"), record(4, None, "error")]
    found = summarise(records)
    assert found.estimate is not None and found.estimate.value == pytest.approx(2 / 3) and found.estimate.count == 3
    assert (found.counts.scored, found.counts.unscored, found.counts.errors, found.counts.total) == (3, 1, 1, 5)
    assert (found.worst, found.best, found.clusters) == (0.4, 0.8, 3)


def test_without_a_score_there_is_none() -> None:
    found = summarise([record(0, None, "unscored"), record(1, None, "error")])
    assert found.estimate is None and (found.worst, found.best) == (0.0, 1.0)
    nothing = summarise_task("t", []).overall
    assert nothing.estimate is nothing.worst is nothing.best is None and nothing.counts.total == 0


def test_the_mean_is_clustered() -> None:
    records = [record(n, float(n < 20), cluster=str(n // 10)) for n in range(40)]
    assert mean_of(records) == clustered_mean([float(n < 20) for n in range(40)], [n // 10 for n in range(40)])
    assert summarise(records).clusters == 4


def test_splits() -> None:
    records = [
        record(0, answer_type="open", modality="MRI_SCAN"),
        record(1, 0.0, answer_type="closed", modality="MRI_SCAN"),
        record(2, 0.0, answer_type="closed"),
        record(3, None, "error", answer_type="closed"),
    ]
    found = summarise_task("t", records)
    assert list(found.by_answer_type) == ["closed", "open"] and list(found.by_modality) == ["MRI_SCAN", "none"]
    closed, mri = found.by_answer_type["closed"], found.by_modality["MRI_SCAN"]
    assert closed.estimate is not None and (closed.estimate.value, closed.counts.errors) == (0.0, 1)
    assert mri.estimate is not None and (mri.estimate.value, mri.estimate.count) == (0.5, 2)


def test_tasks_and_conditions_are_not_mixed() -> None:
    with pytest.raises(DataError, match=r"record '1' is of other \(real\); expected t \(real\)"):
        summarise_task("t", [record(0), record(1, task="other")])
    with pytest.raises(DataError, match=r"record '1' is of t \(blank\); expected t \(real\)"):
        summarise_task("t", [record(0), record(1, condition="blank")])


def test_the_macro_average_by_hand() -> None:
    found = macro_average([Estimate(0.5, 0.4, 0.6, 10), Estimate(0.9, 0.6, 0.95, 1000)])
    assert found is not None and found.count == 2 and found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - math.sqrt(0.1**2 + 0.3**2) / 2)
    assert found.high == pytest.approx(0.7 + math.sqrt(0.1**2 + 0.05**2) / 2)


def test_the_macro_average_of_one_task_is_that_task() -> None:
    only = Estimate(0.93, 0.8, 0.97, 44)
    found = macro_average([only])
    assert found is not None and (found.value, found.low, found.high) == pytest.approx((0.93, 0.8, 0.97))


@pytest.mark.parametrize("estimates", [[], [None], [Estimate(0.5, 0.4, 0.6, 10), None]])
def test_no_average_over_a_task_without_a_score(estimates: list[Estimate | None]) -> None:
    assert macro_average(estimates) is None


def test_the_macro_interval_covers() -> None:
    tasks = [(40, 0.9, 0.3), (120, 0.6, 0.5), (60, 0.3, 0.0), (200, 0.75, 0.4)]
    rng, truth, hits = np.random.default_rng(0), 0.6375, 0
    for _ in range(2000):
        found = macro_average([clustered_mean(*draw(rng, *task)) for task in tasks])
        assert found is not None
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / 2000 <= 0.97

# SPDX-License-Identifier: Apache-2.0
"""A task's numbers: counts beside the mean, bounds, splits, and the average over tasks."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import t as student_t

from benchmarks import simulation as simulated
from medix_verl.errors import DataError
from medix_verl.evaluation.stats.intervals import Spread, clustered_mean, spread_of
from medix_verl.evaluation.stats.summary import macro_average, mean_of, summarise, summarise_task
from medix_verl.evaluation.store.records import Record

draw = simulated.draw

Z = NormalDist().inv_cdf(0.975)


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


def spread(mean: float, size: float, freedom: float = 1e6, clusters: int = 100) -> Spread:
    return Spread(mean, clusters, clusters, size, 1000.0, freedom)


def test_the_macro_average_by_hand() -> None:
    parts = [(0.5, 60.0, 20.0), (0.9, 40.0, 8.0)]
    found = macro_average([spread(*part) for part in parts])
    # Half widths at the sizes found say how the degrees of freedom are pooled.
    first = [half_and_shift(mean, size)[0] ** 2 for mean, size, _ in parts]
    pooled = sum(first) ** 2 / sum(square**2 / part[2] for square, part in zip(first, parts, strict=True))
    widening = (student_t.ppf(0.975, pooled) / Z) ** 2
    halves, shifts = zip(*(half_and_shift(mean, size / widening) for mean, size, _ in parts), strict=True)
    squares = [half**2 for half in halves]
    shift = sum(shift * square for shift, square in zip(shifts, squares, strict=True)) / sum(squares) / 2
    assert found is not None and (found.count, found.approximate) == (2, False)
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 + shift - math.sqrt(sum(squares)) / 2)
    assert found.high == pytest.approx(0.7 + shift + math.sqrt(sum(squares)) / 2)


def half_and_shift(p: float, n: float) -> tuple[float, float]:
    """Wilson's interval: half its width, and how far its middle is from the share."""
    grown = 1 + Z * Z / n
    return Z / grown * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)), (p + Z * Z / (2 * n)) / grown - p


def test_the_macro_average_of_one_task_is_that_task() -> None:
    values, clusters = draw(np.random.default_rng(2), 80, 0.93, 0.3)
    found, own = macro_average([spread_of(values, clusters)]), clustered_mean(values, clusters)
    assert found is not None and own is not None
    assert (found.value, found.low, found.high) == pytest.approx((own.value, own.low, own.high))


def test_a_task_of_heavy_clusters_is_marked_and_so_is_the_average() -> None:
    heavy = [f"c{n}" for n in range(100) for _ in range(1 if n % 10 else 40)]
    records = [record(n, float(n % 2), cluster=cluster) for n, cluster in enumerate(heavy)]
    found = summarise(records)
    assert found.clusters == 100 and found.estimate is not None and found.estimate.approximate
    even = spread_of([float(n % 2) for n in range(400)], range(400))
    average = macro_average([found.spread, even])
    assert average is not None and average.approximate


def test_an_average_is_marked_by_its_smallest_task_and_by_few_cases() -> None:
    marked = [
        macro_average([spread(0.5, 60.0), spread(0.5, 60.0, clusters=59)]),
        macro_average([spread(0.96, 100.0), spread(0.96, 100.0)]),
        macro_average([spread(0.96, 100.0), spread(0.92, 100.0)]),
    ]
    assert [average is not None and average.approximate for average in marked] == [True, True, False]


@pytest.mark.parametrize("spreads", [[], [None], [spread(0.5, 50.0), None]])
def test_no_average_over_a_task_without_a_score(spreads: list[Spread | None]) -> None:
    assert macro_average(spreads) is None

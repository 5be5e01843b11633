# SPDX-License-Identifier: Apache-2.0
"""How often intervals hold a truth that is known. The full grids are tests/benchmarks/coverage.py."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import simulation as simulated
from medix_verl.evaluation.audit.agreement import cohen_kappa, share
from medix_verl.evaluation.stats.intervals import cluster_sums, clustered_mean, spread_of
from medix_verl.evaluation.stats.kappa import clustered_kappa
from medix_verl.evaluation.stats.paired import average_difference, compare_pairs, match, mean_difference
from medix_verl.evaluation.stats.summary import macro_average
from medix_verl.evaluation.store.records import Record

bootstrap_mean, coverage, draw = simulated.bootstrap_mean, simulated.coverage, simulated.draw
draw_difference, draw_graded, draw_raters = simulated.draw_difference, simulated.draw_graded, simulated.draw_raters


def means(interval: Any, clusters: int, true: float, correlation: float, sizes: str, rounds: int = 2000) -> Any:
    return coverage(lambda rng: interval(*draw(rng, clusters, true, correlation, sizes)), true, rounds)


@pytest.mark.parametrize(
    ("clusters", "true", "correlation", "sizes"),
    [
        (30, 0.5, 0.6, "five"),
        (30, 0.2, 0.3, "skewed"),
        (60, 0.95, 0.3, "mixed"),
        (60, 0.1, 0.0, "one"),
        (100, 0.05, 0.6, "five"),
        (100, 0.8, 0.6, "skewed"),
        (300, 0.05, 0.6, "mixed"),
        (300, 0.95, 0.3, "skewed"),
        (300, 0.7, 0.0, "one"),
    ],
)
def test_95_percent_intervals_cover_95_percent(clusters: int, true: float, correlation: float, sizes: str) -> None:
    assert 0.93 <= means(clustered_mean, clusters, true, correlation, sizes).share <= 0.97


@pytest.mark.parametrize(("clusters", "true"), [(120, 0.9), (150, 0.3)])
def test_intervals_of_graded_scores_cover(clusters: int, true: float) -> None:
    found = coverage(lambda rng: clustered_mean(*draw_graded(rng, clusters, true, 0.3, "mixed")), true)
    assert 0.93 <= found.share <= 0.97 and found.marked < 0.5


@pytest.mark.parametrize(
    ("clusters", "true", "sizes"), [(30, 0.9, "one"), (60, 0.05, "one"), (30, 0.95, "mixed"), (60, 0.05, "skewed")]
)
def test_where_no_interval_covers_95_percent_it_is_marked(clusters: int, true: float, sizes: str) -> None:
    found = means(clustered_mean, clusters, true, 0.0 if sizes == "one" else 0.6, sizes, 500)
    assert found.marked > 0.5


@pytest.mark.parametrize(("count", "true"), [(30, 0.1), (30, 0.3), (60, 0.05)])
def test_even_the_textbooks_interval_leaves_the_band(count: int, true: float) -> None:
    # Worked out exactly: with so few answers of yes or no coverage jumps, whatever one does. Hence the mark.
    found = [(hits, share(hits, count)) for hits in range(count + 1)]
    exact = sum(binom.pmf(hits, count, true) for hits, kept in found if kept and kept.low <= true <= kept.high)
    assert not 0.93 <= exact <= 0.97


@pytest.mark.parametrize("true", [0.8, 0.9, 0.95])
def test_few_heavy_clusters_are_marked(true: float) -> None:
    # 100 clusters of which a tenth have 40 questions weigh as much as 15: intervals cover 80 to 92 %, and all say so.
    found = means(clustered_mean, 100, true, 0.6, "heavy", 300)
    assert found.marked == 1.0 and found.share < 0.95


def test_p_values_on_few_heavy_clusters_are_marked() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, names = draw_difference(rng, 100, 0.6, 0.0, 0.5, 0.6, "heavy")
        made = [
            [scored(place, float(value), name) for place, (value, name) in enumerate(zip(side, names, strict=True))]
            for side in ([max(0.0, -value) for value in values], [max(0.0, value) for value in values])
        ]
        found = compare_pairs(match("t", *made), rounds=200)
        assert found.p_approximate and found.difference is not None and found.difference.approximate


def scored(place: int, value: float, cluster: int) -> Record:
    return Record("t", f"{place:05d}", str(cluster), "q", "r", "x", "x", value, "scored")


def test_intervals_that_ignore_clusters_do_not_cover() -> None:
    naive = lambda values, clusters: clustered_mean(values, range(len(values)))  # noqa: E731
    assert means(naive, 100, 0.3, 0.6, "five", 500).share < 0.8


def test_the_bootstrap_covers_too() -> None:
    assert 0.93 <= means(lambda *task: bootstrap_mean(*task, rounds=400), 60, 0.7, 0.3, "mixed").share <= 0.97


@pytest.mark.parametrize(
    "tasks",
    [
        [(40, 0.9, 0.3, "mixed"), (120, 0.6, 0.5, "mixed"), (60, 0.3, 0.0, "mixed"), (200, 0.75, 0.4, "mixed")],
        [(60, 0.9, 0.0, "one")] * 17,  # distances that are added in squares would cover 92 % here
        [(60, 0.95, 0.6, "mixed")] * 8,  # widening each task for itself would cover 99 %
    ],
)
def test_the_average_over_tasks_covers(tasks: list[Any]) -> None:
    truth = sum(task[1] for task in tasks) / len(tasks)
    found = coverage(lambda rng: macro_average([spread_of(*draw(rng, *task)) for task in tasks]), truth)
    assert 0.93 <= found.share <= 0.97


@pytest.mark.parametrize(
    ("task", "marked"),
    [
        ((150, 0.7, 0.05, 0.2, 0.6, "skewed"), False),
        pytest.param((150, 0.5, 0.1, 0.3, 0.0, "one"), False, marks=pytest.mark.long),
        pytest.param((120, 0.5, 0.1, 0.5, 0.6, "mixed"), False, marks=pytest.mark.long),
        ((60, 0.5, 0.1, 0.5, 0.6, "mixed"), True),  # 60 clusters of unequal size weigh as much as 34
        pytest.param((100, 0.5, 0.1, 0.5, 0.6, "heavy"), True, marks=pytest.mark.long),
        pytest.param((60, 0.8, 0.0, 0.05, 0.0, "one"), True, marks=pytest.mark.long),
    ],
)
def test_a_difference_covers_or_is_marked(task: tuple[Any, ...], marked: bool) -> None:
    def once(rng: Any) -> Any:
        values, names = draw_difference(rng, *task)
        return mean_difference(values, cluster_sums(values, names, low=-1.0), 400, rng)

    found = coverage(once, task[2])
    assert (found.marked > 0.5) is marked
    assert marked or 0.93 <= found.share <= 0.97


def test_an_average_difference_covers() -> None:
    def once(rng: Any) -> Any:
        drawn = [draw_difference(rng, 120, 0.6, 0.05, 0.3, 0.3, "mixed") for _ in range(5)]
        return average_difference(
            [(found, [(n, name) for name in names]) for n, (found, names) in enumerate(drawn)], 0, 1
        ).difference

    found = coverage(once, 0.05)
    assert 0.93 <= found.share <= 0.97 and found.marked < 0.5


@pytest.mark.parametrize("tasks", [[(40, 30), (80, 30)], [(80, 30), (80, 0)]])
def test_an_average_difference_is_marked_by_a_small_task_and_by_one_without_a_difference(tasks: Any) -> None:
    values = [
        ([1.0] * apart + [0.0] * (many - apart), [(n, place) for place in range(many)])
        for n, (many, apart) in enumerate(tasks)
    ]
    assert average_difference(values).difference.approximate


@pytest.mark.parametrize(
    ("clusters", "shares", "correlation", "sizes"),
    [
        (100, (0.475, 0.025, 0.025, 0.475), 0.0, "one"),  # kappa 0.9: two standard errors would cover 88 %
        (150, (0.45, 0.05, 0.05, 0.45), 0.3, "five"),
        (150, (0.15, 0.05, 0.05, 0.75), 0.6, "mixed"),
    ],
)
def test_kappa_covers(clusters: int, shares: tuple[float, ...], correlation: float, sizes: str) -> None:
    both, apart, _, neither = shares
    truth = 1 - 2 * apart / (1 - (both + apart) ** 2 - (neither + apart) ** 2)
    found = coverage(lambda rng: clustered_kappa(*draw_raters(rng, clusters, shares, correlation, sizes)), truth)
    assert 0.93 <= found.share <= 0.98


def test_kappa_that_ignores_clusters_does_not_cover() -> None:
    shares = (0.4, 0.1, 0.1, 0.4)
    found = coverage(lambda rng: cohen_kappa(draw_raters(rng, 100, shares, 0.6, "five")[0]), 0.6, 500)
    assert found.share < 0.8

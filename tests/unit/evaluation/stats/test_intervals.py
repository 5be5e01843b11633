# SPDX-License-Identifier: Apache-2.0
"""Intervals against the textbook's closed forms and a calculation by hand, and when they are marked as approximate."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t

from benchmarks import simulation as simulated
from medix_verl.errors import DataError
from medix_verl.evaluation.audit.agreement import share
from medix_verl.evaluation.stats.intervals import clustered_mean, spread_of, student

bootstrap_mean, draw = simulated.bootstrap_mean, simulated.draw
Z = NormalDist().inv_cdf(0.975)


@pytest.mark.parametrize(("hits", "count"), [(3, 5), (1, 40), (39, 40), (120, 300), (0, 7), (7, 7)])
def test_one_sample_a_cluster_is_the_textbook(hits: int, count: int) -> None:
    found = clustered_mean([1.0] * hits + [0.0] * (count - hits), range(count))
    expected = share(hits, count)
    assert found is not None and expected is not None
    assert (found.value, found.count) == (expected.value, expected.count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_whole_clusters_count_once() -> None:
    # Ten answers to one picture that are all right or all wrong tell no more than one answer does.
    values = [1.0] * 30 + [0.0] * 20
    spread = spread_of(values, [place // 10 for place in range(50)])
    # Jackknife by hand: without a right cluster 20/40, without a wrong one 30/40; the mean is 0.6.
    variance = 4 / 5 * (3 * (0.5 - 0.6) ** 2 + 2 * (0.75 - 0.6) ** 2)
    effect = variance / (0.24 / 49)
    moves = np.array([0.01, 0.01, 0.01, 0.0225, 0.0225])
    degrees = 2 / (5 / 4 * ((moves / moves.sum() - 0.2) ** 2).sum())
    assert spread is not None and (spread.clusters, spread.count) == (5, 50)
    assert spread.size == pytest.approx(50 / effect) and spread.freedom == pytest.approx(degrees)
    assert spread.sized((student(0.95, spread.freedom) / Z) ** 2) < spread.size < 5
    assert spread.sized(1e-9) == 50


def test_two_clusters_by_hand() -> None:
    # Cluster a: 1, 1, 0; cluster b: 0. Mean 1/2. Without a: 0, moved by 1/2; without b: 2/3, moved by 1/6.
    variance = 1 / 2 * (1 / 4 + 1 / 36)
    effect = variance / (0.25 / 3)
    shares = np.array([1 / 4, 1 / 36]) / (1 / 4 + 1 / 36)
    degrees = max(2.0, 2 / (2 * ((shares - 0.5) ** 2).sum()))
    size = 4 / max(1.0, effect * (student_t.ppf(0.975, degrees) / Z) ** 2)
    middle, half = 0.5, Z / (1 + Z * Z / size) * math.sqrt(0.25 / size + Z * Z / (4 * size * size))
    found = clustered_mean([1, 1, 0, 0], ["a", "a", "a", "b"])
    assert found is not None and found.value == 0.5
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_without_spread_each_cluster_counts_once(value: float) -> None:
    found = clustered_mean([value] * 12, [place // 3 for place in range(12)])
    assert found is not None and found.value == pytest.approx(value)
    z2 = Z * Z / 4
    middle = (value + z2 / 2) / (1 + z2)
    half = Z / (1 + z2) * math.sqrt(value * (1 - value) / 4 + z2 / 16)
    assert (found.low, found.high) == pytest.approx((max(0, middle - half), min(1, middle + half)))


def test_one_cluster_tells_next_to_nothing() -> None:
    found = clustered_mean([1, 0, 1, 1, 0, 1], ["a"] * 6)
    assert found is not None and found.high - found.low > 0.7


def test_scores_between_the_ends_tell_more() -> None:
    values = [0.4, 0.6] * 50
    graded, binary = clustered_mean(values, range(100)), clustered_mean([0.0, 1.0] * 50, range(100))
    assert graded is not None and binary is not None
    # The textbook: mean plus or minus t standard errors.
    half = student_t.ppf(0.975, 99) * np.std(values, ddof=1) / 10
    assert graded.high - 0.5 == pytest.approx(half, rel=0.05)
    assert graded.high - graded.low < (binary.high - binary.low) / 4


def test_nothing_has_no_mean() -> None:
    assert clustered_mean([], []) is None and bootstrap_mean([], []) is None


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_a_score_outside_its_range(value: float) -> None:
    with pytest.raises(DataError, match="a score is .*; accepted: 0 to 1, and nothing for an unscored sample"):
        clustered_mean([0.5, value], [1, 2])


def test_a_cluster_is_missing() -> None:
    with pytest.raises(DataError, match="got 2 scores and 1 clusters; give one cluster a score"):
        clustered_mean([1, 0], ["a"])


def test_clusters_of_one_mean() -> None:
    found = clustered_mean([0, 0, 1, 0, 0, 1], ["a", "a", "a", "b", "b", "b"])
    assert found is not None and 0 < found.low < found.value == 1 / 3 < found.high < 1


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8)), min_size=1, max_size=60))
def test_always_an_interval_around_the_mean(samples: list[tuple[float, int]]) -> None:
    values, clusters = [value for value, _ in samples], [cluster for _, cluster in samples]
    for found in (clustered_mean(values, clusters), clustered_mean([float(v > 0.5) for v in values], clusters)):
        assert found is not None and found.count == len(samples)
        assert 0 <= found.low <= found.value <= found.high <= 1 + 1e-12


def test_more_confidence_is_wider() -> None:
    values, clusters = draw(np.random.default_rng(3), 40, 0.7, 0.3)
    narrow, wide = clustered_mean(values, clusters, 0.8), clustered_mean(values, clusters, 0.99)
    assert narrow is not None and wide is not None and wide.low < narrow.low and narrow.high < wide.high


def test_the_order_of_samples_does_not_matter() -> None:
    values, clusters = draw(np.random.default_rng(4), 40, 0.7, 0.3)
    found, back = clustered_mean(values, clusters), clustered_mean(values[::-1], clusters[::-1])
    assert found is not None and back is not None and found.low == pytest.approx(back.low, abs=1e-12)


def test_the_bootstrap_agrees_and_is_seeded() -> None:
    values, clusters = draw(np.random.default_rng(5), 120, 0.6, 0.3)
    analytic, drawn = clustered_mean(values, clusters), bootstrap_mean(values, clusters, seed=1, name="t")
    assert analytic is not None and drawn is not None and drawn == bootstrap_mean(values, clusters, seed=1, name="t")
    assert (drawn.low, drawn.high) == pytest.approx((analytic.low, analytic.high), abs=0.015)
    assert drawn != bootstrap_mean(values, clusters, seed=2, name="t")
    assert drawn != bootstrap_mean(values, clusters, seed=1, name="u")


@pytest.mark.parametrize(
    ("hits", "count", "approximate"),
    [
        (30, 60, False),
        (29, 59, True),  # too few clusters
        (5, 100, False),
        (4, 100, True),  # too few right answers
        (296, 300, True),  # too few wrong ones
        (0, 1000, True),
    ],
)
def test_few_cases_are_marked(hits: int, count: int, approximate: bool) -> None:
    found = clustered_mean([1.0] * hits + [0.0] * (count - hits), range(count))
    assert found is not None and found.approximate is approximate
    plain = share(hits, count)
    assert plain is not None and plain.approximate is approximate and found.mark == ("~" if approximate else "")


def test_clusters_that_answer_alike_are_few_cases() -> None:
    # 12 wrong answers of 700 are enough; two pictures with six wrong answers each are not.
    values, spread_out = [0.0] * 12 + [1.0] * 688, [*range(12), *[12 + place % 88 for place in range(688)]]
    together = [place // 7 for place in range(700)]
    many, few = clustered_mean(values, spread_out), clustered_mean(values, together)
    assert many is not None and not many.approximate
    assert few is not None and few.approximate

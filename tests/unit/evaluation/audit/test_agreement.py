# SPDX-License-Identifier: Apache-2.0
"""Intervals against closed forms, an independent delta method, published numbers and simulation."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.evaluation.audit.agreement import cohen_kappa, effective, few, kappa_variance, quantile, share
from medix_verl.evaluation.stats.kappa import clustered_kappa

Z = 1.959963984540054


def spread(table: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    return [pair for pair, count in table.items() for _ in range(count)]


def plain_kappa(table: dict[tuple[str, str], float]) -> float:
    total = sum(table.values())
    keys = {key for pair in table for key in pair}
    agreed = sum(table.get((key, key), 0.0) for key in keys) / total
    row = {key: sum(n for (left, _), n in table.items() if left == key) / total for key in keys}
    column = {key: sum(n for (_, right), n in table.items() if right == key) / total for key in keys}
    chance = sum(row[key] * column[key] for key in keys)
    return (agreed - chance) / (1 - chance)


def delta_variance(table: dict[tuple[str, str], int]) -> float:
    """Variance by numeric derivatives under the multinomial: (sum p g^2 - (sum p g)^2) / n."""
    total = sum(table.values())
    p = {pair: count / total for pair, count in table.items()}
    step = 1e-6
    gradient = {
        pair: (plain_kappa({**p, pair: p[pair] + step}) - plain_kappa({**p, pair: p[pair] - step})) / (2 * step)
        for pair in p
    }
    mean = sum(p[pair] * gradient[pair] for pair in p)
    return (sum(p[pair] * gradient[pair] ** 2 for pair in p) - mean**2) / total


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (0, 10, 0.0, Z**2 / (10 + Z**2)),  # closed form at the ends
        (10, 10, 10 / (10 + Z**2), 1.0),
        (5, 10, 0.5 - Z / (2 * math.sqrt(10 + Z**2)), 0.5 + Z / (2 * math.sqrt(10 + Z**2))),
        (15, 148, 0.0624, 0.1605),  # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson(hits: int, count: int, low: float, high: float) -> None:
    found = share(hits, count)
    assert found is not None and found.value == hits / count and found.count == count
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_a_share_lies_in_its_interval(case: tuple[int, int], confidence: float) -> None:
    found = share(*case, confidence=confidence)
    assert found is not None and 0 <= found.low <= found.value <= found.high <= 1


def test_no_cases_no_number() -> None:
    assert share(0, 0) is None and cohen_kappa([]) is None and quantile([], 0.5) is None


def test_both_raters_always_the_same_class() -> None:
    assert cohen_kappa([(True, True)] * 5) is None


def test_the_textbook_table() -> None:
    found = cohen_kappa(spread({("y", "y"): 20, ("y", "n"): 5, ("n", "y"): 10, ("n", "n"): 15}))
    assert found is not None and found.value == pytest.approx(0.4) and found.count == 50
    # Wilson's interval of the 30 % disagreement, at the size that leaves kappa its variance, at most 50. By chance 50 %
    # disagree.
    variance = delta_variance({("y", "y"): 20, ("y", "n"): 5, ("n", "y"): 10, ("n", "n"): 15})
    size = min(50, 0.3 * 0.7 / (variance * 0.5**2))
    middle = (0.3 + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * math.sqrt(0.3 * 0.7 / size + Z**2 / (4 * size**2))
    assert (found.low, found.high) == pytest.approx((1 - (middle + half) / 0.5, 1 - (middle - half) / 0.5), rel=1e-6)
    assert found.high - found.low == pytest.approx(2 * Z * math.sqrt(variance), rel=0.05)


@pytest.mark.parametrize("agreed", [50, 60, 75, 90, 99])
def test_even_margins_have_a_closed_form(agreed: int) -> None:
    """With all margins 1/2, kappa is 2 p - 1, so its variance is 4 p (1 - p) / n."""
    table = Counter({("y", "y"): agreed, ("n", "n"): agreed, ("y", "n"): 100 - agreed, ("n", "y"): 100 - agreed})
    p = agreed / 100
    assert kappa_variance(table) == pytest.approx(4 * p * (1 - p) / 200)
    found = cohen_kappa(table.elements())
    assert found is not None and found.value == pytest.approx(2 * p - 1)


@given(st.lists(st.integers(1, 60), min_size=9, max_size=9))
def test_the_variance_is_that_of_the_delta_method(counts: list[int]) -> None:
    cells = [(left, right) for left in "abc" for right in "abc"]
    table = Counter(dict(zip(cells, counts, strict=True)))
    assert kappa_variance(table) == pytest.approx(delta_variance(dict(table)), rel=1e-4, abs=1e-9)


def test_perfect_and_opposite_raters() -> None:
    perfect = cohen_kappa([("y", "y")] * 3 + [("n", "n")] * 7)
    opposite = cohen_kappa([("y", "n")] * 5 + [("n", "y")] * 5)
    assert perfect is not None and (perfect.value, perfect.high) == (1, 1)
    # Ten pairs without a disagreement leave open as many as Wilson's interval of 0 of 10; by chance 42 % disagree.
    assert perfect.low == pytest.approx(1 - Z**2 / (10 + Z**2) / 0.42)
    assert opposite is not None and opposite.value == -1 and opposite.low >= -1


@pytest.mark.parametrize(
    ("sizes", "number"),
    [([1] * 60, 60.0), ([7] * 60, 60.0), ([40] * 10 + [1] * 90, 490**2 / 16090), ([5], 1.0), ([], 0.0)],
)
def test_the_effective_number_of_clusters(sizes: list[float], number: float) -> None:
    assert effective(sizes) == pytest.approx(number)
    assert few(effective(sizes), 50) is (number < 60)


def test_kappa_on_heavy_clusters_is_marked() -> None:
    pairs = [("y", "y")] * 200 + [("n", "n")] * 200 + [("y", "n"), ("n", "y")] * 45
    heavy = [place // 40 for place in range(400)] + [10 + place for place in range(90)]
    even = [place // 5 for place in range(490)]
    found, other = clustered_kappa(pairs, heavy), clustered_kappa(pairs, even)
    assert found is not None and other is not None and (found.approximate, other.approximate) == (True, False)


@pytest.mark.parametrize("size", [3, 5, 8])
@pytest.mark.parametrize("yes", [8, 9, 18])
def test_without_a_disagreement_each_cluster_counts_once(yes: int, size: int) -> None:
    # Kappa's variance is zero then but for rounding, which must not pass for a design effect.
    whole = [("y", "y")] * yes + [("n", "n")] * (40 - yes)
    found = clustered_kappa([pair for pair in whole for _ in range(size)], [n for n in range(40) for _ in range(size)])
    expected = cohen_kappa(whole)
    assert found is not None and expected is not None
    assert (found.value, found.high) == (1, 1) and found.low == pytest.approx(expected.low)


def test_a_rater_who_says_one_thing_only_agrees_by_chance() -> None:
    found = cohen_kappa([("y", "y")] * 5 + [("n", "y")] * 5)
    assert found is not None and found.value == 0


@pytest.mark.parametrize("cells", [(0.4, 0.1, 0.1, 0.4), (0.15, 0.05, 0.1, 0.7)])
def test_nineteen_intervals_of_twenty_cover_the_truth(cells: tuple[float, ...]) -> None:
    pairs = [("y", "y"), ("y", "n"), ("n", "y"), ("n", "n")]
    truth = plain_kappa(dict(zip(pairs, cells, strict=True)))
    chance = random.Random(11)
    found = [cohen_kappa(chance.choices(pairs, cells, k=300)) for _ in range(2000)]
    covered = sum(kappa is not None and kappa.low <= truth <= kappa.high for kappa in found) / len(found)
    assert 0.935 <= covered <= 0.965


def test_quantile() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([0, 10], 0.95) == 9.5
    assert quantile([7], 0.95) == 7
    assert quantile(range(101), 1.0) == 100

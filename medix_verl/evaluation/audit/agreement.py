# SPDX-License-Identifier: Apache-2.0
"""Computes shares and agreement with their confidence intervals; pure arithmetic, no numpy.

A share has Wilson's score interval (1927), which stays inside [0, 1] and is accurate near 0 and 1. Cohen's kappa is 1
minus disagreement over disagreement by chance. Its interval is Wilson's for the disagreement, at the number of pairs
for which kappa has the large-sample variance of Fleiss, Cohen and Everitt (1969) for a non-zero kappa. Near a kappa of
1, where kappa plus or minus two standard errors covers the true value in as little as 45 % of cases, this interval
covers it in 93 to 98 % (tests/benchmarks/coverage.py).

No interval reaches its nominal coverage on very few cases: with 30 independent binary answers, Wilson's interval covers
a share of 0.1 in 97.4 % of cases and a share of 0.3 in 93.0 % (exact values). An estimate from fewer than 60 effective
clusters (see `effective`), or from fewer than 5 right or 5 wrong cases, is therefore marked as `approximate`, and is
printed with a ~ before its interval.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = [
    "MIN_CLUSTERS",
    "Estimate",
    "cohen_kappa",
    "effective",
    "few",
    "is_few",
    "kappa_influences",
    "kappa_variance",
    "legend",
    "quantile",
    "share",
    "wilson",
]

MIN_CLUSTERS = 60
"""Number of independent cases below which an interval is approximate."""
MIN_CASES = 5
"""Number of right or of wrong cases below which an interval of their share is approximate."""
LEGEND = (
    f"~ marks an approximate interval: fewer than {MIN_CLUSTERS} independent cases (pictures or patients with many "
    "questions count as fewer), or too few of one kind; a p-value beside it is approximate as well"
)
"""Explanation of the mark, for a terminal or a table."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its confidence interval, and the number of cases."""

    value: float
    low: float
    high: float
    count: int
    approximate: bool = False
    """Whether there are too few cases for the nominal coverage."""

    @property
    def mark(self) -> str:
        """The mark printed before the interval: ~ if it is approximate, else empty."""
        return "~" if self.approximate else ""

    def shown(self, form: str, scale: float = 1.0) -> str:
        """The number and its interval, multiplied by `scale` and formatted with `form`, such as `.1%`."""
        value, low, high = (format(number * scale, form) for number in (self.value, self.low, self.high))
        return f"{value} {self.mark}[{low}, {high}]"


def effective(sizes: Sequence[float]) -> float:
    """Effective number of clusters: n² / Σ m² for clusters of m cases, n cases in total; 0 without any.

    Example:
        100 clusters, of which 10 have 40 cases and 90 have one, are 15 effective clusters.
    """
    squares = math.fsum(size * size for size in sizes)
    return math.fsum(sizes) ** 2 / squares if squares else 0.0


def is_few(clusters: float) -> bool:
    """Whether this effective number of clusters is too small for the nominal coverage."""
    # Tolerance for rounding: 60 clusters of equal size must count as 60.
    return clusters < MIN_CLUSTERS - 1e-9


def few(clusters: float, cases: float) -> bool:
    """Whether an interval of a share is only approximate.

    Args:
        clusters: Number of independent cases; for clusters, their effective number.
        cases: Effective number of independent cases of the rarer kind, right or wrong.
    """
    # Tolerance for rounding: 100 * 0.05 must count as 5.
    return is_few(clusters) or cases < MIN_CASES - 1e-9


def legend(lines: Iterable[str]) -> list[str]:
    """The line that explains the mark, if one of `lines` has it."""
    return [LEGEND] if any("~[" in line for line in lines) else []


def share(hits: int, count: int, confidence: float = 0.95) -> Estimate | None:
    """A share with Wilson's interval; None without cases.

    Args:
        hits: Number of hits, at most `count`.
        count: Number of cases.
        confidence: Coverage of the interval, in (0, 1).
    """
    if count == 0:
        return None
    p = hits / count
    low, high = wilson(p, count, NormalDist().inv_cdf(0.5 + confidence / 2))
    return Estimate(p, low, high, count, few(count, min(hits, count - hits)))


def wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval for a share of n samples; n need not be an integer."""
    grown = 1 + z * z / n
    middle = (p + z * z / (2 * n)) / grown
    half = z / grown * math.sqrt(max(0.0, p * (1 - p) / n) + z * z / (4 * n * n))
    # Rounding must not move an end past p if p is exactly 0 or 1.
    return min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half))


def cohen_kappa(
    pairs: Iterable[tuple[Hashable, Hashable]],
    confidence: float = 0.95,
    effect: float = 1.0,
    clusters: float | None = None,
) -> Estimate | None:
    """Agreement of two raters beyond chance; for cases in clusters see medix_verl.evaluation.stats.kappa.

    Args:
        pairs: The first and the second rater's class of each case, any number of classes.
        confidence: Coverage of the interval, in (0, 1).
        effect: Design effect, at least 1: the ratio of the variance to that of independent cases.
        clusters: Number of independent cases, for the mark; None if all are.

    Returns:
        Kappa in [-1, 1] with its interval; None without cases, or if both raters always give the same single class:
        agreement by chance is then certain, and kappa is undefined.

    Example:
        20 times both YES, 15 times both NO, 5 times YES and NO, 10 times NO and YES: (0.7 - 0.5) / (1 - 0.5) = 0.4.
    """
    table = Counter(pairs)
    count = sum(table.values())
    if count == 0:
        return None
    agreed, by_chance = agreement(table)
    if by_chance == 1:
        return None
    size = kappa_size(agreed, by_chance, kappa_variance(table), count) / effect
    less, more = wilson(1 - agreed, size, NormalDist().inv_cdf(0.5 + confidence / 2))
    rarer = size * min(agreed, 1 - agreed)
    value, low, high = (1 - apart / (1 - by_chance) for apart in (1 - agreed, more, less))
    return Estimate(value, min(value, max(-1.0, low)), max(value, min(1.0, high)), count, few(clusters or count, rarer))


def kappa_size(agreed: float, by_chance: float, variance: float, count: int) -> float:
    """Number of independent cases at which the variance of the share of disagreement corresponds to kappa's variance.

    It is at most the number of cases. Disagreement by chance is correlated with disagreement, which can reduce kappa's
    variance, but the reduction is itself an estimate. Without disagreement, or if kappa's variance is 0, it is the
    number of cases.
    """
    spread = agreed * (1 - agreed)
    known = variance * (1 - by_chance) ** 2
    return min(float(count), spread / known) if spread > 0 and known > 0 else float(count)


def kappa_variance(table: Counter[tuple[Hashable, Hashable]]) -> float:
    """Large-sample variance of kappa: Fleiss, Cohen & Everitt, Psychological Bulletin 72 (1969) 323, formula 13.

    Args:
        table: Count of each pair of classes; not all cases may have the same single class.
    """
    moved = kappa_influences(table)
    return sum(n * moved[pair] ** 2 for pair, n in table.items()) / sum(table.values()) ** 2


def kappa_influences(table: Counter[tuple[Hashable, Hashable]]) -> dict[tuple[Hashable, Hashable], float]:
    """Influence of a case of each kind on kappa, times the number of cases: the terms of kappa_variance."""
    count = sum(table.values())
    rows, columns = margins(table)
    agreed, by_chance = agreement(table)
    terms = {
        (left, right): (left == right) * (1 - by_chance) - (columns[left] + rows[right]) / count * (1 - agreed)
        for left, right in table
    }
    middle = sum(n * terms[pair] for pair, n in table.items()) / count
    return {pair: (term - middle) / (1 - by_chance) ** 2 for pair, term in terms.items()}


def agreement(table: Counter[tuple[Hashable, Hashable]]) -> tuple[float, float]:
    """Share of the cases on which two raters agree, and the share expected by chance."""
    count = sum(table.values())
    rows, columns = margins(table)
    agreed = sum(n for (left, right), n in table.items() if left == right) / count
    return agreed, sum(rows[key] * columns[key] for key in rows) / count**2


def margins(table: Counter[tuple[Hashable, Hashable]]) -> tuple[Counter[Hashable], Counter[Hashable]]:
    """Counts of each class by the first and by the second rater."""
    rows: Counter[Hashable] = Counter()
    columns: Counter[Hashable] = Counter()
    for (left, right), n in table.items():
        rows[left] += n
        columns[right] += n
    return rows, columns


def quantile(values: Sequence[float], part: float) -> float | None:
    """The quantile of values at `part` in [0, 1], with linear interpolation; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    place = part * (len(ranked) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])

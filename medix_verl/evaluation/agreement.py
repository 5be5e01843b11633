# SPDX-License-Identifier: Apache-2.0
"""Shares and agreement with their confidence intervals; pure arithmetic, no numpy.

A share has Wilson's score interval (1927), which stays inside [0, 1] and is honest near its ends. Cohen's kappa has
the asymptotic interval with the large-sample variance of Fleiss, Cohen and Everitt (1969), the one for a kappa that
is not zero. It is asymptotic: below some 50 pairs, or with a kappa near 1, it is too narrow; at exactly 1 it has no
width at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Estimate", "cohen_kappa", "kappa_variance", "quantile", "share"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its confidence interval, and how many cases it stands on."""

    value: float
    low: float
    high: float
    count: int


def share(hits: int, count: int, confidence: float = 0.95) -> Estimate | None:
    """A share with Wilson's interval; None where there are no cases.

    Args:
        hits: Cases that count, at most `count`.
        count: All cases.
        confidence: Coverage of the interval, in (0, 1).
    """
    if count == 0:
        return None
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, grown = hits / count, 1 + z * z / count
    middle = (p + z * z / (2 * count)) / grown
    half = z / grown * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    # Rounding must not push the ends of an exact 0 or 1 past it.
    return Estimate(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)), count)


def cohen_kappa(pairs: Iterable[tuple[Hashable, Hashable]], confidence: float = 0.95) -> Estimate | None:
    """Agreement of two raters beyond chance.

    Args:
        pairs: What the first and the second rater said of each case, any number of classes.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Kappa in [-1, 1] with its interval; None without cases, or where both always say the same one class: agreement
        by chance is certain then, and kappa has no value.

    Example:
        20 times both YES, 15 times both NO, 5 and 10 times one of each: (0.7 - 0.5) / (1 - 0.5) = 0.4.
    """
    table = Counter(pairs)
    count = sum(table.values())
    if count == 0:
        return None
    rows, columns = margins(table)
    agreed = sum(n for (left, right), n in table.items() if left == right) / count
    by_chance = sum(rows[key] * columns[key] for key in rows) / count**2
    if by_chance == 1:
        return None
    value = (agreed - by_chance) / (1 - by_chance)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(kappa_variance(table))
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), count)


def kappa_variance(table: Counter[tuple[Hashable, Hashable]]) -> float:
    """Large-sample variance of kappa: Fleiss, Cohen & Everitt, Psychological Bulletin 72 (1969) 323, formula 13.

    Args:
        table: How often each pair of classes was given; not all in one and the same class.
    """
    count = sum(table.values())
    row_counts, column_counts = margins(table)
    agreed = sum(n for (left, right), n in table.items() if left == right) / count
    by_chance = sum(row_counts[key] * column_counts[key] for key in row_counts) / count**2
    total = 0.0
    for (left, right), n in table.items():
        if left == right:
            both = (row_counts[left] + column_counts[left]) / count
            total += n / count * ((1 - by_chance) - both * (1 - agreed)) ** 2
        else:
            crossed = (column_counts[left] + row_counts[right]) / count
            total += n / count * (1 - agreed) ** 2 * crossed**2
    total -= (agreed * by_chance - 2 * by_chance + agreed) ** 2
    return max(0.0, total) / (count * (1 - by_chance) ** 4)


def margins(table: Counter[tuple[Hashable, Hashable]]) -> tuple[Counter[Hashable], Counter[Hashable]]:
    """How often the first and the second rater gave each class."""
    rows: Counter[Hashable] = Counter()
    columns: Counter[Hashable] = Counter()
    for (left, right), n in table.items():
        rows[left] += n
        columns[right] += n
    return rows, columns


def quantile(values: Sequence[float], part: float) -> float | None:
    """The value below which a part of the values lies, between the two nearest where need be; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    place = part * (len(ranked) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])

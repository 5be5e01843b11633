# SPDX-License-Identifier: Apache-2.0
"""Permutation tests of paired differences, and Holm's correction for several tests.

Deterministic for a seeded generator; time and memory are bounded for any number of clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from medix_verl.evaluation.stats.intervals import CHUNK

__all__ = ["affordable", "holm", "sign_flip"]

EXACT_CLUSTERS = 13
"""Up to this number of differing clusters all sign patterns (2^13) are tried, and the p-value is exact."""
MOST_WEIGHTS = 100_000_000
"""Clusters times rounds above which fewer rounds are drawn, so that 90,000 clusters take seconds."""
FEWEST_ROUNDS = 2000


def affordable(rounds: int, clusters: int) -> int:
    """Number of rounds that takes seconds, at most `rounds`."""
    return min(rounds, max(FEWEST_ROUNDS, MOST_WEIGHTS // clusters))


def sign_flip(totals: Any, rounds: int, rng: Any) -> float:
    """Two-sided p-value of the sum of `totals` under random signs, each + or - with probability 1/2.

    Args:
        totals: One number per cluster: the sum of its differences.
        rounds: Sign patterns to draw if there are too many to try them all.
        rng: A numpy generator.

    Returns:
        The share of sign patterns whose sum is at least as far from 0; never 0.
    """
    import numpy as np

    given = np.asarray(totals, dtype=np.float64)
    given = given[given != 0]
    if not len(given):
        return 1.0
    # Equal sums may differ by rounding.
    bar = abs(float(given.sum())) - 1e-9 * float(np.abs(given).sum())
    if len(given) <= EXACT_CLUSTERS:
        signs: Any = np.array(list(product((-1.0, 1.0), repeat=len(given))))
        return float((np.abs(signs @ given) >= bar).mean())
    rounds = affordable(rounds, len(given))
    hits, step = 0, max(1, CHUNK // len(given))
    for start in range(0, rounds, step):
        signs = rng.integers(0, 2, size=(min(step, rounds - start), len(given))) * 2.0 - 1.0
        hits += int((np.abs(signs @ given) >= bar).sum())
    return (1 + hits) / (1 + rounds)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for all tests together; the p-values keep their order."""
    ranked = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(ranked):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = highest
    return corrected

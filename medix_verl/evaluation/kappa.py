# SPDX-License-Identifier: Apache-2.0
"""Cohen's kappa of two raters whose cases come in clusters: several answers on one picture or patient.

The design effect is the variance of the clusters' influences on kappa over that of as many independent cases, widened
by Student's t as that of a mean is (medix_verl.evaluation.intervals). It is never taken to be below 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import NormalDist

from medix_verl.evaluation.agreement import Estimate, cohen_kappa, kappa_variance, margins
from medix_verl.evaluation.intervals import CONFIDENCE, freedom, student

__all__ = ["clustered_kappa"]


def clustered_kappa(
    pairs: Sequence[tuple[Hashable, Hashable]], clusters: Sequence[Hashable], confidence: float = CONFIDENCE
) -> Estimate | None:
    """Agreement beyond chance with an interval that holds for new clusters like these.

    Args:
        pairs: What the first and the second rater said of each case.
        clusters: The cluster of each case.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Kappa in [-1, 1]; None where it has no value (see agreement.cohen_kappa).
    """
    many = len(set(clusters))
    return cohen_kappa(pairs, confidence, design_effect(pairs, clusters, confidence), many)


def design_effect(pairs: Sequence[tuple[Hashable, Hashable]], clusters: Sequence[Hashable], confidence: float) -> float:
    """How many times kappa's variance is that of independent cases; 1 with one case a cluster."""
    import numpy as np

    sums: dict[Hashable, float] = dict.fromkeys(clusters, 0.0)
    table, many = Counter(pairs), len(sums)
    whole = len(pairs) / max(1, many)
    known = kappa_variance(table) if len({name for pair in table for name in pair}) > 1 else 0.0
    if whole == 1 or many < 2 or known == 0:
        return max(1.0, whole)
    influence = influences(table)
    for pair, cluster in zip(pairs, clusters, strict=True):
        sums[cluster] += influence[pair]
    moves = np.array(list(sums.values())) / len(pairs)
    variance = float((moves * moves).sum()) * many / (many - 1)
    widening = (student(confidence, freedom(moves)) / NormalDist().inv_cdf(0.5 + confidence / 2)) ** 2
    return max(1.0, variance / known * widening)


def influences(table: Counter[tuple[Hashable, Hashable]]) -> dict[tuple[Hashable, Hashable], float]:
    """How far a case of each kind moves kappa, times the number of cases: the terms of Fleiss, Cohen and Everitt."""
    count = sum(table.values())
    rows, columns = margins(table)
    agreed = sum(n for (left, right), n in table.items() if left == right) / count
    by_chance = sum(rows[key] * columns[key] for key in rows) / count**2
    terms = {
        (left, right): (left == right) * (1 - by_chance) - (columns[left] + rows[right]) / count * (1 - agreed)
        for left, right in table
    }
    middle = sum(n * terms[pair] for pair, n in table.items()) / count
    return {pair: (term - middle) / (1 - by_chance) ** 2 for pair, term in terms.items()}

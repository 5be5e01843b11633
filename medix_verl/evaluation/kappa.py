# SPDX-License-Identifier: Apache-2.0
"""Cohen's kappa of two raters whose cases come in clusters: several answers on one picture or patient.

The design effect is the variance of the clusters' influences on kappa over that of as many independent cases, widened
by Student's t as that of a mean is (medix_verl.evaluation.intervals). It is never taken to be below 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from medix_verl.evaluation.agreement import Estimate, cohen_kappa, kappa_influences, kappa_variance
from medix_verl.evaluation.intervals import CONFIDENCE, freedom, widening

__all__ = ["clustered_kappa"]

NO_VARIANCE = 1e-20
"""Variance of kappa below which raters that never differ have one by rounding alone."""


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
    if whole == 1 or many < 2 or known <= NO_VARIANCE:
        return max(1.0, whole)
    influence = kappa_influences(table)
    for pair, cluster in zip(pairs, clusters, strict=True):
        sums[cluster] += influence[pair]
    moves = np.array(list(sums.values())) / len(pairs)
    variance = float((moves * moves).sum()) * many / (many - 1)
    return max(1.0, variance / known * widening(confidence, freedom(moves)))

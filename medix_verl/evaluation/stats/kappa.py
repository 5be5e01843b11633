# SPDX-License-Identifier: Apache-2.0
"""Computes the agreement of two raters on clustered cases: several answers on one picture or patient.

Kappa's design effect is the variance of the clusters' influences over the variance of as many independent cases,
widened by Student's t like that of a mean (medix_verl.evaluation.stats.intervals). It is at least 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from medix_verl.evaluation.audit.agreement import Estimate, cohen_kappa, effective, kappa_influences, kappa_variance
from medix_verl.evaluation.stats.intervals import CONFIDENCE, clustered_mean, freedom, widening

__all__ = ["clustered_kappa", "two_raters"]

NO_VARIANCE = 1e-20
"""Variance of kappa below which it is a rounding error: the raters never differ."""


def two_raters(pairs: Sequence[tuple[bool, bool]], clusters: Sequence[Hashable]) -> dict[str, Any]:
    """Two raters' verdicts on each case: `agreement` (a share), `kappa`, and `table`, the counts of `yes_no` ..."""
    counts = Counter(pairs)
    words = {True: "yes", False: "no"}
    return {
        "agreement": clustered_mean([float(a == b) for a, b in pairs], clusters),
        "kappa": clustered_kappa(pairs, clusters),
        "table": {f"{words[a]}_{words[b]}": counts[a, b] for a in words for b in words},
    }


def clustered_kappa(
    pairs: Sequence[tuple[Hashable, Hashable]], clusters: Sequence[Hashable], confidence: float = CONFIDENCE
) -> Estimate | None:
    """Agreement beyond chance, with an interval for new clusters from the same population.

    Args:
        pairs: The first and the second rater's class of each case.
        clusters: The cluster of each case.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Kappa in [-1, 1]; None if it is undefined (see agreement.cohen_kappa).
    """
    weighty = effective(list(Counter(clusters).values()))
    return cohen_kappa(pairs, confidence, design_effect(pairs, clusters, confidence), weighty)


def design_effect(pairs: Sequence[tuple[Hashable, Hashable]], clusters: Sequence[Hashable], confidence: float) -> float:
    """Ratio of kappa's variance to that of independent cases; 1 with one case per cluster."""
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

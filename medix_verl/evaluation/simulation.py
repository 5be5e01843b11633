# SPDX-License-Identifier: Apache-2.0
"""Simulated scores of 0 and 1 in clusters, with a truth that is known: what shows how far an interval can be trusted.

Scores are beta-binomial: each cluster has a share of its own, and the correlation says how far these lie apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["SIZES", "coverage", "draw"]

SIZES: dict[str, Callable[[Any, int], Any]] = {
    "one": lambda rng, clusters: np.ones(clusters, dtype=int),
    "five": lambda rng, clusters: np.full(clusters, 5),
    "mixed": lambda rng, clusters: rng.geometric(0.25, clusters),
    "skewed": lambda rng, clusters: np.minimum(rng.geometric(0.125, clusters), 40),
}
"""How many samples a cluster has: always 1, always 5, 4 on average, or 8 on average and up to 40."""


def draw(
    rng: Any, clusters: int, share: float, correlation: float, sizes: str = "mixed"
) -> tuple[list[float], list[int]]:
    """Scores and clusters of one simulated task.

    Args:
        rng: A numpy generator.
        clusters: How many.
        share: The true share of ones.
        correlation: Intra-cluster correlation: the share differs between clusters by a beta distribution.
        sizes: A key of SIZES.
    """
    counts = SIZES[sizes](rng, clusters)
    if correlation:
        weight = (1 - correlation) / correlation
        shares = rng.beta(share * weight, (1 - share) * weight, clusters)
    else:
        shares = np.full(clusters, share)
    names: Any = np.repeat(np.arange(clusters), counts)
    return (rng.random(len(names)) < shares[names]).astype(float).tolist(), names.tolist()


def coverage(
    interval: Callable[[list[float], list[int]], Any],
    clusters: int,
    share: float,
    correlation: float,
    sizes: str = "mixed",
    rounds: int = 2000,
    seed: int = 0,
) -> float:
    """How often the interval holds the true share."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(rounds):
        found = interval(*draw(rng, clusters, share, correlation, sizes))
        hits += found.low <= share <= found.high
    return hits / rounds

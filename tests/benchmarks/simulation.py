# SPDX-License-Identifier: Apache-2.0
"""Simulated scores, differences and verdicts in clusters, with a truth that is known: how far intervals can be trusted.

Scores are beta-binomial: each cluster has a share of its own, and the correlation says how far these lie apart. Of two
raters each cluster has its own shares of the four pairs of verdicts, drawn from Dirichlet's distribution.
`bootstrap_mean` is a second opinion by resampling clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.stats.intervals import CONFIDENCE, cluster_sums, generator, percentiles, resample

SIZES: dict[str, Callable[[Any, int], Any]] = {
    "one": lambda rng, clusters: np.ones(clusters, dtype=int),
    "five": lambda rng, clusters: np.full(clusters, 5),
    "mixed": lambda rng, clusters: rng.geometric(0.25, clusters),
    "skewed": lambda rng, clusters: np.minimum(rng.geometric(0.125, clusters), 40),
    "heavy": lambda rng, clusters: np.where(np.arange(clusters) % 10 == 0, 40, 1),
}
"""Samples of a cluster: always 1, always 5, 4 on average, 8 on average and up to 40, or 1, and 40 in a tenth."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of many intervals."""

    share: float
    """Of those that held the truth."""
    marked: float
    """Share of those that said they were approximate."""


def coverage(once: Callable[[Any], Estimate | None], truth: float, rounds: int = 2000, seed: int = 0) -> Coverage:
    """How often an interval holds the truth.

    Args:
        once: Draws from a generator and estimates; None, where what was drawn has no value, counts in no share.
        truth: What is estimated.
        rounds: How often.
        seed: Of the generator.
    """
    rng = np.random.default_rng(seed)
    found = [estimate for estimate in (once(rng) for _ in range(rounds)) if estimate is not None]
    hits = sum(estimate.low <= truth <= estimate.high for estimate in found)
    return Coverage(hits / len(found), sum(estimate.approximate for estimate in found) / len(found))


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
    names: Any = np.repeat(np.arange(clusters), SIZES[sizes](rng, clusters))
    shares = own_shares(rng, clusters, share, correlation)
    return (rng.random(len(names)) < shares[names]).astype(float).tolist(), names.tolist()


def draw_graded(
    rng: Any, clusters: int, share: float, correlation: float, sizes: str = "mixed", points: int = 5
) -> tuple[list[float], list[int]]:
    """Scores of 0 to so many points, in parts of all of them, and clusters; the other arguments are those of draw."""
    names: Any = np.repeat(np.arange(clusters), SIZES[sizes](rng, clusters))
    shares = own_shares(rng, clusters, share, correlation)
    return (rng.binomial(points, shares[names]) / points).tolist(), names.tolist()


def own_shares(rng: Any, clusters: int, share: float, correlation: float) -> Any:
    """The share of each cluster."""
    if not correlation:
        return np.full(clusters, share)
    weight = (1 - correlation) / correlation
    return rng.beta(share * weight, (1 - share) * weight, clusters)


def draw_difference(
    rng: Any, clusters: int, share: float, gain: float, apart: float, correlation: float, sizes: str = "mixed"
) -> tuple[list[float], list[int]]:
    """Differences of two models' scores, and clusters.

    Args:
        rng: A numpy generator.
        clusters: How many.
        share: The first model's share of ones.
        gain: The true difference.
        apart: Share of the samples on which the two answer independently; on the others they score alike.
        correlation: Of the samples of a cluster, for each model.
        sizes: A key of SIZES.
    """
    names: Any = np.repeat(np.arange(clusters), SIZES[sizes](rng, clusters))
    first, second = (own_shares(rng, clusters, p, correlation)[names] for p in (share, share + gain / apart))
    many = len(names)
    values = (rng.random(many) < second).astype(float) - (rng.random(many) < first).astype(float)
    return np.where(rng.random(many) < apart, values, 0.0).tolist(), names.tolist()


def draw_raters(
    rng: Any, clusters: int, shares: tuple[float, ...], correlation: float, sizes: str = "mixed"
) -> tuple[list[tuple[bool, bool]], list[int]]:
    """Verdicts of two raters, and clusters.

    Args:
        rng: A numpy generator.
        clusters: How many.
        shares: Of yes and yes, yes and no, no and yes, no and no.
        correlation: Of the cases of a cluster.
        sizes: A key of SIZES.
    """
    names: Any = np.repeat(np.arange(clusters), SIZES[sizes](rng, clusters))
    own = np.tile(shares, (clusters, 1))
    if correlation:
        own = rng.dirichlet(np.array(shares) * (1 - correlation) / correlation, clusters)
    kinds = (rng.random((len(names), 1)) > own.cumsum(axis=1)[names, :3]).sum(axis=1)
    return [(kind < 2, kind % 2 == 0) for kind in kinds.tolist()], names.tolist()


def bootstrap_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    rounds: int = 5000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    name: str = "",
) -> Estimate | None:
    """The mean of scores with the percentile interval of a cluster bootstrap; None without samples.

    The percentiles are moved outwards for few clusters (Hesterberg, American Statistician 69 (2015) 371, 4.4), with as
    many degrees of freedom as the clusters' unequal residuals leave.
    """
    sums = cluster_sums(values, clusters)
    if not sums.count:
        return None
    low, high = percentiles(resample(sums, rounds, generator(seed, name)), sums, confidence)
    return Estimate(sums.mean, min(low, sums.mean), max(high, sums.mean), sums.count)

# SPDX-License-Identifier: Apache-2.0
"""Intervals of a mean of scores in [0, 1] whose samples come in clusters: several questions on one picture or patient.

`clustered_mean` is the interval that the tables show. The variance is the delete-one-cluster jackknife's; what it is
beyond that of independent samples is the design effect, and Wilson's score interval is taken at the effective number
of samples that is left (the idea of Korn and Graubard, Survey Methodology 24 (1998) 193, with Wilson's interval in
the place of Clopper's and Pearson's). The design effect is itself an estimate: it is widened by the quantile of
Student's t, with as many degrees of freedom as the spread of the clusters' squared residuals allows. With one sample
a cluster and scores of 0 and 1 the result is the textbook's Wilson interval.

What the samples tell is a `Spread`, from which an interval is made at once (`clustered_mean`) or only over several
tasks together (medix_verl.evaluation.statistics). Over the grid of tests/benchmarks/coverage.py 95 % intervals cover 93
to 97 % with 60 clusters or more and 5 effective samples or more of either kind; below that they are marked as
approximate, and cover 87 to 99 %. `bootstrap_mean` is a second opinion by resampling clusters.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from medix_verl.errors import DataError
from medix_verl.evaluation.agreement import Estimate, few, wilson

__all__ = [
    "CONFIDENCE",
    "ClusterSums",
    "Spread",
    "bootstrap_mean",
    "cluster_sums",
    "clustered_mean",
    "generator",
    "resample",
    "spread_interval",
    "spread_of",
]

CONFIDENCE = 0.95
MIN_FREEDOM = 2.0
"""Degrees of freedom below which Student's t says nothing useful any more."""
CHUNK = 2_000_000
"""Weights that a bootstrap draws at once: 16 MB."""


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """Scores added up by cluster, as numpy arrays of one entry a cluster, in the order of first appearance."""

    totals: Any
    """Sum of the scores of each cluster."""
    sizes: Any
    """Number of samples of each cluster."""
    squares: float
    """Sum of all squared scores."""

    @property
    def count(self) -> int:
        """Number of samples."""
        return int(self.sizes.sum())

    @property
    def mean(self) -> float:
        """Mean over the samples, each with the same weight."""
        return float(self.totals.sum() / self.sizes.sum())


@dataclass(frozen=True, slots=True)
class Spread:
    """What samples in clusters tell of their mean."""

    mean: float
    count: int
    """Samples."""
    clusters: int
    size: float
    """How many independent scores of 0 and 1 would tell as much, before the design effect's own error."""
    most: float
    """The size that clusters cannot raise it over: that of so many samples without clusters."""
    freedom: float | None
    """Degrees of freedom of the design effect; None where it is known."""

    def sized(self, widening: float) -> float:
        """The size where the design effect may be so many times what was found."""
        return min(self.most, self.size / widening)


def cluster_sums(values: Sequence[float], clusters: Sequence[Hashable], low: float = 0.0) -> ClusterSums:
    """Add scores up by cluster.

    Args:
        values: One score in [low, 1] a sample.
        clusters: The cluster of each sample.
        low: 0 for scores, -1 for differences of scores.

    Raises:
        DataError: The two are not of one length, or a score is not finite or outside its range.
    """
    import numpy as np

    if len(values) != len(clusters):
        raise DataError(f"got {len(values)} scores and {len(clusters)} clusters; give one cluster a score")
    for value in values:
        if not low <= value <= 1.0:
            raise DataError(f"a score is {value}; accepted: {low:g} to 1, and nothing for an unscored sample")
    order: dict[Hashable, int] = {}
    places = np.array([order.setdefault(cluster, len(order)) for cluster in clusters], dtype=np.int64)
    given = np.asarray(values, dtype=np.float64)
    totals = np.bincount(places, weights=given, minlength=len(order))
    sizes = np.bincount(places, minlength=len(order)).astype(np.float64)
    return ClusterSums(totals, sizes, float((given * given).sum()))


def clustered_mean(
    values: Sequence[float], clusters: Sequence[Hashable], confidence: float = CONFIDENCE
) -> Estimate | None:
    """The mean of scores with its interval; None without samples.

    Args:
        values: One score in [0, 1] a sample.
        clusters: The cluster of each sample; the interval holds for new clusters like these.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The estimate; `count` is the number of samples.
    """
    spread = spread_of(values, clusters)
    return None if spread is None else spread_interval(spread, confidence)


def spread_interval(spread: Spread, confidence: float = CONFIDENCE) -> Estimate:
    """The interval of one mean."""
    size = spread.sized(widening(confidence, spread.freedom))
    low, high = wilson(spread.mean, size, student(confidence, None))
    rarer = size * min(spread.mean, 1 - spread.mean)
    return Estimate(spread.mean, low, high, spread.count, few(spread.clusters, rarer))


def spread_of(values: Sequence[float], clusters: Sequence[Hashable]) -> Spread | None:
    """What scores in [0, 1] tell of their mean, one score and one cluster a sample; None without samples.

    Where all scores are the same there is no spread to learn the design effect from: each cluster is one sample then.
    """
    import numpy as np

    sums = cluster_sums(values, clusters)
    if not sums.count:
        return None
    n, p, many = sums.count, sums.mean, len(sums.sizes)
    spread = max(0.0, sums.squares - n * p * p) / n
    if spread < 1e-12 or many < 2:
        return Spread(p, n, many, float(many), float(many), None)
    # Scores between 0 and 1 spread less than those of 0 and 1 with the same mean, and tell more.
    most = n * (p * (1 - p) / spread)
    moves = moves_of(sums)
    effect = float((many - 1) / many * (moves * moves).sum()) / (spread / (n - 1))
    # With one sample a cluster and scores of 0 and 1, the mean alone says what the variance is.
    known = n == many and bool(np.isclose(sums.squares, sums.totals.sum()))
    return Spread(p, n, many, most / max(effect, 1e-12), most, None if known else freedom(moves))


def moves_of(sums: ClusterSums) -> Any:
    """How far the mean moves without each of two clusters or more: by its residual over what remains."""
    return (sums.totals - sums.mean * sums.sizes) / (sums.count - sums.sizes)


def freedom(moves: Any) -> float:
    """Degrees of freedom of a sum of squares, from how unequal its parts are (Satterthwaite)."""
    import numpy as np

    parts = moves * moves
    total, clusters = float(parts.sum()), len(parts)
    # Clusters of one and the same mean: nothing is widened, whatever is said here.
    shares = parts / total if total > 0 else np.full(clusters, 1 / clusters)
    variance = float(clusters / (clusters - 1) * ((shares - shares.mean()) ** 2).sum())
    return 1e6 if variance <= 2e-6 else max(MIN_FREEDOM, 2.0 / variance)


def student(confidence: float, degrees: float | None) -> float:
    """Two-sided quantile of Student's t; the normal distribution's where a variance is known."""
    if degrees is None:
        return NormalDist().inv_cdf(0.5 + confidence / 2)
    from scipy.stats import t

    return float(t.ppf(0.5 + confidence / 2, degrees))


def widening(confidence: float, degrees: float | None) -> float:
    """How many times a variance may be what was found, for an interval that knows only so many degrees of freedom."""
    return (student(confidence, degrees) / student(confidence, None)) ** 2


def generator(seed: int, name: str = "") -> Any:
    """A numpy generator that depends on the seed and on a name, so that one task's numbers do not hang on another's."""
    import numpy as np

    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])


def resample(sums: ClusterSums, rounds: int, rng: Any) -> Any:
    """Means over clusters drawn with replacement: an array of `rounds` numbers, in bounded memory."""
    import numpy as np

    clusters = len(sums.sizes)
    means = np.empty(rounds)
    step = max(1, CHUNK // clusters)
    for start in range(0, rounds, step):
        many = min(step, rounds - start)
        weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=many)
        means[start : start + many] = (weights @ sums.totals) / (weights @ sums.sizes)
    return means


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


def percentiles(draws: Any, sums: ClusterSums, confidence: float) -> tuple[float, float]:
    """The two ends of a bootstrap's interval, expanded for few clusters."""
    import numpy as np

    clusters = len(sums.sizes)
    if clusters < 2:
        return -math.inf, math.inf
    outwards = math.sqrt(clusters / (clusters - 1)) * student(confidence, freedom(moves_of(sums)))
    tail = NormalDist().cdf(-outwards)
    return float(np.quantile(draws, tail)), float(np.quantile(draws, 1 - tail))

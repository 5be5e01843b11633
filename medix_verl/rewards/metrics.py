# SPDX-License-Identifier: Apache-2.0
"""Per-step averages of the reward's parts, each over the answers that it applies to, and the services' own numbers.

verl reduces a metric by what its name contains ("max", "min", "sum", "total": verl/trainer/ppo/v1/utils.py,
MetricsAggregator), so no name here has one of these in it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

__all__ = ["REDUCERS", "Tally", "part_metrics", "service_metrics"]

UNSUMMED = ("p50", "p95", "inflight")
"""In the name of a service's number of which two readings have no sum; the larger one is told."""
REDUCERS = ("max", "min", "sum", "total")

_PARTS = {
    "score": None,
    "acc": "judge_ok",
    "judge": "judge_ok",
    "semantic": "semantic_ok",
    "format": None,
    "modality": "modality_applies",
}
"""Each part, and the flag that says where it holds; None: everywhere."""


def part_metrics(extras: Sequence[Mapping[str, float]], prefix: str = "medix") -> dict[str, float]:
    """Mean, standard deviation and valid share of each part.

    Args:
        extras: one dict an answer, as medix_verl.rewards.keys.to_verl makes it.
        prefix: what the names below begin with.

    Returns:
        `medix/PART/mean`, `medix/PART/std` where the part applies to an answer at least, and `medix/PART/valid`,
        the share of answers that it applies to. `medix/reward/busy_s`: seconds the reward processes spent scoring.
    """
    metrics: dict[str, float] = {}
    for part, flag in _PARTS.items():
        values = [float(extra[part]) for extra in extras if part in extra and (flag is None or extra.get(flag))]
        if extras:
            metrics[f"{prefix}/{part}/valid"] = len(values) / len(extras)
        if values:
            metrics[f"{prefix}/{part}/mean"] = statistics.fmean(values)
            metrics[f"{prefix}/{part}/std"] = statistics.pstdev(values)
    busy = [float(extra["reward_busy_s"]) for extra in extras if "reward_busy_s" in extra]
    if busy:
        metrics[f"{prefix}/reward/busy_s"] = math.fsum(busy)
    return metrics


def service_metrics(
    judge: Mapping[str, float], encoder: Mapping[str, float], prefix: str = "medix"
) -> dict[str, float]:
    """What the shared judge and encoder did since the last step, as `medix/judge/NAME` and `medix/encoder/NAME`."""
    named = {f"{prefix}/judge/{name}": value for name, value in judge.items()}
    named.update({f"{prefix}/encoder/{name}": value for name, value in encoder.items()})
    return {name: float(value) for name, value in named.items() if not any(word in name for word in REDUCERS)}


class Tally:
    """What is told of one step, or of one validation, which verl may answer in several batches."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.extras: list[Mapping[str, float]] = []
        self.services: tuple[dict[str, float], dict[str, float]] = ({}, {})
        self.counts: dict[str, float] = {}

    def add(
        self, extras: Sequence[Mapping[str, float]], judge: Mapping[str, float], encoder: Mapping[str, float]
    ) -> None:
        """Add a batch, and what the services have done for it."""
        self.extras.extend(extras)
        for known, new in zip(self.services, (judge, encoder), strict=True):
            for name, value in new.items():
                old = known.get(name, 0.0)
                known[name] = max(old, value) if any(word in name for word in UNSUMMED) else old + value

    def count(self, **counts: int) -> None:
        """Add counts, each told under its name."""
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0.0) + value

    def metrics(self) -> dict[str, float]:
        """All of it under the names of the training log; nothing where nothing was added."""
        if not self.counts and not self.extras:
            return {}
        found = part_metrics(self.extras, self.prefix) | service_metrics(*self.services, self.prefix)
        return found | {f"{self.prefix}/{name}": value for name, value in self.counts.items()}

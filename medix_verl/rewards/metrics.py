# SPDX-License-Identifier: Apache-2.0
"""Per-step averages of the reward's parts, each over the answers that it applies to."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

__all__ = ["part_metrics"]

_PARTS = {
    "score": None,
    "acc": "judge_ok",
    "judge": "judge_ok",
    "semantic": "semantic_ok",
    "format": None,
    "modality": "modality_applies",
}
"""Each part, and the flag that says where it holds; None: everywhere."""


def part_metrics(extras: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean, standard deviation and valid share of each part.

    Args:
        extras: one dict an answer, as medix_verl.rewards.keys.to_verl makes it.

    Returns:
        `medix/PART/mean`, `medix/PART/std` where the part applies to an answer at least, and `medix/PART/valid`,
        the share of answers that it applies to. `medix/reward/busy_s`: seconds the reward processes spent scoring.
    """
    metrics: dict[str, float] = {}
    for part, flag in _PARTS.items():
        values = [float(extra[part]) for extra in extras if part in extra and (flag is None or extra.get(flag))]
        if extras:
            metrics[f"medix/{part}/valid"] = len(values) / len(extras)
        if values:
            metrics[f"medix/{part}/mean"] = statistics.fmean(values)
            metrics[f"medix/{part}/std"] = statistics.pstdev(values)
    busy = [float(extra["reward_busy_s"]) for extra in extras if "reward_busy_s" in extra]
    if busy:
        metrics["medix/reward/busy_s"] = math.fsum(busy)
    return metrics

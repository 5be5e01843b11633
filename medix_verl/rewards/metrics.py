# SPDX-License-Identifier: Apache-2.0
"""Metrics of scored answers: averages for each step, and one JSON line for each answer next to verl's dumps.

Every term in the answers' keys is reported (see `keys`). verl chooses a metric's reducer by words in its name, so no
name here contains a word of REDUCERS.

verl's own dump of training answers contains only the score, and none of its dumps contains the row's id, which is
needed to find the picture. These lines are joined to verl's by `uid`; a line without a match is harmless. If a folder
cannot be written, these lines are lost with a warning, and the run continues.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medix_verl.judge.stats import panel_shares
from medix_verl.rewards.keys import acc_of, failed_in, in_order, number_of, terms_in, value_in, values_of
from medix_verl.rewards.term import REDUCERS
from medix_verl.runtime.files import append_lines

__all__ = [
    "FOLDER",
    "BusyClock",
    "Tally",
    "keep_parts",
    "part_lines",
    "part_metrics",
    "service_metrics",
    "terms_found",
]

FOLDER = "parts"
"""Folder in `trainer.rollout_data_dir`."""
UNSUMMED = ("p50", "p95", "inflight")
"""Name parts of a service's metrics that cannot be summed over two readings; the larger value is reported."""

_logger = logging.getLogger(__name__)


def part_metrics(
    extras: Sequence[Mapping[str, Any]], prefix: str = "medix", acc_term: str = "judge"
) -> dict[str, float]:
    """Mean, standard deviation and valid share of the score, of acc and of every term.

    Args:
        extras: The keys of each answer (medix_verl.rewards.keys); rows of `medix-verl score` work too.
        prefix: First part of the names below.
        acc_term: The term that decides acc.

    Returns:
        `medix/NAME/valid`, the share of answers that have a value; `medix/NAME/mean` and `medix/NAME/std` over these,
        if there are any; `medix/NAME/failed` for a term that can fail, the share of answers to which it applied and for
        which it failed. `medix/reward/busy_s`: seconds that the reward processes spent scoring. `medix/thinking/open`:
        the share of answers whose prompt had opened the thinking.
    """
    if not extras:
        return {}
    metrics: dict[str, float] = {}
    terms = terms_in(key for extra in extras for key in extra)
    parts = {
        "score": [number_of(extra.get("score")) for extra in extras],
        "acc": [acc_of(extra, acc_term) for extra in extras],
        **{term.name: [value_in(extra, term) for extra in extras] for term in terms},
    }
    for name, values in parts.items():
        known = [value for value in values if value is not None]
        metrics[f"{prefix}/{name}/valid"] = len(known) / len(extras)
        if known:
            metrics[f"{prefix}/{name}/mean"] = statistics.fmean(known)
            metrics[f"{prefix}/{name}/std"] = statistics.pstdev(known)
    for term in terms:
        if term.can_fail:
            metrics[f"{prefix}/{term.name}/failed"] = sum(failed_in(extra, term) for extra in extras) / len(extras)
    busy = [float(extra["reward_busy_s"]) for extra in extras if "reward_busy_s" in extra]
    if busy:
        metrics[f"{prefix}/reward/busy_s"] = math.fsum(busy)
    opened = [float(extra["thinking_open"]) for extra in extras if "thinking_open" in extra]
    if opened:
        metrics[f"{prefix}/thinking/open"] = statistics.fmean(opened)
    return metrics


def terms_found(metrics: Iterable[str]) -> list[str]:
    """The terms in the names of a run's metrics, as `part_metrics` wrote them; metrics of services are ignored."""
    words = [name.split("/") for name in metrics]
    found = [found[1] for found in words if len(found) == 3 and found[0] == "medix" and found[2] in ("mean", "valid")]
    return in_order(name for name in found if name not in ("score", "acc"))


def service_metrics(
    judge: Mapping[str, float], encoder: Mapping[str, float], prefix: str = "medix"
) -> dict[str, float]:
    """Counts of the shared judge and encoder since the last step, as `medix/judge/NAME` and `medix/encoder/NAME`.

    For a panel, shares are reported with the counts that they come from (medix_verl.judge.stats.panel_shares).
    """
    named = {f"{prefix}/judge/{name}": value for name, value in {**judge, **panel_shares(judge)}.items()}
    named.update({f"{prefix}/encoder/{name}": value for name, value in encoder.items()})
    return {name: float(value) for name, value in named.items() if not any(word in name for word in REDUCERS)}


class Tally:
    """The metrics of one step, or of one validation, which verl may run in several batches."""

    def __init__(self, prefix: str, acc_term: str = "judge") -> None:
        self.prefix = prefix
        self.acc_term = acc_term
        self.extras: list[Mapping[str, float]] = []
        self.services: tuple[dict[str, float], dict[str, float]] = ({}, {})
        self.counts: dict[str, float] = {}

    def add(
        self, extras: Sequence[Mapping[str, float]], judge: Mapping[str, float], encoder: Mapping[str, float]
    ) -> None:
        """Add a batch, and the services' counts for it."""
        self.extras.extend(extras)
        for known, new in zip(self.services, (judge, encoder), strict=True):
            for name, value in new.items():
                old = known.get(name, 0.0)
                known[name] = max(old, value) if any(word in name for word in UNSUMMED) else old + value

    def count(self, **counts: int) -> None:
        """Add counts, each reported under its name."""
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0.0) + value

    def metrics(self) -> dict[str, float]:
        """All metrics under the names of the training log; empty if nothing was added."""
        if not self.counts and not self.extras:
            return {}
        parts = part_metrics(self.extras, self.prefix, self.acc_term)
        named = {f"{self.prefix}/{name}": value for name, value in self.counts.items()}
        return parts | service_metrics(*self.services, self.prefix) | named


def keep_parts(folder: Path, step: int, validation: bool, lines: Sequence[str]) -> None:
    """Append lines to the file of a step.

    Args:
        folder: `trainer.rollout_data_dir`; the lines go into a subfolder.
        step: verl's global step, as in the name of its own dump.
        validation: Whether the lines are from a validation, which may run in several batches.
        lines: From `part_lines`.
    """
    path = folder / FOLDER / f"{'val-' if validation else ''}{step}.jsonl"
    try:
        append_lines(path, lines)
    except OSError as error:
        _logger.warning("the parts of %d answers were not kept: %s; free some space, or set another "
                        "trainer.rollout_data_dir", len(lines), error)  # fmt: skip


def part_lines(
    keys: Sequence[str],
    extras: Sequence[Mapping[str, float]],
    infos: Sequence[Any],
    sources: Sequence[Any],
    acc_term: str = "judge",
) -> list[str]:
    """One line per answer: its row, its flat keys, and in `terms` acc and every term, null for a missing value.

    Args:
        keys: verl's names of the answers, PROMPT_SESSION_INDEX.
        extras: The keys of each answer (medix_verl.rewards.keys).
        infos: The rows' `extra_info` from MedixDataset.
        sources: The rows' `data_source`.
        acc_term: The term that decides acc.
    """
    lines = []
    for key, extra, info, source in zip(keys, extras, infos, sources, strict=True):
        row = info if isinstance(info, Mapping) else {}
        named = {"uid": key, "id": row.get("id"), "data_source": source, "modality_tag": row.get("modality")}
        line = {**named, **extra, "terms": values_of(extra, acc_term)}
        lines.append(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    return lines


class BusyClock:
    """Wall time during which at least one answer is being scored, divided among the answers as they finish.

    The sum of the values that `leave` returned is the busy time of the process: an hour in which two answers were
    scored concurrently counts as one hour.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._inside = 0
        self._since = 0.0

    def enter(self) -> None:
        """Start an answer."""
        if self._inside == 0:
            self._since = self._now()
        self._inside += 1

    def leave(self) -> float:
        """End an answer; returns the busy seconds since the previous answer ended, or since this busy period began."""
        now = self._now()
        busy, self._since = now - self._since, now
        self._inside -= 1
        return busy

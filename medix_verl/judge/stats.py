# SPDX-License-Identifier: Apache-2.0
"""Counts a judge's work since the last reading, and measures the latency of servers.

`Counters` is written by one pool. `JudgeStats` is the frozen snapshot that is logged, sent between processes and
summed over workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from medix_verl.runtime.dispatch import CallCounts

__all__ = ["Counters", "JudgeStats", "add_up", "panel_shares"]


@dataclass(frozen=True, slots=True)
class JudgeStats:
    """Counts since the last reading; times in seconds, 0 without answers."""

    asked: int = 0
    """Answers submitted for a verdict."""
    equality: int = 0
    """Decided by equality with the reference, without a call."""
    guard_hits: int = 0
    """Decided by a guard, without a call."""
    cache_hits: int = 0
    joined: int = 0
    """Joined an equal question in progress."""
    calls: int = 0
    """Requests sent to servers, retries included."""
    retries: int = 0
    unscored: int = 0
    """Questions that ended without a verdict."""
    soft_missing: int = 0
    """Verdicts of a soft judge whose server gave no readable log-probabilities."""
    swap_splits: int = 0
    """Verdicts NO because the two passes of a swap disagreed."""
    no_picture: int = 0
    """Questions without a verdict because a picture of theirs could not be read; also counted in `unscored`."""
    inflight: int = 0
    """Questions waiting or in progress at the moment of reading."""
    p50_s: float = 0.0
    """Median latency of a server."""
    p95_s: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed requests by the value of their Failure; also questions given up because every endpoint was down, as
    `unreachable`, and questions on which a panel has no majority, as `disagreement`."""
    panel: Mapping[str, int] = field(default_factory=dict)
    """For a panel: `compared`, the questions that two or more members answered; `agreed`, those of them with equal
    verdicts of all members that answered; and for each member, by its place from 1, `verdicts_N`, `yes_N`, and
    `dissents_N`, its verdicts that differ from the panel's."""

    def flat(self) -> dict[str, float]:
        """One flat mapping of numbers, for a training log; each kind of failure is `failures_KIND`."""
        numbers = {item.name: float(getattr(self, item.name)) for item in fields(self) if item.type in ("int", "float")}
        numbers |= {f"failures_{kind}": float(count) for kind, count in sorted(self.failures.items())}
        return numbers | {f"panel_{name}": float(count) for name, count in sorted(self.panel.items())}


COUNTED = tuple(item.name for item in fields(JudgeStats)[:11])
"""Fields that are plain counts."""


class Counters(CallCounts):
    """The counts of one judge; plain attributes, because they are updated with every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Set all counts to zero."""
        self.asked = self.equality = self.guard_hits = self.cache_hits = self.joined = 0
        self.calls = self.retries = self.unscored = self.soft_missing = self.swap_splits = self.no_picture = 0
        self.failures.clear()
        self.latencies.clear()

    def note_equality(self) -> None:
        """Count an answer that equals its reference, without a call."""
        self.asked += 1
        self.equality += 1

    def note_guard(self) -> None:
        """Count an answer that a guard rejected, without a call."""
        self.asked += 1
        self.guard_hits += 1

    def note_no_picture(self) -> None:
        """Count a question that could not be asked because its picture could not be read."""
        self.asked += 1
        self.unscored += 1
        self.no_picture += 1

    def take_answered_locally(self) -> tuple[int, int, int, int]:
        """Take equalities, guard hits, retries and unreadable pictures since the last call, for another process."""
        taken = (self.equality, self.guard_hits, self.retries, self.no_picture)
        self.asked -= taken[0] + taken[1] + taken[3]
        self.unscored -= taken[3]
        self.equality = self.guard_hits = self.retries = self.no_picture = 0
        return taken

    def add_answered_locally(self, counts: Sequence[int]) -> None:
        """Add the result of another instance's `take_answered_locally`."""
        self.equality += counts[0]
        self.guard_hits += counts[1]
        self.retries += counts[2]
        self.no_picture += counts[3]
        self.unscored += counts[3]
        self.asked += counts[0] + counts[1] + counts[3]

    def snapshot(self, inflight: int) -> JudgeStats:
        """Snapshot of the counts since the last reset."""
        ordered = sorted(self.latencies)
        return JudgeStats(
            **{name: getattr(self, name) for name in COUNTED},
            inflight=inflight,
            p50_s=quantile(ordered, 0.5),
            p95_s=quantile(ordered, 0.95),
            failures=dict(self.failures),
        )


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; 0 for an empty list."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def add_up(parts: Iterable[JudgeStats]) -> JudgeStats:
    """Combine the stats of several workers: sums, the mean of the medians weighted by calls, and the largest p95."""
    parts = list(parts)
    failures: Counter[str] = Counter()
    panel: Counter[str] = Counter()
    for part in parts:
        failures.update(part.failures)
        panel.update(part.panel)
    counts = {name: sum(getattr(part, name) for part in parts) for name in (*COUNTED, "inflight")}
    calls = sum(part.calls for part in parts)
    median = sum(part.p50_s * part.calls for part in parts) / calls if calls else 0.0
    worst = max((part.p95_s for part in parts), default=0.0)
    return JudgeStats(**counts, p50_s=median, p95_s=worst, failures=dict(failures), panel=dict(panel))


def panel_shares(numbers: Mapping[str, float]) -> dict[str, float]:
    """The shares of a panel, from the counts of `JudgeStats.flat`, summed over any period.

    Returns:
        `agreement`: among questions that two or more members answered, the share with equal verdicts of all that
        answered.
        `member_N_yes` and `member_N_dissent`: among verdicts of the member at place N (from 1), the shares that were
        YES and that differ from the panel's. Shares with denominator 0 are left out; without a panel the result is
        empty.
    """
    pairs = {"agreement": ("panel_agreed", "panel_compared")}
    for name in numbers:
        if name.startswith("panel_verdicts_"):
            place = name.removeprefix("panel_verdicts_")
            pairs[f"member_{place}_yes"] = (f"panel_yes_{place}", name)
            pairs[f"member_{place}_dissent"] = (f"panel_dissents_{place}", name)
    return {name: numbers.get(part, 0.0) / whole for name, (part, of) in pairs.items() if (whole := numbers.get(of))}

# SPDX-License-Identifier: Apache-2.0
"""What a judge has done: counters since the last reading, and the latency of the server's answers.

`Counters` is written by one pool, `JudgeStats` is the frozen snapshot that is logged, sent between processes and
added up over workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from medix_verl.runtime.dispatch import CallCounts

__all__ = ["Counters", "JudgeStats", "add_up"]


@dataclass(frozen=True, slots=True)
class JudgeStats:
    """Counts since the last reading; times in seconds, 0 where nothing was answered."""

    asked: int = 0
    """Answers that somebody wanted judged."""
    equality: int = 0
    """Decided by equality with the reference, without a call."""
    guard_hits: int = 0
    """Decided by a guard, without a call."""
    cache_hits: int = 0
    joined: int = 0
    """Joined the same question that was under way."""
    calls: int = 0
    """Requests sent to servers, retries included."""
    retries: int = 0
    unscored: int = 0
    """Questions that ended without a verdict."""
    soft_missing: int = 0
    """Verdicts of a soft judge whose server gave no readable log-probabilities."""
    swap_splits: int = 0
    """Verdicts NO because the two passes of a swap disagreed."""
    inflight: int = 0
    """Questions waiting or under way at the moment of reading."""
    p50_s: float = 0.0
    """Median time of a server's answer."""
    p95_s: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed requests by the value of their Failure; questions that were given up because every endpoint was down are
    counted as `unreachable` too."""

    def flat(self) -> dict[str, float]:
        """One flat mapping of numbers, for a training log; every kind of failure in it is `failures_KIND`."""
        numbers = {item.name: float(getattr(self, item.name)) for item in fields(self) if item.name != "failures"}
        return {**numbers, **{f"failures_{kind}": float(count) for kind, count in sorted(self.failures.items())}}


COUNTED = tuple(item.name for item in fields(JudgeStats)[:10])
"""Those that are plain counts."""


class Counters(CallCounts):
    """The numbers of one judge; plain attributes, because they are touched with every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Begin a new reading."""
        self.asked = self.equality = self.guard_hits = self.cache_hits = self.joined = 0
        self.calls = self.retries = self.unscored = self.soft_missing = self.swap_splits = 0
        self.failures.clear()
        self.latencies.clear()

    def note_equality(self) -> None:
        """An answer that equals its reference was not asked about."""
        self.asked += 1
        self.equality += 1

    def note_guard(self) -> None:
        """An answer that a guard has stopped was not asked about."""
        self.asked += 1
        self.guard_hits += 1

    def take_spared(self) -> tuple[int, int, int]:
        """Equalities, guard hits and retries since they were last taken, for whoever adds them up."""
        taken = (self.equality, self.guard_hits, self.retries)
        self.asked -= taken[0] + taken[1]
        self.equality = self.guard_hits = self.retries = 0
        return taken

    def add_spared(self, spared: Sequence[int]) -> None:
        """Add what `take_spared` of another one gave."""
        self.equality += spared[0]
        self.guard_hits += spared[1]
        self.asked += spared[0] + spared[1]
        self.retries += spared[2]

    def snapshot(self, inflight: int) -> JudgeStats:
        """What has been counted since the last reset."""
        ordered = sorted(self.latencies)
        return JudgeStats(
            **{name: getattr(self, name) for name in COUNTED},
            inflight=inflight,
            p50_s=quantile(ordered, 0.5),
            p95_s=quantile(ordered, 0.95),
            failures=dict(self.failures),
        )


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def add_up(parts: Iterable[JudgeStats]) -> JudgeStats:
    """The stats of several workers as one: sums, the calls' mean of the medians, and the worst p95."""
    parts = list(parts)
    failures: Counter[str] = Counter()
    for part in parts:
        failures.update(part.failures)
    counts = {name: sum(getattr(part, name) for part in parts) for name in (*COUNTED, "inflight")}
    calls = sum(part.calls for part in parts)
    median = sum(part.p50_s * part.calls for part in parts) / calls if calls else 0.0
    worst = max((part.p95_s for part in parts), default=0.0)
    return JudgeStats(**counts, p50_s=median, p95_s=worst, failures=dict(failures))

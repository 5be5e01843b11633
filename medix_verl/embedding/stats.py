# SPDX-License-Identifier: Apache-2.0
"""What an encoder did since somebody last asked: counts, and how long its answers took."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

__all__ = ["EncoderStats", "StatsBook"]

WINDOW = 4096


@dataclass(frozen=True, slots=True)
class EncoderStats:
    """A snapshot; its fields are numbers only."""

    asked: int = 0
    """Pairs that were compared."""
    embedded: int = 0
    """Texts that went through the model."""
    cache_hits: int = 0
    """Texts whose vector was known already, or asked for twice in one batch."""
    batches: int = 0
    failures: int = 0
    """Pairs without a similarity."""
    latency_p50_ms: float = 0.0
    """From the question to its answer, waiting included."""
    latency_p95_ms: float = 0.0


class StatsBook:
    """Collects for one encoder, from its worker thread and from event loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clear()

    def enter(self, asked: int, texts: int, embedded: int, failures: int) -> None:
        """Enter one batch."""
        with self._lock:
            self._asked += asked
            self._embedded += embedded
            self._hits += texts - embedded
            self._batches += 1
            self._failures += failures

    def enter_latency(self, seconds: float) -> None:
        """Enter how long one question took."""
        with self._lock:
            self._latencies.append(seconds)

    def take(self) -> EncoderStats:
        """The snapshot since the last call."""
        with self._lock:
            ordered = sorted(self._latencies)
            p50, p95 = 1000 * quantile(ordered, 0.5), 1000 * quantile(ordered, 0.95)
            found = EncoderStats(self._asked, self._embedded, self._hits, self._batches, self._failures, p50, p95)
            self._clear()
        return found

    def _clear(self) -> None:
        self._asked = self._embedded = self._hits = self._batches = self._failures = 0
        self._latencies: deque[float] = deque(maxlen=WINDOW)


def quantile(ordered: list[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed; 0 without values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

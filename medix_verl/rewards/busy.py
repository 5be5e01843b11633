# SPDX-License-Identifier: Apache-2.0
"""Measures how long a process spends scoring when answers are scored concurrently and their times overlap."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["BusyClock"]


class BusyClock:
    """Wall time during which at least one answer is being scored, split over the answers as they finish.

    The sum of what `leave` returned is the busy time of the process: an hour in which two answers were scored at
    once counts one hour, whatever each of them took.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._inside = 0
        self._since = 0.0

    def enter(self) -> None:
        """An answer begins."""
        if self._inside == 0:
            self._since = self._now()
        self._inside += 1

    def leave(self) -> float:
        """An answer ends; seconds of busy time since the last one ended, or since this busy time began."""
        now = self._now()
        busy, self._since = now - self._since, now
        self._inside -= 1
        return busy

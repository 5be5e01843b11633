# SPDX-License-Identifier: Apache-2.0
"""Measures the throughput and latency of a service at a fixed concurrency.

A new question starts when one ends, so the number in flight is constant. Failed questions are not counted as answers;
if all fail, an error with the first reason is raised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from medix_verl.errors import ConfigError, SetupError

__all__ = ["Measured", "check_count", "measure"]

Ask = Callable[[int], Awaitable[str]]
"""Asks question number N; returns the reason for a failure, or an empty string. N below 0 is a warm-up question."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Throughput and latency of a service."""

    answers: int
    """Number of answers received."""
    failed: int
    seconds: float
    median_s: float
    """Median latency."""
    slow_s: float
    """95th percentile of the latency."""
    reason: str = ""
    """Reason of the first failure."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


async def measure(ask: Ask, count: int, at_once: int, clock: Callable[[], float] = time.perf_counter) -> Measured:
    """Ask `count` questions, `at_once` at a time, after one warm-up question.

    Raises:
        ConfigError: `count` or `at_once` is below 1.
        SetupError: No question was answered.
    """
    check_count("--answers", count)
    check_count("--at-once", at_once)
    numbers = iter(range(count))
    took: list[float] = []
    reasons: list[str] = []

    async def worker() -> None:
        for number in numbers:
            begun = clock()
            reason = await ask(number)
            if reason:
                reasons.append(reason)
            else:
                took.append(clock() - begun)

    # Excludes loading, compiling and connecting from the rate.
    await ask(-1)
    begun = clock()
    await asyncio.gather(*(worker() for _ in range(min(at_once, count))))
    seconds = clock() - begun
    if not took:
        raise SetupError(f"not one of {count} questions was answered: {reasons[0]}; medix-verl doctor says what to fix")
    took.sort()
    middle, slow = took[len(took) // 2], took[min(len(took) - 1, int(0.95 * len(took)))]
    return Measured(len(took), len(reasons), seconds, middle, slow, reasons[0] if reasons else "")


def check_count(flag: str, value: int) -> None:
    """Check that a count is at least 1.

    Raises:
        ConfigError: It is below 1.
    """
    if value < 1:
        raise ConfigError(f"{flag} {value}: it must be a whole number of at least 1; type {flag} 64")

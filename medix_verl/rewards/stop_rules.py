# SPDX-License-Identifier: Apache-2.0
"""Decides when a run must stop: too many unscored answers, or no progress for too long.

verl waits for trajectories and workers without a limit. The sampler reports to the two classes here. `Watchdog` also
covers the time between two samplings (update, validation, checkpoint), when the trainer's main thread is blocked in a
remote call and cannot raise.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

from medix_verl.errors import RunStoppedError

__all__ = ["UnscoredWindow", "Watchdog"]

_EXIT_CODE = 70
_STOOD_STILL_S = 20.0
"""A poll that is late by more than this means that the machine was suspended or frozen; this time is not counted."""


class UnscoredWindow:
    """Share of lost answers among the last `window` answers.

    Args:
        max_share: the run stops when a larger share is lost; 1.0 never stops it.
        min_count: answers needed before the share is checked.
        window: number of last answers counted, rounded to whole batches.
    """

    def __init__(self, max_share: float, min_count: int, window: int) -> None:
        self._max_share = max_share
        self._min_count = min_count
        self._window = window
        self._batches: list[tuple[int, int]] = []
        self._causes: list[str] = []

    def add(self, lost: int, expected: int, causes: Sequence[str]) -> None:
        """Add one batch.

        Raises:
            RunStoppedError: the share is above the limit; the message has the last causes.
        """
        # Dynamic sampling discards surplus answers, but their losses are reported too.
        self._batches.append((min(lost, expected), expected))
        self._causes = [*self._causes, *causes][-5:]
        while len(self._batches) > 1 and sum(n for _, n in self._batches[1:]) >= self._window:
            self._batches.pop(0)
        all_lost = sum(n for n, _ in self._batches)
        all_expected = sum(n for _, n in self._batches)
        if all_expected >= self._min_count and all_lost > self._max_share * all_expected:
            raise RunStoppedError(self._message(all_lost, all_expected))

    def _message(self, lost: int, expected: int) -> str:
        causes = "; ".join(dict.fromkeys(self._causes)) or "no cause was reported, see the worker logs above"
        return (
            f"{lost} of the last {expected} answers have no score, more than reward.medix.failure.max_share="
            f"{self._max_share} allows; last causes: {causes}; fix the judge or the encoder and start again "
            "(training resumes from the last checkpoint)"
        )


class Watchdog:
    """Ends the process after `limit_s` seconds without reported progress; time with the machine frozen is not counted.

    Args:
        limit_s: seconds without `beat()`; None or 0 disables the watchdog.
        end: called with the message when the limit is passed; ends the process by default.
        start_up_s: limit before the first beat, while models are loaded, if larger.
    """

    def __init__(
        self, limit_s: float | None, end: Callable[[str], None] | None = None, start_up_s: float = 1800.0
    ) -> None:
        self._limit_s = limit_s or 0.0
        self._current_s = max(self._limit_s, start_up_s)
        self._end = end or _end_process
        self._last = time.monotonic()
        self._doing = "starting"
        if self._limit_s > 0:
            threading.Thread(target=self._watch, name="medix-watchdog", daemon=True).start()

    def beat(self, doing: str) -> None:
        """Report progress and the next activity."""
        self._last = time.monotonic()
        self._current_s = self._limit_s
        self._doing = doing

    def _watch(self) -> None:
        pause = min(1.0, self._limit_s / 4)
        while True:
            silent = time.monotonic() - self._last
            if silent > self._current_s:
                self._end(
                    f"medix-verl: error: no progress for {silent:.0f} s while {self._doing}, the limit is "
                    f"trainer.v1.sampler.sampler_kwargs.stall_timeout_s={self._limit_s:g}: a worker hangs; "
                    "the stacks of the trainer follow, raise the limit if the step is only slow"
                )
                return
            before = time.monotonic()
            time.sleep(pause)
            late = time.monotonic() - before - pause
            if late > _STOOD_STILL_S:
                self._last += late


def _end_process(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
    time.sleep(2.0)  # so that Ray's log forwarding gets the line before the process ends
    os._exit(_EXIT_CODE)

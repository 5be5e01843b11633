# SPDX-License-Identifier: Apache-2.0
"""The run's ledger of unscored answers: written by every reward process, read by the sampler in the trainer's process.

verl does not count dropped trajectories, and their cause is a line in one of many worker logs. The ledger is a small
shared actor, so that the run can be stopped with the cause once too many answers are lost. Outside Ray there is no
ledger, and reports to it are ignored.
"""

from __future__ import annotations

from collections import deque

from medix_verl.runtime.shared_actor import ActorSpec, SharedActor, call_named, in_ray, tell_named

__all__ = ["Ledger", "open_ledger", "read_fatal", "report_fatal", "report_unscored", "take_entries"]

_NAME = "medix_ledger"
_KEPT = 5
_TIMEOUT_S = 30.0


class Ledger:
    """Counts unscored answers since the last `take` and keeps the last few causes."""

    def __init__(self) -> None:
        self._count = 0
        self._causes: deque[str] = deque(maxlen=_KEPT)
        self._fatal = ""

    def report_fatal(self, cause: str) -> None:
        """Record why a reward process cannot score any answer; the first cause is kept."""
        self._fatal = self._fatal or cause

    def fatal(self) -> str:
        """Why no answer can be scored, or an empty string."""
        return self._fatal

    def report(self, cause: str) -> None:
        """Record one unscored answer."""
        self._count += 1
        if cause not in self._causes:
            self._causes.append(cause)

    def take(self) -> tuple[int, list[str]]:
        """Number of answers recorded since the last call, and up to five last distinct causes."""
        count, causes = self._count, list(self._causes)
        self._count = 0
        self._causes.clear()
        return count, causes


def open_ledger() -> SharedActor | None:
    """Create the run's ledger, or find it; None outside Ray."""
    return SharedActor(ActorSpec(_NAME, Ledger, title="ledger of unscored answers")) if in_ray() else None


def report_unscored(cause: str) -> None:
    """Record one unscored answer from any process of the run, without waiting.

    Ignored outside Ray, and in a run with a different sampler, which has no ledger.
    """
    tell_named(_NAME, "report", cause)


def report_fatal(cause: str) -> None:
    """Record why this process cannot score; waits for the ledger, because the process is about to end."""
    call_named(_NAME, "report_fatal", cause, timeout_s=_TIMEOUT_S)


def read_fatal(ledger: SharedActor | None) -> str:
    """Why no answer can be scored, or an empty string.

    Raises:
        LostActorError: The ledger does not answer.
    """
    return "" if ledger is None else str(ledger.call_now("fatal", timeout_s=_TIMEOUT_S))


def take_entries(ledger: SharedActor | None) -> tuple[int, list[str]]:
    """Read and clear the ledger; (0, []) without a ledger.

    Raises:
        LostActorError: The ledger does not answer.
    """
    if ledger is None:
        return 0, []
    count, causes = ledger.call_now("take", timeout_s=_TIMEOUT_S)
    return count, causes

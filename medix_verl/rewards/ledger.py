# SPDX-License-Identifier: Apache-2.0
"""The run's book of unscored answers: written by every reward process, read by the sampler in the trainer's.

verl counts a dropped trajectory nowhere, and its cause is a line in one of many worker logs. The ledger is one small
named Ray actor, so that the run can be stopped with the cause once too many answers are lost. Outside Ray there is
no ledger, and reporting to it does nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["Ledger", "open_ledger", "read_fatal", "report_fatal", "report_unscored", "take_entries"]

_NAME = "medix_ledger"
_KEPT = 5
_TIMEOUT_S = 30.0


class Ledger:
    """Counts unscored answers since the last reading and keeps the last few causes."""

    def __init__(self) -> None:
        self._count = 0
        self._causes: deque[str] = deque(maxlen=_KEPT)
        self._fatal = ""

    def report_fatal(self, cause: str) -> None:
        """Enter why a reward process cannot score at all; the first cause stays."""
        self._fatal = self._fatal or cause

    def fatal(self) -> str:
        """Why no answer can be scored, or an empty text."""
        return self._fatal

    def report(self, cause: str) -> None:
        """Enter one unscored answer."""
        self._count += 1
        if cause not in self._causes:
            self._causes.append(cause)

    def take(self) -> tuple[int, list[str]]:
        """Number of answers entered since the last call, and up to five last distinct causes."""
        count, causes = self._count, list(self._causes)
        self._count = 0
        self._causes.clear()
        return count, causes


def open_ledger() -> Any:
    """Create the run's ledger, or find it; None outside Ray."""
    import ray

    if not ray.is_initialized():
        return None
    return ray.remote(Ledger).options(name=_NAME, get_if_exists=True, num_cpus=0).remote()


def report_unscored(cause: str) -> None:
    """Enter one unscored answer from any process of the run, without waiting."""
    ledger = _find_ledger()
    if ledger is not None:
        ledger.report.remote(cause)


def report_fatal(cause: str) -> None:
    """Enter why this process cannot score at all; waits until it is entered, because the process is about to end."""
    ledger = _find_ledger()
    if ledger is not None:
        import ray

        ray.get(ledger.report_fatal.remote(cause), timeout=_TIMEOUT_S)


def read_fatal(ledger: Any) -> str:
    """Why no answer can be scored, or an empty text."""
    if ledger is None:
        return ""
    import ray

    return str(ray.get(ledger.fatal.remote(), timeout=_TIMEOUT_S))


def _find_ledger() -> Any:
    """The run's ledger; None outside Ray, and in a run with another sampler than ours, which keeps none."""
    import ray

    if not ray.is_initialized():
        return None
    try:
        return ray.get_actor(_NAME)
    except ValueError:
        return None


def take_entries(ledger: Any) -> tuple[int, list[str]]:
    """Read and empty the ledger; (0, []) when there is none."""
    if ledger is None:
        return 0, []
    import ray

    count, causes = ray.get(ledger.take.remote(), timeout=_TIMEOUT_S)
    return count, causes

# SPDX-License-Identifier: Apache-2.0
"""The run's book of unscored answers: written by every reward process, read by the sampler in the trainer's.

verl counts a dropped trajectory nowhere, and its cause is a line in one of many worker logs. The ledger is one small
named Ray actor, so that the run can be stopped with the cause once too many answers are lost. Outside Ray there is
no ledger, and reporting to it does nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Any

__all__ = ["Ledger", "open_ledger", "report_unscored", "take_entries"]

_NAME = "medix_ledger"
_KEPT = 5


class Ledger:
    """Counts unscored answers since the last reading and keeps the last few causes."""

    def __init__(self) -> None:
        self._count = 0
        self._causes: deque[str] = deque(maxlen=_KEPT)

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
    import ray

    if not ray.is_initialized():
        return
    try:
        ledger = ray.get_actor(_NAME)
    except ValueError:  # a run with another sampler than ours keeps no ledger
        return
    ledger.report.remote(cause)


def take_entries(ledger: Any, timeout_s: float = 30.0) -> tuple[int, list[str]]:
    """Read and empty the ledger; (0, []) when there is none."""
    if ledger is None:
        return 0, []
    import ray

    count, causes = ray.get(ledger.take.remote(), timeout=timeout_s)
    return count, causes

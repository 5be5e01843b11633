# SPDX-License-Identifier: Apache-2.0
"""Which failures of a judge's server may pass, and how long to wait before the next attempt; pure arithmetic.

The loop that uses it is medix_verl.judge.dispatch.Dispatcher.send, and there is no other.
"""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from medix_verl.errors import JudgeError

__all__ = ["PASSING_STATUS", "TemporaryError", "read_retry_after", "wait_before"]

PASSING_STATUS = frozenset({408, 409, 425, 429})
"""HTTP statuses under 500 after which the same request may succeed."""
MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 60.0


class TemporaryError(JudgeError):
    """A failure that may pass, with the server's own advice when to come back."""

    def __init__(self, message: str, retry_after: str | None = None, kind: str = "status") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.kind = kind
        """Under which name it is counted: timeout, connection, status, busy or garbage."""


def wait_before(attempt: int, base_s: float, retry_after: str | None, chance: float) -> float:
    """Seconds to wait after a failed attempt.

    Args:
        attempt: Number of the attempt that failed, from 0.
        base_s: Wait after the first one; doubles with each.
        retry_after: The server's header, which wins where it is longer.
        chance: A random number in [0, 1) that spreads the clients over the second half of the wait.

    Returns:
        The wait, at most MAX_RETRY_AFTER_S.
    """
    backoff = min(base_s * 2.0 ** min(attempt, 30), MAX_BACKOFF_S) * (0.5 + chance / 2)
    return max(backoff, read_retry_after(retry_after))


def read_retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for: a number or a date; 0 for none, nonsense or the past."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return 0.0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    # A comparison with NaN is False, so that "nan" falls to 0 as well.
    return min(seconds, MAX_RETRY_AFTER_S) if seconds > 0 else 0.0

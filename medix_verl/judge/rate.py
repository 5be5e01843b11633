# SPDX-License-Identifier: Apache-2.0
"""A token bucket for "so many requests a minute"; pure arithmetic on a clock that is passed in.

The bucket holds a second's worth of tokens and refills so that no minute ever sees more than the limit, the first one
with its full bucket included.
"""

from __future__ import annotations

__all__ = ["TokenBucket"]

MINUTE_S = 60.0


class TokenBucket:
    """Says when each request may be sent."""

    __slots__ = ("interval", "next_at", "slack")

    def __init__(self, per_minute: int) -> None:
        burst = max(1, per_minute // 60)
        self.interval = MINUTE_S / (per_minute - burst + 1)
        """Seconds between two requests once the bucket is empty."""
        self.slack = (burst - 1) * self.interval
        self.next_at = float("-inf")

    def reserve(self, now: float) -> float:
        """Take the next token, in the order of the calls.

        Args:
            now: The clock's reading.

        Returns:
            Seconds to wait before sending.
        """
        start = max(self.next_at, now - self.slack)
        self.next_at = start + self.interval
        return max(0.0, start - now)

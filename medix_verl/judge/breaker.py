# SPDX-License-Identifier: Apache-2.0
"""When to leave a failing server alone: a circuit breaker, pure arithmetic on a clock that is passed in.

Closed: requests pass. After so many failures in a row it opens: none pass. After so many seconds it is half-open: one
request passes, the probe, and its outcome closes the breaker or opens it again. Any success closes it, because
requests that were under way when it opened may still succeed.
"""

from __future__ import annotations

__all__ = ["Breaker"]


class Breaker:
    """The state of one server."""

    __slots__ = ("cause", "failures", "opened_at", "probing", "refuses", "seconds", "since", "threshold")

    def __init__(self, threshold: int, seconds: float) -> None:
        self.threshold = threshold
        self.seconds = seconds
        self.failures = 0
        self.opened_at: float | None = None
        self.since: float | None = None
        """When it opened first since the last success."""
        self.probing = False
        self.refuses = False
        """Whether the last failure was a refusal, which waiting does not cure."""
        self.cause = ""

    def allows(self, now: float) -> bool:
        """Whether a request may be sent."""
        if self.opened_at is None:
            return True
        return not self.probing and now >= self.opened_at + self.seconds

    def enter(self) -> bool:
        """A request is sent; true when it is the probe of a half-open breaker."""
        if self.opened_at is None:
            return False
        self.probing = True
        return True

    def leave(self, probe: bool) -> None:
        """A request ended, however it ended; a probe that was cancelled must let another one pass."""
        if probe:
            self.probing = False

    def succeed(self) -> None:
        """The server answered."""
        self.failures = 0
        self.opened_at = self.since = None
        self.cause = ""

    def fail(self, now: float, cause: str, probe: bool, refuses: bool = False) -> None:
        """The server failed; what was under way when the breaker opened does not lengthen the pause."""
        self.failures += 1
        self.cause, self.refuses = cause, refuses
        if probe or (self.opened_at is None and self.failures >= self.threshold):
            self.opened_at = now
            self.since = now if self.since is None else self.since

    def opens_at(self) -> float:
        """When the next request may pass; only for an open breaker."""
        assert self.opened_at is not None
        return self.opened_at + self.seconds

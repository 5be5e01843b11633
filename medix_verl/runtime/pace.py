# SPDX-License-Identifier: Apache-2.0
"""Decides when a server may be asked: a configured limit (TokenBucket), an observed limit (Pace), its health (Breaker).

"Too many requests" concerns the server, not one request. It closes a **round**: nothing is sent until the server's
Retry-After is over, or, without one, for a pause that doubles while nothing is accepted. The requests accepted in the
round, divided by its duration with the pause, are a lower bound of the server's rate; the next round is paced by it.

The rate then grows again, as in TCP. While no rate is known to be too high, it doubles every few seconds. Afterwards it
follows CUBIC (RFC 9438): fast far below the refused rate, slowly near it, and fast again beyond it, so that a raised
limit is found. Only time in which requests are sent counts, so that the rate does not grow while a trainer is busy with
something else.

The arithmetic is pure: every method takes the clock's reading.
"""

from __future__ import annotations

import math

__all__ = ["MAX_PAUSE_S", "Breaker", "Pace", "TokenBucket"]

MINUTE_S = 60.0
MAX_PAUSE_S = 60.0
"""The longest pause, from Retry-After or our own."""
MIN_PAUSE_S = 0.01
"""A shorter Retry-After is ignored."""
SPAN = 0.2
"""Relative reduction of a refused rate; halved each time about the same rate is refused again."""
MAX_LEVEL = 3
"""Maximum number of halvings."""
EARLY_S = 1.0
"""A refusal within this many seconds of sending means that the rate is still too high."""
DOUBLING_S = 1.0
"""Seconds of sending in which the rate doubles while no rate is known to be too high."""
GROWTH_S = 10.0
"""Seconds of sending until the rate has grown back to the refused rate; doubles with each halving."""
MIN_RATE = 0.5
"""Minimum rate in requests per second; pauses limit it further."""
SLACK_S = 0.005
"""Maximum delay of a late timer that is made up for."""


class TokenBucket:
    """Schedules requests so that no minute contains more than the limit.

    The bucket contains the tokens of one second; the first minute, with its full bucket, is within the limit too.
    """

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


class Pace:
    """When the next request may be sent to one server; at once if there was no refusal."""

    __slots__ = (
        *("active_s", "base", "ceiling", "closed", "free_at", "fruitless", "level", "limited_since", "paced", "pause"),
        *("pause_s", "refused", "round_at", "sent", "taken_at"),
    )

    def __init__(self, pause_s: float = 0.5) -> None:
        """Start without a limit.

        Args:
            pause_s: The first pause after a refusal without Retry-After.
        """
        self.pause_s = pause_s
        self.base = math.inf
        """Requests per second at the start of the round; infinite before the first refusal."""
        self.ceiling = math.inf
        """Refused rate in requests per second, as an estimate of the limit; infinite while none is known."""
        self.level = 0
        """Confidence in the known limit: the number of halvings."""
        self.active_s = 0.0
        """Seconds of sending in this round."""
        self.taken_at = -math.inf
        self.free_at = -math.inf
        """When the next request may be sent."""
        self.round_at = -math.inf
        self.sent = self.refused = 0
        """Counts of this round."""
        self.closed = self.paced = False
        """Whether the round was refused, and whether the refusal concerns the rate."""
        self.pause = pause_s
        self.fruitless = 0
        """Consecutive rounds in which nothing was accepted."""
        self.limited_since: float | None = None
        """Time of the first refusal since the last reply."""

    @property
    def rate(self) -> float:
        """Current rate in requests per second; infinite without a known limit."""
        if math.isinf(self.ceiling):
            return self.base * 2.0 ** min(self.active_s / DOUBLING_S, 30.0)
        back_s = GROWTH_S * 2**self.level
        if self.active_s < back_s:
            grown = (self.ceiling - self.base) * (self.active_s / back_s - 1) ** 3
        else:
            grown = SPAN * self.ceiling * ((self.active_s - back_s) / GROWTH_S) ** 3
        return max(self.ceiling + grown, MIN_RATE)

    def take(self, now: float) -> None:
        """Record that a request is sent."""
        if self.closed:
            self.begin(now)
        if self.sent == 0:
            self.round_at = now
        self.active_s += min(max(0.0, now - self.taken_at), 1.0) if self.sent else 0.0
        self.taken_at = now
        self.sent += 1
        if self.fruitless:
            # One at a time, until one is accepted.
            self.free_at = now + self.pause
        elif not math.isinf(self.base):
            self.free_at = max(self.free_at, now - SLACK_S) + 1 / self.rate

    def begin(self, now: float) -> None:
        """Begin the next round, at the rate observed in the last one."""
        accepted, took = self.sent - self.refused, now - self.round_at
        if accepted <= 0:
            self.fruitless += 1
        else:
            self.fruitless = 0
            if self.paced and took > 0:
                self.slow_down(max(accepted / took, MIN_RATE), self.rate)
        self.active_s = 0.0
        self.sent = self.refused = 0
        self.closed = self.paced = False

    def slow_down(self, found: float, refused: float) -> None:
        """Choose the next rate, between the accepted and the refused rate.

        Args:
            found: Accepted requests per second, with the pause.
            refused: Requests per second that were sent at the refusal.
        """
        if math.isinf(refused):
            self.base = found
            return
        # Refused again near the same rate: the limit is known better, and is approached more slowly.
        same = 0.9 * self.ceiling <= refused <= 1.1 * self.ceiling
        early = self.active_s < EARLY_S
        self.level = 0 if early or not same else min(self.level + 1, MAX_LEVEL)
        cut = max(found, (1 - SPAN / 2**self.level) * refused)
        self.base = min(refused, math.sqrt(found * refused) if found < refused / 4 else cut)
        self.ceiling = refused

    def refuse(self, now: float, sent_at: float, retry_after_s: float = 0.0, of_rate: bool = True) -> None:
        """Record a refusal with a request to wait.

        Args:
            now: The clock's reading.
            sent_at: Its reading when the request was sent; a request of an earlier round is ignored.
            retry_after_s: The server's Retry-After, 0 for none.
            of_rate: False if the server is busy for another reason (503): it gets a pause, and its rate stays.
        """
        self.limited_since = now if self.limited_since is None else self.limited_since
        if sent_at < self.round_at:
            return
        self.refused += 1
        self.paced |= of_rate
        asked = min(retry_after_s, MAX_PAUSE_S) if retry_after_s >= MIN_PAUSE_S else 0.0
        if not self.closed:
            self.closed = True
            self.pause = asked or min(self.pause_s * 2.0 ** min(self.fruitless, 30), MAX_PAUSE_S)
            self.free_at = max(self.free_at, now + self.pause)
        elif asked:
            self.free_at = max(self.free_at, now + asked)

    def answer(self, now: float, sent_at: float) -> None:
        """Record any reply: the server has accepted a request."""
        self.limited_since = None
        if self.fruitless and not self.closed and sent_at >= self.round_at:
            self.fruitless = 0
            self.free_at = now


class Breaker:
    """A circuit breaker: when not to ask a failing service.

    Closed: requests pass. After `threshold` consecutive failures it opens: none pass. After `seconds` it is half-open:
    one request passes, the probe, and its outcome closes the breaker or opens it again. Any success closes it, because
    requests in progress when it opened may still succeed. If `seconds` is infinite it stays open: the service counts as
    permanently down, and `stopped` has the cause.
    """

    __slots__ = ("cause", "failures", "opened_at", "probing", "refuses", "seconds", "since", "threshold", "what")

    def __init__(self, threshold: float, seconds: float = math.inf, what: str = "the server") -> None:
        """Start closed.

        Args:
            threshold: Consecutive failures that open it; infinite never opens.
            seconds: How long it stays open; infinite is permanent.
            what: Name of the service, for `stopped`.
        """
        self.threshold = threshold
        self.seconds = seconds
        self.what = what
        self.failures = 0
        self.opened_at: float | None = None
        self.since: float | None = None
        """When it first opened since the last success."""
        self.probing = False
        self.refuses = False
        """Whether the last failure was a refusal, which waiting does not fix."""
        self.cause = ""

    @property
    def stopped(self) -> str:
        """Why the service counts as permanently down; empty otherwise."""
        return self.cause if self.opened_at is not None and math.isinf(self.seconds) else ""

    def allows(self, now: float) -> bool:
        """Whether a request may be sent."""
        if self.opened_at is None:
            return True
        return not self.probing and now >= self.opened_at + self.seconds

    def enter(self) -> bool:
        """Record that a request is sent; returns whether it is the probe of a half-open breaker."""
        if self.opened_at is None:
            return False
        self.probing = True
        return True

    def leave(self, probe: bool) -> None:
        """Record that a request ended in any way; after a cancelled probe another one may pass."""
        if probe:
            self.probing = False

    def succeed(self) -> None:
        """Record a success."""
        self.failures = 0
        if not self.stopped:
            self.opened_at = self.since = None
            self.cause = ""

    def fail(self, now: float, cause: str, probe: bool = False, refuses: bool = False) -> None:
        """Record a failure; failures of requests sent before the breaker opened do not extend the pause."""
        if self.stopped:
            return
        self.failures += 1
        self.cause, self.refuses = cause, refuses
        if probe or (self.opened_at is None and self.failures >= self.threshold):
            self.opened_at = now
            self.since = now if self.since is None else self.since
            if math.isinf(self.seconds):
                self.cause = f"{self.what} failed {self.failures} times in a row, the last: {cause}"

    def stop(self, cause: str) -> None:
        """Open permanently, for a definite cause; the first cause is kept."""
        if not self.stopped:
            self.cause, self.opened_at, self.seconds = cause, 0.0, math.inf

    def open(self, now: float, cause: str) -> None:
        """Open at once, for a cause that concerns every request."""
        if self.opened_at is None:
            self.opened_at = self.since = now
            self.cause, self.refuses = cause, True

    def opens_at(self) -> float:
        """When the next request may pass; only for an open breaker."""
        assert self.opened_at is not None
        return self.opened_at + self.seconds

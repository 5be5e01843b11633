# SPDX-License-Identifier: Apache-2.0
"""Many servers behind one `send`: a concurrency limit, a rate limit, retries, and what to do when a server is down.

A request takes a slot, then a token of the rate limit, then the least loaded server that may be asked. After a failure
that may pass it gives its slot back, waits, and prefers another server. What happens when servers stay down is the
policy of `Limits.breaker`:

- `wait`: a server that failed so many times in a row is left alone, then probed by one request; where every server is
  down, requests wait for one to come back, as long as their retries might have taken, and then give up.
- `stop`: nobody waits; after so many requests in a row that failed for good, nothing is asked any more.
- `off`: nobody waits for more than its own retries, and everything is asked: for a command that is waited for.

The arithmetic (Breaker, TokenBucket, wait_before) is pure and takes its clock as an argument.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from medix_verl.openai_client import RequestError
from medix_verl.types import Failure

if TYPE_CHECKING:
    from medix_verl.openai_client import OpenAIClient

__all__ = ["BREAKERS", "Breaker", "CallCounts", "Dispatcher", "Limits", "TokenBucket", "wait_before"]

BREAKERS = ("wait", "stop", "off")
MINUTE_S = 60.0
MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 60.0
WINDOW = 4096
"""Latencies that are kept, the newest."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How often servers are asked; every number is for all of them together."""

    timeout_s: float = 60.0
    """Seconds that one attempt may take; the clients enforce it, the dispatcher only derives its patience from it."""
    max_retries: int = 3
    """Attempts after the first, for failures that may pass."""
    max_concurrent: int = 256
    max_per_minute: int | None = None
    """Requests in any minute; None sets no limit."""
    breaker_failures: int = 8
    """`wait`: failed attempts in a row of one server; `stop`: requests in a row that failed, retries not counted."""
    breaker_seconds: float = 15.0
    """`wait`: seconds until one request probes a server that is left alone."""
    breaker: str = "wait"
    """One of BREAKERS."""
    backoff_s: float = 0.5
    """Seconds before the first retry; doubles with each."""


class CallCounts:
    """What was sent and how it went; plain attributes, because they are touched with every request."""

    def __init__(self) -> None:
        self.calls = self.retries = 0
        self.failures: Counter[str] = Counter()
        """Failed attempts by the value of their Failure, and requests given up because every server was down."""
        self.latencies: deque[float] = deque(maxlen=WINDOW)
        """Seconds of the attempts that succeeded."""


class Breaker:
    """When to leave a failing service alone: a circuit breaker.

    Closed: requests pass. After `threshold` failures in a row it opens: none pass. After `seconds` it is half-open:
    one request passes, the probe, and its outcome closes the breaker or opens it again. Any success closes it, because
    requests that were under way when it opened may still succeed. With `seconds` infinite it stays open: the service
    counts as down for good, and `stopped` says why.
    """

    __slots__ = ("cause", "failures", "opened_at", "probing", "refuses", "seconds", "since", "threshold", "what")

    def __init__(self, threshold: float, seconds: float = math.inf, what: str = "the server") -> None:
        """Begin closed.

        Args:
            threshold: Failures in a row that are one too many; infinite never opens.
            seconds: How long it stays open; infinite for good.
            what: Who is watched, for `stopped`.
        """
        self.threshold = threshold
        self.seconds = seconds
        self.what = what
        self.failures = 0
        self.opened_at: float | None = None
        self.since: float | None = None
        """When it opened first since the last success."""
        self.probing = False
        self.refuses = False
        """Whether the last failure was a refusal, which waiting does not cure."""
        self.cause = ""

    @property
    def stopped(self) -> str:
        """Why the service counts as down for good; empty while it does not."""
        return self.cause if self.opened_at is not None and math.isinf(self.seconds) else ""

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
        """The service answered."""
        self.failures = 0
        if not self.stopped:
            self.opened_at = self.since = None
            self.cause = ""

    def fail(self, now: float, cause: str, probe: bool = False, refuses: bool = False) -> None:
        """The service failed; what was under way when the breaker opened does not lengthen the pause."""
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
        """Open at once and for good, for a cause that is certain; the first cause stays."""
        if not self.stopped:
            self.cause, self.opened_at, self.seconds = cause, 0.0, math.inf

    def opens_at(self) -> float:
        """When the next request may pass; only for an open breaker."""
        assert self.opened_at is not None
        return self.opened_at + self.seconds


class TokenBucket:
    """Says when each request may be sent, so that no minute ever sees more than the limit.

    The bucket holds a second's worth of tokens; the first minute, with its full bucket, keeps the limit too.
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


def wait_before(attempt: int, base_s: float, retry_after_s: float, chance: float) -> float:
    """Seconds to wait after a failed attempt.

    Args:
        attempt: Number of the attempt that failed, from 0.
        base_s: Wait after the first one; doubles with each.
        retry_after_s: What the server asked for, which wins where it is longer; 0 for nothing.
        chance: A random number in [0, 1) that spreads the clients over the second half of the wait.

    Returns:
        The wait, at most MAX_RETRY_AFTER_S.
    """
    backoff = min(base_s * 2.0 ** min(attempt, 30), MAX_BACKOFF_S) * (0.5 + chance / 2)
    return max(backoff, min(retry_after_s, MAX_RETRY_AFTER_S))


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server: how many requests it has under way, and whether it is well."""

    client: OpenAIClient
    breaker: Breaker
    active: int = 0
    sent: int = 0

    @property
    def load(self) -> tuple[bool, int, int]:
        """The order of choice: a probe first, which is how a server comes back; then the least loaded."""
        return self.breaker.opened_at is None, self.active, self.sent


@dataclass(slots=True)
class Course:
    """How one request has fared so far."""

    failed: int = 0
    """Attempts that failed; a probe of a server that is down is none, it was our way to find out."""
    troubled_since: float | None = None
    last: Endpoint | None = None
    refused_by: list[Endpoint] = field(default_factory=list)


class Dispatcher:
    """Sends requests to one or several servers; belongs to one event loop."""

    def __init__(
        self,
        clients: Sequence[OpenAIClient],
        limits: Limits,
        counts: CallCounts,
        *,
        stopper: Breaker | None = None,
        lacking: str = "no answer",
    ) -> None:
        """Keep the servers; nothing is opened yet.

        Args:
            clients: One for each server, of this event loop.
            limits: For all of them together.
            counts: Filled in.
            stopper: Policy `stop`: the breaker of all servers together, for a caller that has several event loops or
                wants to read `stopped`; None makes one.
            lacking: How an error begins: `no verdict after 4 attempts, the last: ...`.
        """
        self.limits = limits
        self.counts = counts
        self.lacking = lacking
        waits = limits.breaker == "wait"
        self.stopper = stopper or Breaker(limits.breaker_failures if limits.breaker == "stop" else math.inf)
        threshold = limits.breaker_failures if waits else math.inf
        self.endpoints = [Endpoint(client, Breaker(threshold, limits.breaker_seconds)) for client in clients]
        self.slots = asyncio.Semaphore(limits.max_concurrent)
        self.bucket = TokenBucket(limits.max_per_minute) if limits.max_per_minute else None
        self.changed = asyncio.Event()
        """Wakes those who wait for a server to come back."""
        pauses = [limits.backoff_s * 2.0**attempt for attempt in range(limits.max_retries)]
        self.patience_s = (limits.max_retries + 1) * limits.timeout_s + sum(pauses)

    async def send(
        self, path: str, make_body: Callable[[], bytes], read: Callable[[bytes], T], restricted: bool = False
    ) -> T:
        """Ask once, again after failures that may pass.

        Args:
            path: Behind a server's address, as /chat/completions.
            make_body: Makes the request's JSON once there is a slot for it.
            read: Makes the result of a reply's body; a RequestError of it is a failed attempt like any other.
            restricted: Whether the request may only go to local addresses.

        Raises:
            RequestError: A server refused, every attempt failed, no server came back in time, or nothing is asked any
                more (policy `stop`).
        """
        try:
            result = await self.attempts(path, make_body, read, restricted)
        except RequestError as error:
            if self.limits.breaker == "stop" and error.failure.is_of_the_server:
                self.stopper.fail(now(), str(error))
            raise
        self.stopper.succeed()
        return result

    async def attempts(
        self, path: str, make_body: Callable[[], bytes], read: Callable[[bytes], T], restricted: bool
    ) -> T:
        """`send`, without its breaker."""
        course = Course()
        body = None
        while True:
            async with self.slots:
                if self.stopper.stopped:
                    raise RequestError(self.stopper.stopped, Failure.UNREACHABLE)
                endpoint = await self.admit(course)
                probe = endpoint.breaker.opened_at is not None
                body = body or make_body()
                try:
                    return await self.attempt(endpoint, path, body, read, restricted)
                except RequestError as error:
                    course.last = endpoint
                    if error.failure.is_temporary:
                        pause = self.after_failure(course, endpoint, probe, error)
                    elif error.failure is Failure.MISCONFIGURED and self.elsewhere(course, endpoint):
                        pause = 0.0
                    else:
                        raise
            self.counts.retries += 1
            if pause:
                await asyncio.sleep(pause)

    async def attempt(
        self, endpoint: Endpoint, path: str, body: bytes, read: Callable[[bytes], T], restricted: bool
    ) -> T:
        """Post once, count it, note what it says of the server's health, and tell those who wait for a server."""
        counts, breaker = self.counts, endpoint.breaker
        counts.calls += 1
        start = now()
        probe = breaker.enter()
        endpoint.active += 1
        endpoint.sent += 1
        try:
            result = read(await endpoint.client.post(path, body, restricted))
        except RequestError as error:
            counts.failures[error.failure.value] += 1
            if error.failure is Failure.RATE_LIMITED:
                # A server that says "too many requests" is well.
                if probe:
                    breaker.succeed()
            elif error.failure.is_of_the_server:
                breaker.fail(now(), str(error), probe, refuses=error.failure is Failure.MISCONFIGURED)
            elif error.status is not None or error.failure is not Failure.REFUSED:
                breaker.succeed()  # it answered; a refusal without a status was never sent
            raise
        finally:
            endpoint.active -= 1
            breaker.leave(probe)
            self.changed.set()
            self.changed.clear()
        breaker.succeed()
        counts.latencies.append(now() - start)
        return result

    def after_failure(self, course: Course, endpoint: Endpoint, probe: bool, error: RequestError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            RequestError: That was the last one.
        """
        if course.troubled_since is None:
            course.troubled_since = now()
        if probe and endpoint.breaker.opened_at is not None:
            return 0.0
        course.failed += 1
        if course.failed > self.limits.max_retries:
            message = f"{self.lacking} after {course.failed} attempts, the last: {error}"
            raise RequestError(message, error.failure, error.status) from error
        return wait_before(course.failed - 1, self.limits.backoff_s, error.retry_after_s, random.random())

    def elsewhere(self, course: Course, endpoint: Endpoint) -> bool:
        """Note that a server cannot answer this request; whether there is another one."""
        course.refused_by.append(endpoint)
        return any(other not in course.refused_by for other in self.endpoints)

    async def admit(self, course: Course) -> Endpoint:
        """Wait for the rate limit, then for a server that may be asked; no await follows the choice.

        Raises:
            RequestError: Every server is down, and none came back in time.
        """
        if self.bucket is not None:
            pause = self.bucket.reserve(now())
            if pause:
                await asyncio.sleep(pause)
        candidates = [endpoint for endpoint in self.endpoints if endpoint not in course.refused_by]
        while True:
            open_ones = [endpoint for endpoint in candidates if endpoint.breaker.allows(now())]
            others = [endpoint for endpoint in open_ones if endpoint is not course.last] or open_ones
            if others:
                return min(others, key=lambda endpoint: endpoint.load)
            await self.wait_for_change(candidates, course)

    async def wait_for_change(self, endpoints: list[Endpoint], course: Course) -> None:
        """Wait until a server may be tried again, or one answered.

        Raises:
            RequestError: There is nothing left to wait for.
        """
        breakers = [endpoint.breaker for endpoint in endpoints]
        since = course.troubled_since or min(breaker.since or now() for breaker in breakers)
        left = since + self.patience_s - now()
        refused = all(breaker.refuses for breaker in breakers)
        if left <= 0 or refused:
            failure = Failure.MISCONFIGURED if refused else Failure.UNREACHABLE
            self.counts.failures[failure.value] += 1
            cause = max(breakers, key=lambda breaker: breaker.opened_at or 0.0).cause
            raise RequestError(f"{self.lacking}, every endpoint is down, the last failure: {cause}", failure)
        next_probe = min((breaker.opens_at() - now() for breaker in breakers if not breaker.probing), default=left)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.changed.wait(), max(0.001, min(left, next_probe)))

    async def close(self) -> None:
        """Close the connections."""
        for endpoint in self.endpoints:
            await endpoint.client.close()


def now() -> float:
    """The running event loop's clock."""
    return asyncio.get_running_loop().time()

# SPDX-License-Identifier: Apache-2.0
"""Sends requests to many servers through one `send`: concurrency and rate limits, retries, circuit breakers.

A request takes a slot, then a token of the rate limit, then the least loaded server that is available. After a
temporary failure it releases its slot, waits, and prefers another server.

A server that answers "too many requests" (429, or 503 with Retry-After) is healthy. It is slowed down for all requests
(runtime.pace), and the request keeps its slot and its retries. The request fails as rate limited only if a server has
accepted no request for as long as its retries might have taken.

A refusal may concern one prompt or all of them (403, 404 without a code that says which). If other requests or a
neutral request are answered, the refusal concerns this request only; otherwise the server is not asked any more.

`Limits.breaker` sets the policy for servers that stay down:

- `wait`: after a number of consecutive failures a server is not asked, then probed by one request. If every server is
  down, requests wait for one to return, for as long as their retries might have taken, and then fail.
- `stop`: requests do not wait; after a number of consecutive failed requests, nothing is asked any more.
- `off`: requests wait only for their own retries, and everything is asked: for interactive commands.

The arithmetic (Breaker, TokenBucket, Pace, wait_before) is pure and takes its clock as an argument.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from medix_verl.openai_client import RequestError
from medix_verl.runtime.pace import Breaker, Pace, TokenBucket
from medix_verl.types import Failure

if TYPE_CHECKING:
    from medix_verl.openai_client import OpenAIClient

__all__ = ["BREAKERS", "Breaker", "CallCounts", "Dispatcher", "Limits", "TokenBucket", "wait_before"]

BREAKERS = ("wait", "stop", "off")
MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 60.0
WINDOW = 4096
"""Number of latencies kept, the newest."""
MAX_LIMITED = 20
"""Rate-limit refusals of one request, after which it may be too large for the limit itself."""

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on requests; every number applies to all servers together."""

    timeout_s: float = 60.0
    """Seconds for one attempt; enforced by the clients, the dispatcher only derives its patience from it."""
    max_retries: int = 3
    """Attempts after the first, for temporary failures."""
    max_concurrent: int = 256
    max_per_minute: int | None = None
    """Requests in any minute; None sets no limit."""
    breaker_failures: int = 8
    """`wait`: consecutive failed attempts of one server; `stop`: consecutive failed requests, without retries."""
    breaker_seconds: float = 15.0
    """`wait`: seconds until one request probes a server that is down."""
    breaker: str = "wait"
    """One of BREAKERS."""
    backoff_s: float = 0.5
    """Seconds before the first retry; doubles with each."""


class CallCounts:
    """Counts of requests and failures; plain attributes, because they are updated with every request."""

    def __init__(self) -> None:
        self.calls = self.retries = 0
        self.failures: Counter[str] = Counter()
        """Failed attempts by the value of their Failure, and requests given up because every server was down."""
        self.latencies: deque[float] = deque(maxlen=WINDOW)
        """Durations of the successful attempts in seconds."""


def wait_before(attempt: int, base_s: float, retry_after_s: float, chance: float) -> float:
    """Seconds to wait after a failed attempt.

    Args:
        attempt: Number of the failed attempt, from 0.
        base_s: Wait after the first one; doubles with each.
        retry_after_s: The server's Retry-After, used if it is longer; 0 for none.
        chance: A random number in [0, 1) that spreads the clients over the second half of the wait.

    Returns:
        The wait, at most MAX_RETRY_AFTER_S.
    """
    backoff = min(base_s * 2.0 ** min(attempt, 30), MAX_BACKOFF_S) * (0.5 + chance / 2)
    return max(backoff, min(retry_after_s, MAX_RETRY_AFTER_S))


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server: its requests in progress and its health."""

    client: OpenAIClient
    breaker: Breaker
    pace: Pace
    active: int = 0
    sent: int = 0
    answered: float = -math.inf
    """When the newest request that it answered was sent, which shows that it was healthy then."""
    wrong_until: float = -math.inf
    """Until when it is known to answer no request: a neutral request was refused like the others."""
    proof: asyncio.Task[bool | None] | None = None
    """A neutral request in progress."""
    is_limited: bool = False
    """Whether its rate limit has been logged."""

    @property
    def load(self) -> tuple[bool, int, int]:
        """Sort key for the choice: a probe first, because it detects that a server is back; then the least loaded."""
        return self.breaker.opened_at is None, self.active, self.sent


@dataclass(slots=True)
class Course:
    """State of one request over its attempts."""

    failed: int = 0
    """Failed attempts; probes of a server that is down are not counted."""
    troubled_since: float | None = None
    limited: int = 0
    """Refusals by a rate limit, which are not failed attempts."""
    limited_since: float = 0.0
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
        neutral: bytes | None = None,
        section: str = "judge",
    ) -> None:
        """Store the servers; no connection is opened yet.

        Args:
            clients: One for each server, of this event loop.
            limits: For all servers together.
            counts: Updated with every request.
            stopper: Policy `stop`: the breaker of all servers together, for a caller that has several event loops or
                reads `stopped`; None creates one.
            lacking: How an error begins: `no verdict after 4 attempts, the last: ...`.
            neutral: The JSON of a request that no server has a reason to refuse, to distinguish a server that refuses
                all requests from one that refuses some; None uses only the other requests as evidence.
            section: The section of the recipe that has the limits, for the log.
        """
        self.limits = limits
        self.counts = counts
        self.lacking = lacking
        self.neutral = neutral
        self.section = section
        waits = limits.breaker == "wait"
        self.stopper = stopper or Breaker(limits.breaker_failures if limits.breaker == "stop" else math.inf)
        threshold = limits.breaker_failures if waits else math.inf
        self.endpoints = [
            Endpoint(client, Breaker(threshold, limits.breaker_seconds), Pace(limits.backoff_s)) for client in clients
        ]
        self.gate = asyncio.Lock()
        """Held by the request that waits for a slowed server; the others queue behind it."""
        self.slots = asyncio.Semaphore(limits.max_concurrent)
        self.bucket = TokenBucket(limits.max_per_minute) if limits.max_per_minute else None
        self.changed = asyncio.Event()
        """Wakes requests that wait for a server to return."""
        pauses = [limits.backoff_s * 2.0**attempt for attempt in range(limits.max_retries)]
        self.patience_s = (limits.max_retries + 1) * limits.timeout_s + sum(pauses)

    async def send(
        self, path: str, make_body: Callable[[], bytes], read: Callable[[bytes], T], restricted: bool = False
    ) -> T:
        """Send one request, and again after temporary failures.

        Args:
            path: Appended to a server's address, such as /chat/completions.
            make_body: Builds the request's JSON once there is a slot for it.
            read: Parses a reply's body into the result; a RequestError that it raises is a failed attempt.
            restricted: Whether the request may only go to local addresses.

        Raises:
            RequestError: A server refused, every attempt failed, no server returned in time, or nothing is asked any
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
                while True:
                    if self.stopper.stopped:
                        raise RequestError(self.stopper.stopped, Failure.UNREACHABLE)
                    endpoint = await self.admit(course)
                    probe = endpoint.breaker.opened_at is not None
                    body = body or make_body()
                    try:
                        return await self.attempt(endpoint, path, body, read, restricted)
                    except RequestError as error:
                        course.last = endpoint
                        if is_limit(error):
                            # The slot is kept: the request that was refused first is sent first.
                            self.after_limit(course, endpoint, error)
                            continue
                        if error.failure.is_temporary:
                            pause = self.after_failure(course, endpoint, probe, error)
                        elif error.failure is Failure.MISCONFIGURED and self.elsewhere(course, endpoint):
                            pause = 0.0
                        else:
                            raise
                        break
            self.counts.retries += 1
            if pause:
                await asyncio.sleep(pause)

    async def attempt(
        self, endpoint: Endpoint, path: str, body: bytes, read: Callable[[bytes], T], restricted: bool
    ) -> T:
        """Post once, count it, update the server's health, and wake requests that wait for a server."""
        counts, breaker, pace = self.counts, endpoint.breaker, endpoint.pace
        counts.calls += 1
        start = now()
        probe = breaker.enter()
        pace.take(start)
        endpoint.active += 1
        endpoint.sent += 1
        try:
            result = read(await endpoint.client.post(path, body, restricted))
        except RequestError as error:
            raised = await self.cleared(endpoint, path, error, start) if error.is_unclear else error
            self.note(endpoint, raised, start, probe)
            raise raised from error.__cause__
        finally:
            endpoint.active -= 1
            breaker.leave(probe)
            self.changed.set()
            self.changed.clear()
        breaker.succeed()
        pace.answer(now(), start)
        endpoint.answered = max(endpoint.answered, start)
        counts.latencies.append(now() - start)
        return result

    def note(self, endpoint: Endpoint, error: RequestError, start: float, probe: bool) -> None:
        """Count a failed attempt, and update its server's health."""
        self.counts.failures[error.failure.value] += 1
        if is_limit(error):
            # A server that asks to wait is healthy.
            endpoint.pace.refuse(now(), start, error.retry_after_s, error.failure is Failure.RATE_LIMITED)
            if probe:
                endpoint.breaker.succeed()
        elif error.failure.is_of_the_server:
            endpoint.breaker.fail(now(), str(error), probe, refuses=error.failure is Failure.MISCONFIGURED)
        elif error.status is not None or error.failure is not Failure.REFUSED:
            # It answered. (A refusal without a status was never sent.)
            endpoint.breaker.succeed()
            endpoint.pace.answer(now(), start)

    async def cleared(self, endpoint: Endpoint, path: str, error: RequestError, start: float) -> RequestError:
        """Decide from other requests whether a refusal concerns its own request or all of them.

        Args:
            endpoint: The server that refused.
            path: Appended to its address.
            error: The refusal, of kind MISCONFIGURED.
            start: When the request was sent.

        Returns:
            The error, changed to kind REFUSED if the server answers other requests.
        """
        answers: bool | None = True if endpoint.answered >= start else None
        if answers is None and now() < endpoint.wrong_until:
            answers = False
        if answers is None and self.neutral is not None:
            if endpoint.proof is None:
                endpoint.proof = asyncio.ensure_future(self.ask_neutral(endpoint, path, self.neutral))
            answers = await asyncio.shield(endpoint.proof)
        if answers is None:
            answers = now() - endpoint.answered < self.limits.breaker_seconds
        elif not answers and self.limits.breaker == "wait":
            endpoint.breaker.open(now(), str(error))
        if not answers:
            return error
        message = f"{error}; the server answers other requests, so it is this one that it refuses"
        return RequestError(message, Failure.REFUSED, error.status)

    async def ask_neutral(self, endpoint: Endpoint, path: str, body: bytes) -> bool | None:
        """Whether a server answers a neutral request; None if this cannot be determined now."""
        start = now()
        self.counts.calls += 1
        try:
            await endpoint.client.post(path, body, False)
        except RequestError as error:
            self.counts.failures[error.failure.value] += 1
            if error.failure is not Failure.MISCONFIGURED:
                return None
            endpoint.wrong_until = now() + self.limits.breaker_seconds
            return False
        finally:
            endpoint.proof = None
        endpoint.answered = max(endpoint.answered, start)
        return True

    def after_limit(self, course: Course, endpoint: Endpoint, error: RequestError) -> None:
        """Note that a server asks to wait, and log it once.

        Raises:
            RequestError: It has refused this request so often, while it accepted others, that it will not accept it.
        """
        self.counts.retries += 1
        if not endpoint.is_limited:
            endpoint.is_limited = True
            logger.warning(
                "%s wants fewer requests (%s): it is asked as fast as it answers, and no answer is lost by that; set "
                "%s.max_per_minute to its limit, or %s.max_concurrent lower, and it need not say so",
                *(endpoint.client, error, self.section, self.section),
            )
        course.limited_since = course.limited_since if course.limited else now()
        course.limited += 1
        if course.limited >= MAX_LIMITED and now() - course.limited_since >= self.patience_s:
            message = f"{self.lacking}, refused {course.limited} times while others were answered, the last: {error}"
            raise RequestError(message, error.failure, error.status) from error

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
        """Note that a server cannot answer this request; returns whether there is another one."""
        course.refused_by.append(endpoint)
        return any(other not in course.refused_by for other in self.endpoints)

    async def admit(self, course: Course) -> Endpoint:
        """Wait for the rate limit, then for an available server; no await follows the choice.

        Raises:
            RequestError: Every server is down, and none returned in time.
        """
        if self.bucket is not None:
            pause = self.bucket.reserve(now())
            if pause:
                await asyncio.sleep(pause)
        candidates = [endpoint for endpoint in self.endpoints if endpoint not in course.refused_by]
        while True:
            moment = now()
            open_ones = [endpoint for endpoint in candidates if endpoint.breaker.allows(moment)]
            free = [endpoint for endpoint in open_ones if endpoint.pace.free_at <= moment]
            others = [endpoint for endpoint in free if endpoint is not course.last] or free
            if others:
                return min(others, key=lambda endpoint: endpoint.load)
            if open_ones:
                await self.wait_for_pace(candidates)
            else:
                await self.wait_for_change(candidates, course)

    async def wait_for_pace(self, candidates: list[Endpoint]) -> None:
        """Wait until a slowed server may be asked, or all of them are down.

        Raises:
            RequestError: Each has accepted no request for as long as a request's retries might have taken.
        """
        async with self.gate:
            while True:
                moment = now()
                paces = [endpoint.pace for endpoint in candidates if endpoint.breaker.allows(moment)]
                if not paces or any(pace.free_at <= moment for pace in paces):
                    return
                if all(self.has_had_time(pace, moment) for pace in paces):
                    waited = moment - min(pace.limited_since or moment for pace in paces)
                    self.counts.failures[Failure.RATE_LIMITED.value] += 1
                    raise RequestError(
                        f"{self.lacking}, every endpoint has refused all requests for {waited:.0f} s (HTTP 429, or "
                        f"503): set {self.section}.max_per_minute to what it allows, or wait until its limit is over",
                        Failure.RATE_LIMITED,
                    )
                shut = [e.breaker for e in candidates if e.breaker.opened_at is not None and not e.breaker.probing]
                ends = [pace.free_at for pace in paces] + [breaker.opens_at() for breaker in shut]
                # An answer may free a server before its pause is over.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), max(0.001, min(ends) - moment))

    def has_had_time(self, pace: Pace, moment: float) -> bool:
        """Whether a server accepted no request for that long, including its pause and one request after it."""
        since = pace.limited_since
        return pace.closed and pace.fruitless > 0 and since is not None and moment - since >= self.patience_s

    async def wait_for_change(self, endpoints: list[Endpoint], course: Course) -> None:
        """Wait until a server may be probed, or one has answered.

        Raises:
            RequestError: All servers refuse, or the time to wait is over.
        """
        breakers = [endpoint.breaker for endpoint in endpoints]
        since = course.troubled_since or min(breaker.since or now() for breaker in breakers)
        left = since + self.patience_s - now()
        # A probe in progress may show that the server is back.
        refused = all(breaker.refuses and not breaker.probing for breaker in breakers)
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
            if endpoint.proof is not None:
                endpoint.proof.cancel()
            await endpoint.client.close()


def is_limit(error: RequestError) -> bool:
    """Whether a server wants fewer requests: it answers 429, or is busy and sends Retry-After."""
    busy = error.failure is Failure.SERVER_ERROR and error.status == 503 and error.retry_after_s > 0
    return error.failure is Failure.RATE_LIMITED or busy


def now() -> float:
    """The running event loop's clock."""
    return asyncio.get_running_loop().time()

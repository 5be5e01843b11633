# SPDX-License-Identifier: Apache-2.0
"""Sends questions to the judge servers: the one concurrency limit, rate limit and retry layer of a pool.

A question takes a slot, then a token of the rate limit, then the least loaded endpoint that is well. After a failure
that may pass it gives its slot back, waits, and prefers another endpoint. Where every endpoint is down it waits for
one to come back, as long as its retries might have taken, and then gives up with the cause.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from medix_verl.errors import JudgeError
from medix_verl.judge.endpoint import Endpoint, now, pick
from medix_verl.judge.rate import TokenBucket
from medix_verl.judge.retry import TemporaryError, wait_before
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import Counters
from medix_verl.judge.wire import EndpointError, Reply

__all__ = ["Dispatcher"]


@dataclass(slots=True)
class Course:
    """How one question has fared so far."""

    failed: int = 0
    """Attempts that failed; a probe of an endpoint that is down is none, it was our way to find out."""
    troubled_since: float | None = None
    last: Endpoint | None = None
    refused_by: list[Endpoint] = field(default_factory=list)


class Dispatcher:
    """Belongs to one event loop."""

    def __init__(self, spec: JudgeSpec, endpoints: list[Endpoint], counters: Counters, backoff_s: float) -> None:
        self.spec = spec
        self.endpoints = endpoints
        self.counters = counters
        self.backoff_s = backoff_s
        self.slots = asyncio.Semaphore(spec.max_concurrent)
        self.bucket = TokenBucket(spec.max_per_minute) if spec.max_per_minute else None
        self.changed = asyncio.Event()
        """Wakes those who wait for an endpoint to come back."""
        pauses = [backoff_s * 2.0**attempt for attempt in range(spec.max_retries)]
        self.patience_s = (spec.max_retries + 1) * spec.timeout_s + sum(pauses)

    async def send(self, make_body: Callable[[], bytes]) -> Reply:
        """Ask one question, again after failures that may pass.

        Args:
            make_body: Makes the request once there is a slot for it; until then a question costs no prompt.

        Raises:
            JudgeError: A server refused, every attempt failed, or no endpoint came back in time.
        """
        course = Course()
        body = None
        while True:
            async with self.slots:
                endpoint = await self.admit(course)
                probe = endpoint.breaker.opened_at is not None
                body = body or make_body()
                try:
                    return await self.attempt(endpoint, body)
                except TemporaryError as error:
                    pause = self.after_failure(course, endpoint, probe, error)
                except EndpointError:
                    course.refused_by.append(endpoint)
                    course.last, pause = endpoint, 0.0
                    if not self.elsewhere(course):
                        raise
            self.counters.retries += 1
            if pause:
                await asyncio.sleep(pause)

    async def attempt(self, endpoint: Endpoint, body: bytes) -> Reply:
        """Post once, count it, and tell those who wait for an endpoint."""
        counters = self.counters
        counters.calls += 1
        start = now()
        try:
            reply = await endpoint.post(body)
        except JudgeError as error:
            counters.failures[error.kind if isinstance(error, TemporaryError) else "refused"] += 1
            raise
        finally:
            self.changed.set()
            self.changed.clear()
        counters.latencies.append(now() - start)
        return reply

    def after_failure(self, course: Course, endpoint: Endpoint, probe: bool, error: TemporaryError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            JudgeError: That was the last one.
        """
        if course.troubled_since is None:
            course.troubled_since = now()
        course.last = endpoint
        if probe and endpoint.breaker.opened_at is not None:
            return 0.0
        course.failed += 1
        if course.failed > self.spec.max_retries:
            raise JudgeError(f"no verdict after {course.failed} attempts, the last: {error}") from error
        return wait_before(course.failed - 1, self.backoff_s, error.retry_after, random.random())

    def elsewhere(self, course: Course) -> bool:
        """Whether there is an endpoint that has not refused this question."""
        return any(endpoint not in course.refused_by for endpoint in self.endpoints)

    async def admit(self, course: Course) -> Endpoint:
        """Wait for the rate limit, then for an endpoint that may be sent to; no await follows the choice.

        Raises:
            JudgeError: Every endpoint is down, and none came back in time.
        """
        if self.bucket is not None:
            pause = self.bucket.reserve(now())
            if pause:
                await asyncio.sleep(pause)
        candidates = [endpoint for endpoint in self.endpoints if endpoint not in course.refused_by]
        while (endpoint := pick(candidates, course.last, now())) is None:
            await self.wait_for_change(candidates, course)
        return endpoint

    async def wait_for_change(self, endpoints: list[Endpoint], course: Course) -> None:
        """Wait until an endpoint may be tried again, or one answered.

        Raises:
            JudgeError: There is nothing left to wait for.
        """
        breakers = [endpoint.breaker for endpoint in endpoints]
        since = course.troubled_since or min(breaker.since or now() for breaker in breakers)
        left = since + self.patience_s - now()
        if left <= 0 or all(breaker.refuses for breaker in breakers):
            self.counters.failures["down"] += 1
            cause = max(breakers, key=lambda breaker: breaker.opened_at or 0.0).cause
            raise JudgeError(f"no verdict, every endpoint is down, the last failure: {cause}")
        next_probe = min((breaker.opens_at() - now() for breaker in breakers if not breaker.probing), default=left)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.changed.wait(), max(0.001, min(left, next_probe)))

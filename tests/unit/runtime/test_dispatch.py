# SPDX-License-Identifier: Apache-2.0
"""When a failing server is left alone and comes back, the rate limit, the waits, and a dispatcher over made-up servers.

What a dispatcher does with real servers is tested with the judge's pool.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medix_verl.openai_client import RequestError
from medix_verl.runtime.dispatch import (
    MAX_RETRY_AFTER_S,
    Breaker,
    CallCounts,
    Dispatcher,
    Limits,
    TokenBucket,
    wait_before,
)
from medix_verl.types import Failure


def broken(threshold: int = 3) -> Breaker:
    breaker = Breaker(threshold, 10.0)
    for _ in range(threshold):
        assert breaker.allows(0.0) and not breaker.enter()
        breaker.fail(0.0, "HTTP 503", probe=False)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = broken()
    assert not breaker.allows(9.9)
    assert (breaker.opens_at(), breaker.since, breaker.cause) == (10.0, 0.0, "HTTP 503")


def test_a_success_between_starts_the_count_again() -> None:
    breaker = Breaker(2, 10.0)
    for _ in range(5):
        breaker.fail(0.0, "x", probe=False)
        breaker.succeed()
    assert breaker.allows(0.0)


def test_one_probe_passes_at_a_time() -> None:
    breaker = broken()
    assert breaker.allows(10.0) and breaker.enter()
    assert not breaker.allows(10.0)
    breaker.leave(probe=True)
    assert breaker.allows(10.0), "a cancelled probe lets another one pass"


def test_the_probe_decides() -> None:
    breaker = broken()
    assert breaker.enter()
    breaker.fail(11.0, "HTTP 500", probe=True)
    breaker.leave(True)
    assert not breaker.allows(20.9) and breaker.allows(21.0)
    assert breaker.since == 0.0, "the outage began when it opened first"
    assert breaker.enter()
    breaker.succeed()
    breaker.leave(True)
    assert breaker.allows(21.0) and breaker.since is None


def test_late_failures_do_not_lengthen_the_pause() -> None:
    breaker = broken()
    breaker.fail(9.0, "late", probe=False)
    assert breaker.opens_at() == 10.0


def test_a_late_success_closes_it() -> None:
    breaker = broken()
    breaker.succeed()
    assert breaker.allows(0.0)


def test_one_that_stops_trips_after_the_limit_with_the_last_cause() -> None:
    breaker = Breaker(3, what="the judge")
    for _ in range(2):
        breaker.fail(0.0, "connection refused")
    assert breaker.stopped == "" and breaker.allows(0.0)
    breaker.fail(0.0, "connection refused again")
    assert breaker.stopped == "the judge failed 3 times in a row, the last: connection refused again"
    breaker.succeed()
    breaker.fail(9.0, "later")
    assert not breaker.allows(1e12) and "refused again" in breaker.stopped, "it is for good"


def test_a_success_forgets_the_failures_before_it() -> None:
    breaker = Breaker(2, what="the judge")
    for _ in range(5):
        breaker.fail(0.0, "busy")
        breaker.succeed()
    assert not breaker.stopped


def test_the_first_certain_cause_stays() -> None:
    breaker = Breaker(100, what="the model")
    breaker.stop("its server ended")
    breaker.stop("something later")
    assert breaker.stopped == "its server ended"


def sent(per_minute: int, arrivals: list[float]) -> list[float]:
    bucket = TokenBucket(per_minute)
    return [now + bucket.reserve(now) for now in arrivals]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.lists(st.floats(0, 200), min_size=1, max_size=500))
def test_never_more_in_any_minute(per_minute: int, arrivals: list[float]) -> None:
    times = sent(per_minute, sorted(arrivals))
    assert times == sorted(times)
    for first, time in enumerate(times):
        assert sum(time <= other < time + 60 - 1e-6 for other in times[first:]) <= per_minute


def test_a_queue_is_served_at_the_limit() -> None:
    times = sent(600, [0.0] * 1200)
    assert sum(time < 60 for time in times) == 600
    assert times[0] == times[9] == 0.0 and times[10] > 0


def test_one_a_minute() -> None:
    assert sent(1, [0.0, 0.0, 100.0]) == [0.0, 60.0, 120.0]


def test_the_wait_doubles() -> None:
    assert [wait_before(n, 0.5, 0.0, 1.0) for n in range(4)] == [0.5, 1.0, 2.0, 4.0]
    assert wait_before(0, 0.5, 0.0, 0.0) == 0.25
    assert wait_before(0, 0.5, 7.0, 0.0) == 7


@given(st.integers(0, 10_000), st.floats(0, 100), st.floats(0, 1e6), st.floats(0, 1))
def test_the_wait_is_bounded(attempt: int, base: float, asked: float, chance: float) -> None:
    assert 0 <= wait_before(attempt, base, asked, chance) <= MAX_RETRY_AFTER_S


class Server:
    """Plays one step a request, the last one for ever: a body, or an error that is raised."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.asked = 0
        self.closed = False

    async def post(self, path: str, body: bytes, restricted: bool = False) -> bytes:
        self.asked += 1
        step = self.steps[min(self.asked, len(self.steps)) - 1]
        await asyncio.sleep(0)
        if isinstance(step, Exception):
            raise step
        return bytes(step)

    async def close(self) -> None:
        self.closed = True


DOWN = RequestError("HTTP 503", Failure.SERVER_ERROR, 503)


def send(limits: Limits, *servers: Server, count: int = 1) -> tuple[list[Any], CallCounts]:
    """Send requests one after the other; the results or the errors."""

    async def run() -> tuple[list[Any], CallCounts]:
        counts = CallCounts()
        dispatcher = Dispatcher(servers, limits, counts)  # type: ignore[arg-type]
        found: list[Any] = []
        for _ in range(count):
            try:
                found.append(await dispatcher.send("/x", lambda: b"{}", lambda raw: raw))
            except RequestError as error:
                found.append(error)
        await dispatcher.close()
        assert all(server.closed for server in servers)
        return found, counts

    return asyncio.run(run())


def test_policy_stop_asks_nothing_any_more_after_so_many_requests() -> None:
    server = Server(DOWN)
    limits = Limits(max_retries=1, breaker="stop", breaker_failures=3, backoff_s=0.001)
    found, counts = send(limits, server, count=10)
    assert server.asked == 6 == counts.calls, "three requests, each with its retry"
    assert [error.failure for error in found] == [Failure.SERVER_ERROR] * 3 + [Failure.UNREACHABLE] * 7
    assert str(found[2]) == "no answer after 2 attempts, the last: HTTP 503"
    assert str(found[9]) == f"the server failed 3 times in a row, the last: {found[2]}"


@pytest.mark.parametrize(
    "error",
    [RequestError("HTTP 400: too long", Failure.REFUSED, 400), RequestError("no verdict", Failure.UNREADABLE, 200)],
)
def test_what_speaks_of_one_request_stops_nothing(error: RequestError) -> None:
    server = Server(error)
    found, counts = send(Limits(breaker="stop", breaker_failures=3), server, count=10)
    assert server.asked == 10 and found == [error] * 10
    assert counts.failures == {error.failure.value: 10}


def test_policy_stop_still_asks_the_server_that_is_well() -> None:
    bad, good = Server(DOWN), Server(b"yes")
    found, _ = send(Limits(breaker="stop", breaker_failures=2, backoff_s=0.001), bad, good, count=10)
    assert found == [b"yes"] * 10


def test_a_wrong_address_is_no_reason_to_wait_and_another_server_is_tried() -> None:
    wrong = RequestError("HTTP 404", Failure.MISCONFIGURED, 404)
    found, counts = send(Limits(breaker_failures=2), Server(wrong), Server(wrong), count=4)
    assert [error.failure for error in found] == [Failure.MISCONFIGURED] * 4
    assert counts.calls == 4 and "every endpoint is down, the last failure: HTTP 404" in str(found[-1])
    found, _ = send(Limits(), Server(wrong), Server(b"yes"), count=4)
    assert found == [b"yes"] * 4

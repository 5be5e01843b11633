# SPDX-License-Identifier: Apache-2.0
"""How fast servers are asked that limit the rate: minutes of their time, on a clock that jumps to the next timer."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.virtual_time import run
from medix_verl.openai_client import RequestError
from medix_verl.runtime.dispatch import CallCounts, Dispatcher, Limits
from medix_verl.runtime.pace import MAX_PAUSE_S, MIN_RATE, Pace
from medix_verl.types import Failure


def test_without_a_refusal_nothing_waits() -> None:
    pace = Pace()
    for _ in range(100):
        assert pace.free_at <= 0.0
        pace.take(0.0)
        pace.answer(0.0, 0.0)
    assert math.isinf(pace.rate)


def test_a_refusal_pauses_for_what_the_server_asks_for() -> None:
    pace = Pace()
    pace.take(0.0)
    pace.refuse(0.1, 0.0, 7.0)
    assert pace.free_at == 7.1 and pace.limited_since == 0.1
    pace.refuse(0.2, 0.0, 9.0)
    assert pace.free_at == 9.2, "a longer pause of the same round counts"
    pace.refuse(0.3, 0.0, 1e9)
    assert pace.free_at == 0.3 + MAX_PAUSE_S


def test_without_a_header_the_pause_doubles_while_nothing_is_taken() -> None:
    pace, now, pauses = Pace(0.5), 0.0, []
    for _ in range(12):
        pace.take(now)
        pace.refuse(now, now)
        pauses.append(pace.free_at - now)
        now = pace.free_at
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0] and pauses[-1] == MAX_PAUSE_S
    assert pace.fruitless == 11


def test_what_was_taken_over_the_time_that_it_took_is_the_next_rate() -> None:
    pace = Pace()
    for _ in range(64):
        pace.take(0.0)
    for _ in range(54):
        pace.refuse(0.0, 0.0, 1.0)
    pace.take(1.0)
    assert pace.rate == 10.0 and pace.free_at == pytest.approx(1.1)


def test_a_late_refusal_of_an_earlier_round_changes_nothing() -> None:
    pace = Pace()
    pace.take(0.0)
    pace.take(0.0)
    pace.refuse(0.1, 0.0, 1.0)
    pace.take(1.1)
    before = pace.free_at, pace.refused, pace.closed
    pace.refuse(1.2, 0.0, 30.0)
    assert (pace.free_at, pace.refused, pace.closed) == before


def test_a_busy_server_is_left_alone_and_keeps_its_rate() -> None:
    """503 with Retry-After says nothing of a rate."""
    pace = Pace()
    for _ in range(10):
        pace.take(0.0)
    pace.refuse(0.0, 0.0, 3.0, of_rate=False)
    assert pace.free_at == 3.0
    pace.take(3.0)
    assert math.isinf(pace.rate)


def test_a_rate_does_not_grow_while_nothing_is_sent() -> None:
    pace = Pace()
    for now in (0.0, 0.0):
        pace.take(now)
    pace.refuse(0.0, 0.0, 1.0)
    pace.take(1.0)
    before = pace.rate
    pace.take(3601.0)
    assert pace.rate <= before * 2


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.floats(0, 1000)), max_size=60))
def test_whatever_a_server_says_the_rate_is_bounded_and_the_pause_too(steps: list[tuple[float, bool, float]]) -> None:
    pace, now = Pace(), 0.0
    for later, refused, asked in steps:
        now = max(now + later, pace.free_at)
        pace.take(now)
        assert pace.rate >= MIN_RATE
        assert pace.free_at <= now + MAX_PAUSE_S
        if refused:
            pace.refuse(now, now, asked)
            assert now < pace.free_at <= now + MAX_PAUSE_S
        else:
            pace.answer(now, now)


# A dispatcher before servers that limit the rate


def clock() -> float:
    return asyncio.get_running_loop().time()


class Limited:
    """A server that takes so many requests in any window, as documented by those that do.

    Args:
        rate: Requests a second.
        window_s: Over how many seconds they are counted.
        header: Whether a refusal has Retry-After, in whole seconds.
        counts_refused: Whether refused requests count as well (OpenAI's do).
        latency_s: Seconds of an answer.
    """

    def __init__(
        self,
        rate: float,
        window_s: float = 1.0,
        header: bool = True,
        counts_refused: bool = False,
        latency_s: float = 0.05,
        refusal: Failure = Failure.RATE_LIMITED,
    ) -> None:
        self.most, self.window_s = rate * window_s, window_s
        self.header, self.counts_refused, self.latency_s, self.refusal = header, counts_refused, latency_s, refusal
        self.taken: deque[float] = deque()
        self.asked = self.refused = 0

    def __str__(self) -> str:
        return "http://h/v1"

    async def post(self, path: str, body: bytes, restricted: bool = False) -> bytes:
        now = clock()
        self.asked += 1
        while self.taken and self.taken[0] <= now - self.window_s:
            self.taken.popleft()
        over = len(self.taken) >= self.most
        if not over or self.counts_refused:
            self.taken.append(now)
        if over:
            self.refused += 1
            await asyncio.sleep(0.005)
            wait = math.ceil(self.taken[0] + self.window_s - now) if self.taken else 1
            status = 429 if self.refusal is Failure.RATE_LIMITED else 503
            raise RequestError(f"HTTP {status}", self.refusal, status, float(wait) if self.header else 0.0)
        await asyncio.sleep(self.latency_s)
        return b"ok"

    async def close(self) -> None:
        pass


def asked(servers: list[Any], count: int, limits: Limits, **more: Any) -> tuple[list[Any], float, CallCounts]:
    """What came of `count` requests that are made at once, and how long it took on the clock."""
    counts = CallCounts()

    async def main() -> list[Any]:
        dispatcher = Dispatcher(servers, limits, counts, lacking="no verdict", **more)

        async def one() -> Any:
            try:
                return await dispatcher.send("/x", lambda: b"{}", lambda raw: raw)
            except RequestError as error:
                return error

        return await asyncio.gather(*(one() for _ in range(count)))

    found, took = run(main())
    return found, took, counts


@pytest.mark.parametrize("latency_s", [0.05, 1.0])
@pytest.mark.parametrize("counts_refused", [False, True])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("breaker", ["wait", "off", "stop"])
def test_a_limit_costs_no_answer_and_little_time(
    header: bool, counts_refused: bool, latency_s: float, breaker: str
) -> None:
    """300 answers at 10 a second, 64 at once: the limit's own time is 29 s."""
    server = Limited(10, header=header, counts_refused=counts_refused, latency_s=latency_s)
    found, took, counts = asked([server], 300, Limits(max_concurrent=64, breaker=breaker))
    assert found == [b"ok"] * 300
    assert 28 < took < 29 * 1.4 + latency_s
    assert server.refused < 80, "of 64 sent at once 54 are refused; afterwards nearly none"
    assert counts.failures == {"rate_limited": server.refused} and counts.calls == 300 + server.refused


@pytest.mark.parametrize(
    ("rate", "window_s", "count", "best_s"),
    [(10.0, 60.0, 3000, 240.0), (0.05, 60.0, 20, 360.0), (200.0, 1.0, 5000, 25.0), (1.0, 1.0, 60, 59.0)],
)
def test_other_limits(rate: float, window_s: float, count: int, best_s: float) -> None:
    """600 a minute, 3 a minute (a free account), 200 a second, 1 a second."""
    found, took, _ = asked([Limited(rate, window_s)], count, Limits(max_concurrent=256))
    assert found == [b"ok"] * count
    assert best_s * 0.9 <= took < best_s * 1.4


def test_a_limit_that_is_raised_is_found() -> None:
    server = Limited(5)
    raised = Limits(max_concurrent=64)

    async def main() -> float:
        dispatcher = Dispatcher([server], raised, CallCounts())  # type: ignore[list-item]
        await asyncio.gather(*(dispatcher.send("/x", lambda: b"{}", bytes) for _ in range(100)))
        server.most = 100
        start = clock()
        await asyncio.gather(*(dispatcher.send("/x", lambda: b"{}", bytes) for _ in range(2000)))
        return clock() - start

    took, _ = run(main())
    assert took < 100, "400 s at the old limit, 20 s at the new one"


def test_other_servers_take_over() -> None:
    slow, fast = Limited(10), Limited(1000)
    found, took, _ = asked([slow, fast], 600, Limits(max_concurrent=64))
    assert found == [b"ok"] * 600
    assert took < 5 and fast.asked > 500


def test_the_log_says_so_once_and_names_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        asked([Limited(10)], 100, Limits(max_concurrent=64), section="semantic")
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("http://h/v1 wants fewer requests (HTTP 429)")
    assert "semantic.max_per_minute" in line and "semantic.max_concurrent" in line


@pytest.mark.parametrize("breaker", ["wait", "off", "stop"])
@pytest.mark.parametrize("header", [True, False])
def test_a_server_that_only_ever_refuses_ends_as_rate_limited(header: bool, breaker: str) -> None:
    limits = Limits(timeout_s=10.0, max_retries=2, max_concurrent=64, breaker=breaker)
    server = Limited(0, header=header)
    found, took, _ = asked([server], 300, limits)
    kinds = {error.failure for error in found}
    assert kinds <= {Failure.RATE_LIMITED, Failure.UNREACHABLE} and found[0].failure is Failure.RATE_LIMITED
    assert (kinds == {Failure.RATE_LIMITED}) is (breaker != "stop")  # that one asks nothing any more
    assert "no verdict, every endpoint has refused all requests for" in str(found[0])
    assert "judge.max_per_minute" in str(found[0])
    assert 30 < took < 120 and server.asked < 200


def test_afterwards_it_is_tried_again() -> None:
    """A limit of a day ends in the end."""
    server = Limited(0)

    async def main() -> list[Any]:
        dispatcher = Dispatcher([server], Limits(timeout_s=5.0, max_retries=1), CallCounts())  # type: ignore[list-item]
        with pytest.raises(RequestError) as caught:
            await dispatcher.send("/x", lambda: b"{}", bytes)
        assert caught.value.failure is Failure.RATE_LIMITED
        await asyncio.sleep(100)
        server.most = 10
        return [await dispatcher.send("/x", lambda: b"{}", bytes) for _ in range(3)]

    assert run(main())[0] == [b"ok"] * 3


class Picky(Limited):
    """Takes all requests but one, which is too large for its limit."""

    async def post(self, path: str, body: bytes, restricted: bool = False) -> bytes:
        if json.loads(body).get("large"):
            raise RequestError("HTTP 429: Request too large", Failure.RATE_LIMITED, 429)
        return await super().post(path, body, restricted)


def test_a_request_that_is_never_taken_ends_while_others_are_answered() -> None:
    async def main() -> tuple[RequestError, list[bytes]]:
        limits = Limits(timeout_s=5.0, max_retries=1, max_concurrent=8)
        dispatcher = Dispatcher([Picky(1000)], limits, CallCounts(), lacking="no verdict")  # type: ignore[list-item]
        large = asyncio.ensure_future(dispatcher.send("/x", lambda: b'{"large": 1}', bytes))
        found = []
        while not large.done():
            found.append(await dispatcher.send("/x", lambda: b"{}", bytes))
        error = large.exception()
        assert isinstance(error, RequestError)
        return error, found

    (error, found), took = run(main())
    assert error.failure is Failure.RATE_LIMITED and "while others were answered" in str(error)
    assert len(found) > 20 and took < 600


def test_503_with_retry_after_is_waited_out_and_costs_no_retry() -> None:
    server = Limited(10, refusal=Failure.SERVER_ERROR)
    found, _, counts = asked([server], 100, Limits(max_concurrent=64, max_retries=0))
    assert found == [b"ok"] * 100 and counts.failures["server_error"] == server.refused
    found, _, _ = asked([Limited(10, refusal=Failure.SERVER_ERROR, header=False)], 100, Limits(max_retries=0))
    assert {error.failure for error in found if error != b"ok"} == {Failure.SERVER_ERROR}, "503 alone is a failure"


# A quota that is spent


def test_what_waiting_does_not_cure_is_not_waited_for() -> None:
    class Spent(Limited):
        async def post(self, path: str, body: bytes, restricted: bool = False) -> bytes:
            raise RequestError("HTTP 429: quota", Failure.MISCONFIGURED, 429)

    found, took, _ = asked([Spent(10)], 50, Limits(max_concurrent=8))
    assert {error.failure for error in found} == {Failure.MISCONFIGURED} and took < 1
    well = Limited(1000)
    found, took, _ = asked([Spent(10), well], 50, Limits(max_concurrent=8))
    assert found == [b"ok"] * 50 and took < 5

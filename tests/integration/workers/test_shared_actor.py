# SPDX-License-Identifier: Apache-2.0
"""The shared actor under a real Ray: several processes find one, and none of their questions is lost with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from helpers.ray_cluster import two_cpus
from medix_verl.rewards.ledger import open_ledger, read_fatal, report_fatal, report_unscored, take_entries
from medix_verl.runtime.shared_actor import (
    ActorError,
    ActorSpec,
    BatchingClient,
    SharedActor,
    as_they_come,
    call_named,
    in_ray,
    tell_named,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]
ray = pytest.importorskip("ray")

NAME = "medix_test_doubler"


class Doubler:
    """Twice each number, after some milliseconds."""

    def __init__(self, milliseconds: int = 0) -> None:
        self.seconds = milliseconds / 1000
        self.asked = 0

    async def one(self, number: int) -> int:
        self.asked += 1
        await asyncio.sleep(self.seconds * (1 + number % 5))
        return 2 * number

    async def answer(self, items: Sequence[int]) -> AsyncIterator[list[tuple[int, int]]]:
        async for group in as_they_come([self.one(item) for item in items]):
            yield group

    def note(self, text: Any) -> None: ...

    async def close(self) -> None: ...

    def process(self) -> int:
        return os.getpid()

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def add(self, more: int) -> int:
        self.asked += more
        return self.asked

    def fail(self) -> None:
        raise ZeroDivisionError("by nothing")

    async def hang(self) -> None:
        await asyncio.sleep(60)


def broken() -> Doubler:
    raise FileNotFoundError("weights.bin is not here")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with two_cpus(sys.modules[__name__]):
        yield


@pytest.fixture(autouse=True)
def no_actor_is_left() -> Iterator[None]:
    yield
    for name in (NAME, "medix_ledger"):
        deadline = time.monotonic() + 30
        with contextlib.suppress(ValueError):
            while time.monotonic() < deadline:
                ray.kill(ray.get_actor(name))
                time.sleep(0.1)


def spec(milliseconds: int = 0, **changes: Any) -> ActorSpec:
    return ActorSpec(**{"name": NAME, "factory": Doubler, "args": (milliseconds,), "title": "doubler", **changes})


def client(actor: SharedActor) -> BatchingClient[int, Any]:
    return BatchingClient([actor], failed=str, title="doubler", max_items=64)


class Process:
    """Another process of the run."""

    def __init__(self, given: ActorSpec) -> None:
        self.actor = SharedActor(given)
        self.client = client(self.actor)

    async def ask(self, count: int, gap_s: float = 0.0) -> list[Any]:
        async def one(number: int) -> Any:
            await asyncio.sleep(number * gap_s)
            return await self.client.ask(number)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    async def service(self) -> Any:
        return await self.actor.call("process")

    def report(self, cause: str) -> None:
        report_unscored(cause)
        report_fatal(cause)


def other_process(given: ActorSpec) -> Any:
    return ray.remote(Process).options(num_cpus=0).remote(given)


def test_every_process_finds_the_same_actor() -> None:
    assert in_ray()
    here = SharedActor(spec())
    others = [other_process(spec()) for _ in range(3)]
    found = ray.get([other.service.remote() for other in others])
    assert {*found, here.call_now("process")} == {found[0]} and found[0] != os.getpid()
    assert ray.get([other.ask.remote(300) for other in others]) == [list(range(0, 600, 2))] * 3
    assert here.call_now("add", 0) == 900
    assert call_named(NAME, "process", timeout_s=10.0) == found[0]


@pytest.mark.parametrize("for_good", [False, True], ids=["restarts", "gone"])
def test_an_actor_that_is_killed_in_the_middle_loses_nothing(for_good: bool) -> None:
    here = SharedActor(spec(20))
    others = [other_process(spec(20)) for _ in range(3)]
    running = [other.ask.remote(300, 0.01) for other in others]
    for _ in range(2):
        time.sleep(1.0)
        before = here.call_now("process", timeout_s=60.0)
        if for_good:
            ray.kill(ray.get_actor(NAME))
        else:
            os.kill(before, signal.SIGKILL)
        assert here.call_now("process", timeout_s=60.0) != before
    assert ray.get(running, timeout=150) == [list(range(0, 600, 2))] * 3


def test_a_factory_that_fails_says_why() -> None:
    actor = SharedActor(spec(factory=broken, args=()))

    async def main() -> Any:
        return await client(actor).ask(1)

    reason = "it cannot be started: FileNotFoundError: weights.bin is not here"
    assert asyncio.run(main()) == f"the doubler failed: {reason}"
    with pytest.raises(ActorError, match=reason):
        actor.call_now("process")


def test_other_settings_are_refused() -> None:
    first = SharedActor(spec(settings="these"))  # an actor ends when nobody holds it any more

    async def main() -> Any:
        return await client(SharedActor(spec(settings="others"))).ask(1)

    reason = "the run's doubler has other settings; give all reward processes the same recipe"
    assert asyncio.run(main()) == f"the doubler failed: {reason}"
    assert first.call_now("add", 0) == 0


def test_its_process_has_the_variables_that_are_given() -> None:
    actor = SharedActor(spec(env={"MEDIX_TEST": "7"}))
    assert actor.call_now("variable", "MEDIX_TEST") == "7"


def test_calls_from_outside_an_event_loop() -> None:
    assert call_named(NAME, "process", timeout_s=1.0) is None
    tell_named(NAME, "add", 1)
    actor = SharedActor(spec())
    tell_named(NAME, "add", 5)
    deadline = time.monotonic() + 30
    while call_named(NAME, "add", 0, timeout_s=10.0) != 5 and time.monotonic() < deadline:
        time.sleep(0.05)  # who tells does not wait, so the next call may overtake it
    assert call_named(NAME, "add", 1, timeout_s=10.0) == 6
    with pytest.raises(ActorError, match="ZeroDivisionError: by nothing"):
        actor.call_now("fail")
    with pytest.raises(ActorError, match="ZeroDivisionError: by nothing"):
        call_named(NAME, "fail", timeout_s=10.0)
    began = time.monotonic()
    assert call_named(NAME, "hang", timeout_s=0.5) is None
    assert time.monotonic() - began < 10


def test_the_ledger_of_a_run() -> None:
    report_unscored("nobody listens yet")
    ledger = open_ledger()
    assert ledger is not None
    other = other_process(spec())
    ray.get(other.report.remote("judge: timed out"))
    deadline = time.monotonic() + 30
    entries = take_entries(ledger)
    while not entries[0] and time.monotonic() < deadline:
        entries = take_entries(ledger)
    assert entries == (1, ["judge: timed out"])
    assert read_fatal(ledger) == "judge: timed out"
    os.kill(int(ray.get(ledger.handle.__ray_call__.remote(lambda _: os.getpid()))), signal.SIGKILL)
    assert take_entries(ledger) == (0, []), "a ledger that comes back is empty, and ends no run"

# SPDX-License-Identifier: Apache-2.0
"""The shared judge worker under a real Ray: eight processes ask one mock server, and things go wrong.

In every case each verdict is the one that the server would have given, and what has none is a question that the
server never answered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from helpers.mock_process import Mock as MockProcess
from helpers.mock_process import mock_judges
from helpers.ray_cluster import two_cpus
from medix_verl.judge.mock import verdict_of
from medix_verl.judge.prompt import Writer
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference, Verdict

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
ray = pytest.importorskip("ray")

CLIENTS = 8
CLIENTS_ALIVE: list[Any] = []
FINDINGS = ("effusion", "oedema", "nodule", "fracture", "cyst", "stenosis", "haematoma", "abscess")
SPEC = JudgeSpec(kind="openai", model="mock", timeout_s=5.0, max_retries=8, breaker_seconds=1.0)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray of our own, with two CPUs."""
    with two_cpus(sys.modules[__name__]):
        yield


class Mock(MockProcess):  # type: ignore[misc, valid-type]
    """The mock server as a process that can be waited for and started again."""

    def wait_for(self, requests: int) -> None:
        deadline = time.monotonic() + 100
        while self.stats["requests"] < requests:
            assert time.monotonic() < deadline, "the server was not asked"
            time.sleep(0.05)

    def again(self) -> Mock:
        """A new process at the same address."""
        return Mock(*self.flags, port=int(self.url.removesuffix("/v1").rpartition(":")[2]))


@pytest.fixture
def serve() -> Iterator[Any]:
    """Start mock servers; they and the judge workers are ended with the test."""
    with mock_judges(Mock) as start:
        yield start
        # First the clients: one that still asks would start a worker again.
        for client in CLIENTS_ALIVE:
            ray.kill(client)
        CLIENTS_ALIVE.clear()
    for place in range(4):
        end_worker(place)


def end_worker(place: int) -> None:
    """End a judge worker for good, and wait until its name is free."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            ray.kill(ray.get_actor(f"medix_judge_{place}"))
        except ValueError:
            return
        time.sleep(0.1)
    raise AssertionError("the worker's name did not become free")


class Client:
    """What a reward process does: it connects, and asks many questions at once."""

    def __init__(self, spec: JudgeSpec) -> None:
        from medix_verl.judge.judge import connect_judge

        self.judge = connect_judge(spec)

    def kind(self) -> str:
        return type(self.judge.judge).__name__

    async def ask(self, numbers: list[int], gap_s: float = 0.0) -> list[Verdict]:
        async def one(place: int, number: int) -> Verdict:
            await asyncio.sleep(place * gap_s)
            return await self.judge.ask(*question(number))

        return list(await asyncio.gather(*(one(place, number) for place, number in enumerate(numbers))))

    async def stats(self) -> Any:
        return await self.judge.judge.stats()  # type: ignore[attr-defined]


def question(number: int) -> tuple[str, Reference]:
    answer = f"{FINDINGS[number % 8]} of {number} mm in the left lung"
    return answer, Reference("right lower lobe pneumonia", question="What is seen?")


def start_clients(spec: JudgeSpec, count: int = CLIENTS) -> list[Any]:
    kind = ray.remote(num_cpus=0)(Client)
    clients = [kind.remote(spec) for _ in range(count)]
    CLIENTS_ALIVE.extend(clients)
    return clients


def expected(spec: JudgeSpec, numbers: range) -> dict[int, bool]:
    """What the mock says of each question, computed here."""
    writer = Writer(spec, "mock")
    return {number: verdict_of(writer.prompt(*question(number))) for number in numbers}


def check(answers: list[list[Verdict]], spec: JudgeSpec, numbers: range) -> set[int]:
    """No verdict is another than the server's; returns the questions without one."""
    right = expected(spec, numbers)
    unscored = set()
    for row in answers:
        for number, verdict in zip(numbers, row, strict=True):
            if verdict.correct is None:
                assert verdict.reason
                unscored.add(number)
            else:
                assert verdict.correct is right[number], (number, verdict)
    return unscored


def test_eight_processes_ask_each_question_once(serve: Any) -> None:
    server, numbers = serve("--latency-ms", "50"), range(300)
    spec = replace(SPEC, url=server.url)
    clients = start_clients(spec)
    assert ray.get(clients[0].kind.remote()) == "RemoteJudge"
    answers = ray.get([client.ask.remote(list(numbers)) for client in clients])
    assert check(answers, spec, numbers) == set()
    assert server.stats["requests"] == len(numbers)
    stats = ray.get(clients[0].stats.remote())
    assert (stats.calls, stats.asked, stats.unscored) == (len(numbers), CLIENTS * len(numbers), 0)
    assert stats.cache_hits + stats.joined == (CLIENTS - 1) * len(numbers)
    assert 0.05 <= stats.p50_s <= stats.p95_s


def test_several_workers_share_the_limits(serve: Any) -> None:
    server, numbers = serve("--latency-ms", "20"), range(200)
    spec = replace(SPEC, url=server.url, workers=3, max_concurrent=10)
    answers = ray.get([client.ask.remote(list(numbers)) for client in start_clients(spec, 4)])
    assert check(answers, spec, numbers) == set()
    assert server.stats["requests"] == len(numbers)
    assert server.stats["in_flight_peak"] <= 10


def test_the_sampler_reads_the_numbers(serve: Any) -> None:
    from medix_verl.judge.service import collect_stats

    assert collect_stats() == {}
    server = serve()
    [client] = start_clients(replace(SPEC, url=server.url), 1)
    ray.get(client.ask.remote([1, 2, 1]))
    numbers = collect_stats()
    assert (numbers["asked"], numbers["calls"], numbers["unscored"]) == (3, 2, 0)
    assert collect_stats()["calls"] == 0


def test_a_client_with_other_settings_is_told(serve: Any) -> None:
    server = serve()
    [first] = start_clients(replace(SPEC, url=server.url), 1)
    ray.get(first.kind.remote())
    [second] = start_clients(replace(SPEC, url=server.url, max_candidate_chars=7), 1)
    assert ray.get(first.ask.remote([1]))[0].ok
    assert "give all reward processes the same recipe" in ray.get(second.ask.remote([1]))[0].reason


def test_a_worker_that_cannot_start_says_why(serve: Any, tmp_path: Any) -> None:
    server = serve()
    (tmp_path / "cache.db").write_text("this is no database at all, and long enough to be read as one" * 20)
    [client] = start_clients(replace(SPEC, url=server.url, cache=str(tmp_path / "cache.db")), 1)
    [verdict] = ray.get(client.ask.remote([1]))
    assert verdict.correct is None and "cache.db" in verdict.reason


@pytest.mark.parametrize(
    "for_good", [pytest.param(False, id="restarts"), pytest.param(True, id="gone", marks=pytest.mark.long)]
)
def test_the_worker_is_killed(serve: Any, for_good: bool) -> None:
    server, numbers = serve("--latency-ms", "100"), range(400)
    spec = replace(SPEC, url=server.url, max_concurrent=40)
    clients = start_clients(spec)
    running = [client.ask.remote(list(numbers), 0.002) for client in clients]
    for requests in (80, 200):
        server.wait_for(requests)
        worker = ray.get_actor("medix_judge_0")
        if for_good:
            ray.kill(worker)
        else:
            os.kill(pid_of(worker), signal.SIGKILL)
    assert check(ray.get(running, timeout=200), spec, numbers) == set()
    # Each of the worker's three lives forgets what the one before it knew, and asks no question twice.
    assert server.stats["requests"] <= 3 * len(numbers)


def pid_of(worker: Any) -> int:
    """The worker's process; it may be restarting."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return int(ray.get(worker.__ray_call__.remote(lambda _: os.getpid()), timeout=10))
        except (ray.exceptions.RayError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError("the worker did not come back")


FAULTS = (
    ("--fail-share", "0.05"),
    ("--fail-share", "0.3", "--retry-after", "0.2"),
    ("--hang-share", "0.05"),
    ("--garbage-share", "0.1"),
    ("--truncate-share", "0.3"),
    ("--drop-share", "0.2"),
)
FEW = (FAULTS[1], FAULTS[2])
"""Those that `make test` tries through Ray; `make long` tries all, and the unit tests do so without Ray."""


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(flags, marks=() if flags in FEW else pytest.mark.long, id=flags[0][2:] + flags[1])
        for flags in FAULTS
    ],
)
def test_faults_leave_nothing_mislabelled(serve: Any, flags: tuple[str, ...]) -> None:
    server, numbers = serve("--latency-ms", "20", *flags), range(300)
    spec = replace(SPEC, url=server.url, timeout_s=1.0, max_retries=3)
    answers = ray.get([client.ask.remote(list(numbers)) for client in start_clients(spec, 2)], timeout=200)
    unscored = check(answers, spec, numbers)
    # Two processes may ask an unanswered question one after the other; an answer is never forgotten.
    assert len(unscored) >= server.stats["unanswered"]
    assert sum(server.stats["faults"].values()) > 0
    assert len(unscored) < 60


def test_nobody_there(serve: Any) -> None:
    server = serve()
    server.kill()
    spec = replace(SPEC, url=server.url, timeout_s=0.5, max_retries=1)
    [answers] = ray.get([start_clients(spec, 1)[0].ask.remote(list(range(50)))], timeout=100)
    assert all(verdict.correct is None and "connection failed" in verdict.reason for verdict in answers)


def test_the_server_is_killed_and_comes_back(serve: Any) -> None:
    server, numbers = serve("--latency-ms", "50"), range(400)
    spec = replace(SPEC, url=server.url, max_concurrent=20)
    running = [client.ask.remote(list(numbers), 0.003) for client in start_clients(spec, 4)]
    server.wait_for(50)
    server.kill()
    time.sleep(3.0)
    second = server.again()
    try:
        assert check(ray.get(running, timeout=200), spec, numbers) == set()
        assert second.stats["requests"] > 0
    finally:
        second.kill()

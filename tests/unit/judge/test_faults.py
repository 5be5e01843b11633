# SPDX-License-Identifier: Apache-2.0
"""The pool against a server that misbehaves in every way at once: none mislabelled, none lost, memory bounded."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import resource
from collections import Counter
from hashlib import blake2b

import pytest

from medix_verl.judge.judge import Question
from medix_verl.judge.mock import completion
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference, Verdict

FAULTS = ("503", "hang", "slow", "garbage", "bomb", "endless", "stray", "cut", "none", "none")
QUESTIONS = 400
GROWTH_MB = 120
"""A gzip bomb here is a gigabyte, an endless body has no end, and 30 of each are met."""
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
BOMB = gzip.compress(b"0" * (1 << 20)) * 1024


def right(text: str) -> bool:
    """The true verdict of a candidate: it depends on nothing else."""
    return bool(blake2b(text.encode(), digest_size=1).digest()[0] & 1)


def reply(verdict: bool) -> bytes:
    body = completion("m", "YES" if verdict else "NO")
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Hostile:
    """Meets the first request with a prompt with a fault, and answers the second one."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.server: asyncio.Server | None = None
        self.port = 0
        self.open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.talk, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.open:
            writer.transport.abort()
        self.open.clear()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                prompt = json.loads(await reader.readexactly(size))["messages"][-1]["content"]
                text = next(line[2:] for line in prompt.splitlines() if line.startswith("> "))
                self.asked[text] += 1
                fault = FAULTS[int(text.split()[-1]) % len(FAULTS)] if self.asked[text] == 1 else "none"
                self.faults[fault] += 1
                await self.answer(fault, right(text), writer)
        writer.close()

    async def answer(self, fault: str, verdict: bool, writer: asyncio.StreamWriter) -> None:
        if fault == "hang":
            await asyncio.sleep(30)
        elif fault == "slow":
            for byte in reply(verdict):
                writer.write(bytes([byte]))
                await asyncio.sleep(0.1)
        elif fault == "endless":
            writer.write(CHUNKED + b"\r\n")
            while True:
                writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                await writer.drain()
        else:
            writer.write(at_once(fault, verdict))
            if fault == "cut":
                writer.close()
        await writer.drain()


def at_once(fault: str, verdict: bool) -> bytes:
    """What is sent in one piece."""
    known = {
        "none": reply(verdict),
        "503": b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
        "garbage": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<html>!",
        "bomb": CHUNKED + b"Content-Encoding: gzip\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BOMB), BOMB),
        # The second reply says the opposite, and would be the answer to whatever is asked next.
        "stray": reply(verdict) + reply(not verdict),
        "cut": reply(verdict)[:-9],
    }
    return known[fault]


def texts() -> list[str]:
    return [f"an answer that no reference has, number {number}" for number in range(QUESTIONS)]


async def judged(pool: JudgePool, text: str) -> Verdict:
    return await pool.ask(Question(text, Reference("another answer", question="What is seen?")))


def check(found: list[Verdict]) -> None:
    assert [verdict.reason for verdict in found if verdict.correct is None] == [], "lost"
    assert [text for text, verdict in zip(texts(), found, strict=True) if verdict.correct is not right(text)] == []


@pytest.mark.timeout(100)
def test_every_fault_at_once() -> None:
    async def main() -> tuple[list[Verdict], Counter[str]]:
        server = Hostile()
        await server.start()
        url = f"http://127.0.0.1:{server.port}/v1"
        spec = JudgeSpec(kind="openai", url=url, model="m", timeout_s=1.5, max_retries=4, max_concurrent=32,
                         breaker_failures=1000)  # fmt: skip
        pool = JudgePool(spec, backoff_s=0.05)
        found = await asyncio.gather(*(judged(pool, text) for text in texts()))
        await pool.close()
        await server.stop()
        return found, server.faults

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, faults = asyncio.run(main())
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    check(found)
    assert all(faults[fault] == QUESTIONS / len(FAULTS) for fault in set(FAULTS) - {"none"}), faults
    assert grown_mb < GROWTH_MB


@pytest.mark.timeout(100)
def test_a_server_that_is_away_every_other_two_seconds() -> None:
    async def main() -> list[Verdict]:
        server = Hostile()
        server.asked.update(texts())  # no other fault
        await server.start()
        url = f"http://127.0.0.1:{server.port}/v1"
        spec = JudgeSpec(kind="openai", url=url, model="m", timeout_s=2.0, max_retries=4, breaker_failures=4,
                         breaker_seconds=0.3)  # fmt: skip
        pool = JudgePool(spec, backoff_s=0.1)
        asking = []

        async def ask_all() -> None:
            for text in texts():
                asking.append(asyncio.ensure_future(judged(pool, text)))
                await asyncio.sleep(8.0 / QUESTIONS)

        flow = asyncio.ensure_future(ask_all())
        while not flow.done():
            await asyncio.sleep(2.0)
            await server.stop()
            await asyncio.sleep(2.0)
            await server.start()
        found = await asyncio.gather(*asking)
        await pool.close()
        await server.stop()
        return found

    check(asyncio.run(main()))

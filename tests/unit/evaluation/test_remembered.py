# SPDX-License-Identifier: Apache-2.0
"""A judge that asks nothing twice: what it keeps, what it does not, and when it says that the server is down."""

import asyncio
from pathlib import Path

import pytest
from medix_verl.evaluation.remembered import RememberedJudge
from medix_verl.evaluation.watch import Watch
from medix_verl.judge.chat import ChatRequest, Turn

from medix_verl.errors import JudgeError, RunStoppedError
from medix_verl.evaluation.journal import Journal
from medix_verl.types import Reference, Verdict

REFERENCE = Reference("left lung", question="Where?")
REQUEST = ChatRequest((Turn("user", "Score it."),))


class FakePool:
    """Answers with what it was given, in turn; an exception is raised."""

    model = "fake"

    def __init__(self, *given: object) -> None:
        self.given = list(given)
        self.asked = 0

    def next(self) -> object:
        self.asked += 1
        found = self.given.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def ask(self, candidate: str, reference: Reference) -> object:
        return self.next()

    async def chat(self, request: ChatRequest) -> object:
        return self.next()

    async def close(self) -> None:
        self.asked = -1


def remembered(pool: FakePool, path: Path, limit: int = 3) -> RememberedJudge:
    return RememberedJudge(pool, {"model": "fake"}, Journal(path / "v.jsonl"), Watch("the judge", limit))


def test_a_verdict_is_kept_over_a_restart(tmp_path: Path) -> None:
    first = FakePool(Verdict(True, "fake", probability=0.9))
    verdict = asyncio.run(remembered(first, tmp_path).ask("lung", REFERENCE))
    second = FakePool()
    assert asyncio.run(remembered(second, tmp_path).ask("lung", REFERENCE)) == verdict
    assert second.asked == 0


def test_a_message_is_kept_over_a_restart(tmp_path: Path) -> None:
    assert asyncio.run(remembered(FakePool("one"), tmp_path).chat(REQUEST)) == "one"
    assert asyncio.run(remembered(FakePool(), tmp_path).chat(REQUEST)) == "one"


def test_another_question_or_judge_is_asked(tmp_path: Path) -> None:
    pool = FakePool(*(Verdict(True, "fake") for _ in range(3)))
    judge = remembered(pool, tmp_path)
    asyncio.run(judge.ask("lung", REFERENCE))
    asyncio.run(judge.ask("lungs", REFERENCE))
    judge.identity = {"model": "fake", "seed": 1}
    asyncio.run(judge.ask("lung", REFERENCE))
    assert pool.asked == 3


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    pool = FakePool(Verdict(None, "fake", "no verdict after 4 attempts"), Verdict(False, "fake"))
    judge = remembered(pool, tmp_path)
    assert asyncio.run(judge.ask("lung", REFERENCE)).correct is None
    assert asyncio.run(judge.ask("lung", REFERENCE)).correct is False


def test_a_server_that_is_down_trips_the_watch(tmp_path: Path) -> None:
    pool = FakePool(
        Verdict(None, "fake", "no verdict after 4 attempts"),
        JudgeError("HTTP 404: no such model"),
        Verdict(None, "fake", "no verdict, every endpoint is down"),
    )
    judge = remembered(pool, tmp_path)
    asyncio.run(judge.ask("a", REFERENCE))
    with pytest.raises(JudgeError, match="404"):
        asyncio.run(judge.chat(REQUEST))
    asyncio.run(judge.ask("b", REFERENCE))
    with pytest.raises(RunStoppedError, match="the judge failed 3 times"):
        asyncio.run(judge.ask("c", REFERENCE))
    assert pool.asked == 3


def test_replies_that_cannot_be_read_do_not(tmp_path: Path) -> None:
    judge = remembered(
        FakePool(*(Verdict(None, "fake", "the judge's reply is no verdict") for _ in range(5))), tmp_path
    )
    for number in range(5):
        asyncio.run(judge.ask(str(number), REFERENCE))
    assert not judge.watch.tripped


def test_it_passes_on_what_else_the_judge_has(tmp_path: Path) -> None:
    pool = FakePool()
    judge = remembered(pool, tmp_path)
    assert judge.model == "fake"
    asyncio.run(judge.close())
    assert pool.asked == -1

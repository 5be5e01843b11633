# SPDX-License-Identifier: Apache-2.0
"""What an evaluation keeps of its judges: nothing is asked twice, failures are not kept, a dead judge is noticed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medix_verl.evaluation.assemble import open_replies
from medix_verl.evaluation.grading.judge_settings import judge_specs
from medix_verl.judge.judge import GuardedJudge, build_judge
from medix_verl.judge.mock import MockJudge, MockSpec
from medix_verl.judge.prompt import ChatRequest, Turn
from medix_verl.openai_client import RequestError
from medix_verl.types import Failure, Reference

REFERENCE = Reference("left lung", question="Where?")
REQUEST = ChatRequest((Turn("user", "Score it."),))


def with_judge(
    folder: Path, ask: Callable[[GuardedJudge], Awaitable[Any]], mock: MockSpec | None = None, **settings: Any
) -> tuple[Any, int]:
    """What a judge says that is opened again, as in a resumed run, and how many requests reached its server."""

    async def run() -> tuple[Any, int]:
        async with MockJudge(mock) as server:
            [spec] = judge_specs({"kind": "openai", "url": server.url, "model": "m", "max_retries": 0, **settings})
            replies = open_replies(folder)
            judge = build_judge(spec, cache=replies)
            try:
                return await ask(judge), server.stats()["requests"]
            finally:
                await judge.close()
                replies.close()

    return asyncio.run(run())


def test_a_verdict_is_kept_over_a_restart(tmp_path: Path) -> None:
    first, asked = with_judge(tmp_path, lambda judge: judge.ask("lung", REFERENCE), soft=True)
    again, none = with_judge(tmp_path, lambda judge: judge.ask("lung", REFERENCE), soft=True)
    assert again == first and first.ok and first.probability is not None
    assert (asked, none) == (1, 0)


def test_a_message_is_kept_over_a_restart(tmp_path: Path) -> None:
    first, asked = with_judge(tmp_path, lambda judge: judge.chat(REQUEST))
    again, none = with_judge(tmp_path, lambda judge: judge.chat(REQUEST))
    assert (again, asked, none) == (first, 1, 0)


def test_another_question_or_judge_is_asked(tmp_path: Path) -> None:
    def asked(text: str, **settings: Any) -> int:
        return with_judge(tmp_path, lambda judge: judge.ask(text, REFERENCE), **settings)[1]

    assert [asked("lung"), asked("lungs"), asked("lung", seed=1), asked("lung", prompt="reference")] == [1, 1, 1, 0]


def test_voters_differ_in_what_they_are_known_by_and_their_address_is_not_in_it(tmp_path: Path) -> None:
    from medix_verl.evaluation.grading.spec import ProtocolSpec, build_voters

    settings = {"kind": "openai", "url": "http://127.0.0.1:1/v1", "model": "a"}
    bodies = []
    for url in ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"):
        voters = build_voters(ProtocolSpec("robust"), judge_specs({**settings, "url": url}))
        pools: list[Any] = [voter.judge.judge for voter in voters]
        bodies.append([pool.writer.body(pool.writer.prompt("lung", REFERENCE)) for pool in pools])
    assert len(set(bodies[0])) == 3 and bodies[0] == bodies[1]


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    failed, asked = with_judge(tmp_path, lambda judge: judge.ask("lung", REFERENCE), MockSpec(fail_share=1.0))
    assert (failed.correct, failed.failure, asked) == (None, Failure.SERVER_ERROR, 1)
    unread, asked = with_judge(tmp_path, lambda judge: judge.ask("lung", REFERENCE), MockSpec(garbage_share=1.0))
    assert (unread.correct, unread.failure, asked) == (None, Failure.UNREADABLE, 1)
    assert with_judge(tmp_path, lambda judge: judge.ask("lung", REFERENCE))[0].ok


def test_a_server_that_is_down_stops_the_judge(tmp_path: Path) -> None:
    async def ask(judge: GuardedJudge) -> str:
        assert not (await judge.ask("a", REFERENCE)).ok
        with pytest.raises(RequestError, match="503"):
            await judge.chat(REQUEST)
        assert judge.stopped == ""
        await judge.ask("b", REFERENCE)
        assert "the judge failed 3 times" in (await judge.ask("c", REFERENCE)).reason
        return judge.stopped

    stopped, asked = with_judge(tmp_path, ask, MockSpec(fail_share=1.0), breaker_failures=3)
    assert "the judge failed 3 times in a row" in stopped and asked == 3


def test_replies_that_cannot_be_read_do_not(tmp_path: Path) -> None:
    async def ask(judge: GuardedJudge) -> str:
        for number in range(5):
            assert (await judge.ask(str(number), REFERENCE)).failure is Failure.UNREADABLE
        return judge.stopped

    assert with_judge(tmp_path, ask, MockSpec(garbage_share=1.0), breaker_failures=3) == ("", 5)


def test_a_judge_is_closed_and_the_replies_stay_open(tmp_path: Path) -> None:
    async def run() -> None:
        async with MockJudge() as server:
            [spec] = judge_specs({"kind": "openai", "url": server.url, "model": "m"})
            replies = open_replies(tmp_path)
            for _ in range(2):
                judge = build_judge(replace(spec), cache=replies)
                assert (await judge.ask("lung", REFERENCE)).ok
                await judge.close()
            assert server.stats()["requests"] == 1
            replies.close()

    asyncio.run(run())

# SPDX-License-Identifier: Apache-2.0
"""How an answer ended: noted where the server says it, kept for a resumed run, counted and warned of."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medix_verl.evaluation.assemble import open_replies
from medix_verl.evaluation.reports.table import count_line, cut_warning
from medix_verl.openai_client import RequestError, read_completion
from medix_verl.types import Failure

pytest.importorskip("inspect_ai")

from medix_verl.evaluation.inspect.model import FINISH, finish_of, output_of, whole_text
from medix_verl.evaluation.inspect.tasks import ask, found_again, is_refusal, note_failure
from medix_verl.evaluation.task_run import Answering
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.reply import Reply
from medix_verl.runtime.dispatch import Breaker


def completion(content: Any, finish: str | None, **message: Any) -> Any:
    choice = {"message": {"content": content, **message}, "finish_reason": finish}
    return read_completion(json.dumps({"choices": [choice]}).encode())


@pytest.mark.parametrize(
    ("answer", "finish"),
    [
        (completion("B", "stop"), "stop"),
        (completion("B", None), "stop"),
        (completion("The answer is", "length"), "length"),
        (completion(None, "length", reasoning_content="Let me see"), "length"),  # cut while it thought
        (completion("I cannot", "content_filter"), "content_filter"),
        (completion(None, "stop"), "empty"),
        (completion(" ", "stop"), "empty"),
        (completion(None, "stop", reasoning_content="It is B."), "empty"),  # it thought, and said nothing
    ],
)
def test_the_end_of_an_answer(answer: Any, finish: str) -> None:
    assert finish_of(answer) == finish
    assert output_of("m", answer).metadata == {FINISH: finish}


def test_a_question_without_an_answer_has_an_empty_text() -> None:
    """Its log is scored again when an evaluation is judged again."""
    from inspect_ai.model import ModelOutput

    assert whole_text(ModelOutput(model="m")) == ""


def run_of(answers: ReplyCache) -> Any:
    breaker = Breaker(4, what="the model")
    return SimpleNamespace(answering=Answering("m"), answers=answers, model_breaker=breaker, stopped="")


def test_a_resumed_run_knows_how_the_answer_ended(tmp_path: Path) -> None:
    answers = open_replies(tmp_path)
    state: Any = SimpleNamespace(metadata={}, messages=[], output=output_of("m", completion("The", "length")), epoch=1)

    async def generate(state: Any, **_: Any) -> Any:
        return state

    asyncio.run(ask(run_of(answers), b"key", state, generate))
    assert state.metadata[FINISH] == "length"
    again: Any = SimpleNamespace(metadata={}, messages=[], output=None)
    kept = answers.get(b"key")
    assert kept is not None
    found_again(again, run_of(answers), kept)
    assert again.metadata[FINISH] == "length"
    found_again(again, run_of(answers), Reply('{"text": "x", "latency_s": 0.1}'))  # of before
    assert again.metadata[FINISH] is None
    answers.close()


def test_a_refusal_is_noted_and_is_no_sign_of_a_server_that_is_down(tmp_path: Path) -> None:
    run = run_of(open_replies(tmp_path))
    refused = RequestError("the model refuses to answer (content filter)", Failure.REFUSED, 200)
    state: Any = SimpleNamespace(metadata={}, messages=[], epoch=1)

    async def generate(state: Any, **_: Any) -> Any:
        raise refused

    for _ in range(5):
        with pytest.raises(RequestError):
            asyncio.run(ask(run, b"key", state, generate))
    assert state.metadata[FINISH] == "content_filter" and not run.model_breaker.stopped
    for _ in range(5):
        note_failure(run, RequestError("HTTP 500", Failure.SERVER_ERROR, 500))
    assert run.model_breaker.stopped
    assert not is_refusal(RequestError("too long", Failure.REFUSED, 400))
    run.answers.close()


@pytest.mark.parametrize(
    ("cut", "total", "expected"),
    [
        ({"length": 1}, 101, ""),
        ({"length": 1}, 100, "1 of 100 answers .*: 1 cut at the limit of tokens; raise generation.max_tokens"),
        ({"length": 1, "content_filter": 2, "empty": 3}, 20, "6 of 20 .*, 2 refused or filtered, 3 without a text"),
        ({"empty": 2}, 10, "2 without a text$"),
        ({}, 0, ""),
    ],
)
def test_a_warning_from_one_percent_on(cut: dict[str, int], total: int, expected: str) -> None:
    import re

    found = cut_warning(cut, total)
    assert bool(found) == bool(expected) and re.search(expected, found)
    assert (count_line("medqa", {"scored": total}, {}, cut) == f"medqa: {total} scored") == (not expected) or not total

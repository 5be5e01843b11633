# SPDX-License-Identifier: Apache-2.0
"""Free conversations with a judge model: the request, and the pool's limits, retries and silence about its key."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medix_verl.judge.chat import ChatRequest, Turn, chat_body
from medix_verl.judge.wire import fixed_part

from medix_verl.errors import JudgeError
from medix_verl.judge.mock import MockJudge, MockSpec
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import JudgeSpec

SPEC = JudgeSpec(kind="openai", model="m", timeout_s=5.0, max_retries=2)
SCHEMA = {"type": "object"}


@given(st.text(st.characters(blacklist_categories=())))
def test_a_conversation_is_json_whatever_is_said(text: str) -> None:
    request = ChatRequest((Turn("user", text), Turn("assistant", text)), temperature=0.7, seed=3, max_tokens=9)
    body = json.loads(chat_body(request, "m", "choice"))
    assert body["messages"] == [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.7, 3, 9)
    assert "response_format" not in body


@pytest.mark.parametrize(("structured", "there"), [("choice", True), ("json_schema", True), ("none", False)])
def test_the_schema_goes_along_where_the_server_is_asked_to_keep_to_it(structured: str, there: bool) -> None:
    body = json.loads(chat_body(ChatRequest((Turn("user", "q"),), SCHEMA), "m", structured))
    assert ("response_format" in body) is there
    assert not there or body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "seed" not in body and body["temperature"] == 0


def test_a_closed_question_can_be_sampled_too_and_is_not_by_default() -> None:
    plain = json.loads(fixed_part(SPEC, "m") + b'"p"}]}')
    assert plain["temperature"] == 0 and "seed" not in plain
    sampled = JudgeSpec(kind="openai", model="m", temperature=0.7, seed=5)
    body = json.loads(fixed_part(sampled, "m") + b'"p"}]}')
    assert (body["temperature"], body["seed"]) == (0.7, 5)


def test_the_pool_retries_a_chat() -> None:
    async def run() -> tuple[str, int]:
        async with MockJudge(MockSpec(fail_share=0.5, verdict="yes", seed=1)) as mock:
            pool = JudgePool(replace(SPEC, max_retries=20), [mock.url], backoff_s=0.001)
            replies = [await pool.chat(ChatRequest((Turn("user", str(place)),))) for place in range(3)]
            await pool.close()
            assert set(replies) == {"YES"}
            return replies[0], pool.stats().calls

    assert asyncio.run(run())[1] > 3


def test_a_dead_server_ends_a_chat_in_bounded_time() -> None:
    async def run() -> None:
        pool = JudgePool(SPEC, ["http://127.0.0.1:9/v1"], backoff_s=0.01)
        try:
            await pool.chat(ChatRequest((Turn("user", "q"),)))
        finally:
            await pool.close()

    with pytest.raises(JudgeError, match="no verdict after 3 attempts, the last: connection failed"):
        asyncio.run(run())


def test_the_key_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", "made-up-key-0123")
    spec = JudgeSpec(kind="openai", model="m", api_key_env="CHAT_KEY")
    pool = JudgePool(spec, ["http://h/v1"])
    assert pool.hide_key("bad made-up-key-0123") == "bad ***"

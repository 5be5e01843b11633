# SPDX-License-Identifier: Apache-2.0
"""The bytes of a request, and what a server's answer means."""

import json
import sys
import types
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medix_verl.judge.retry import TemporaryError
from medix_verl.judge.wire import EndpointError, Reply, fixed_part, read_key, read_reply, request_body

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.judge.spec import JudgeSpec

SPEC = JudgeSpec(kind="openai", url="http://h/v1", model="m")


@given(st.text(st.characters(blacklist_categories=())))
def test_a_request_is_json_whatever_the_prompt(prompt: str) -> None:
    body = json.loads(request_body(fixed_part(SPEC, 'a "name"'), prompt))
    assert body["messages"] == [{"role": "user", "content": prompt}]
    assert body["model"] == 'a "name"'


def test_soft_asks_for_log_probabilities() -> None:
    body = json.loads(request_body(fixed_part(replace(SPEC, soft=True), "m"), "p"))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert "logprobs" not in json.loads(request_body(fixed_part(SPEC, "m"), "p"))


def answer(**choice: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": "YES"}, **choice}]}).encode()


def test_log_probabilities_are_read_when_they_were_asked_for() -> None:
    raw = answer(logprobs={"content": [{"token": "YES", "logprob": -0.1}]})
    assert read_reply(200, {}, raw, soft=True) == Reply("YES", 1.0)
    assert read_reply(200, {}, raw) == Reply("YES")
    assert read_reply(200, {}, answer(), soft=True) == Reply("YES", None)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (503, TemporaryError, "HTTP 503: no"),
        (429, TemporaryError, "HTTP 429: no"),
        (404, EndpointError, "HTTP 404: no"),
        (400, JudgeError, "HTTP 400: no"),
    ],
)
def test_statuses(status: int, error: type[JudgeError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        read_reply(status, {"Retry-After": "3"}, b"no")
    assert type(caught.value) is error
    if isinstance(caught.value, TemporaryError):
        assert caught.value.retry_after == "3"
        assert caught.value.kind == ("busy" if status == 429 else "status")


def test_half_a_body_may_pass_and_a_strange_message_stays() -> None:
    with pytest.raises(TemporaryError, match="has no message"):
        read_reply(200, {}, answer()[:-3])
    with pytest.raises(JudgeError, match="message is list, not text"):
        read_reply(200, {}, answer(message={"content": []}))


@pytest.mark.parametrize("connected", [True, False])
def test_a_worker_without_the_key_says_where_a_cluster_wants_it(
    monkeypatch: pytest.MonkeyPatch, connected: bool
) -> None:
    """On another node there is nothing of the shell that started the run."""
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: connected))  # type: ignore[arg-type]
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ConfigError) as caught:
        read_key("JUDGE_KEY")
    said = str(caught.value)
    assert "type: export JUDGE_KEY=..." in said
    assert ("before `ray start` on every node" in said and "ray job submit --runtime-env" in said) is connected

# SPDX-License-Identifier: Apache-2.0
"""The evaluated model as inspect_ai calls it: the text as it was written, and failures that are worth a second try.

inspect_ai is imported inside the functions: tests of this process look that a command does not import it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from medix_verl.openai_client import RequestError
from medix_verl.types import Failure

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"
)


def served(url: str, api_key: str = "none") -> Any:
    from medix_verl.evaluation.inspect.model import ServedModel

    return ServedModel("m", url, api_key)


def generate(
    reply: Callable[[dict[str, Any]], web.Response], api_key: str = "sk-hidden-key", **config: Any
) -> tuple[Any, list[dict[str, Any]]]:
    """The output for one question to a server that replies so, and what the server was sent."""
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig

    parts: list[Any] = [ContentText(text="What?"), ContentImage(image="data:image/png;base64,AAAA")]
    seen: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append({**await request.json(), "key": request.headers.get("Authorization")})
        return reply(seen[-1])

    async def main() -> Any:
        app = web.Application()
        app.router.add_route("*", "/v1/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        model = served(f"http://127.0.0.1:{runner.addresses[0][1]}/v1/", api_key)
        try:
            return await model.generate([ChatMessageUser(content=parts)], [], "none", GenerateConfig(**config))
        finally:
            await model.aclose()
            await runner.cleanup()

    return asyncio.run(main()), seen


def says(message: dict[str, Any], **more: Any) -> Callable[[dict[str, Any]], web.Response]:
    return lambda body: web.json_response({"choices": [{"message": message, "finish_reason": "length"}], **more})


def test_the_question_and_the_answer_are_whole() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    output, seen = generate(says({"content": "<think>a</think> b"}, usage=usage), max_tokens=9, temperature=0.0, seed=1)
    assert (output.message.text, output.stop_reason) == ("<think>a</think> b", "max_tokens")
    assert (output.usage.input_tokens, output.usage.output_tokens, output.usage.total_tokens) == (7, 2, 9)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert seen[0]["messages"] == [{"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}]
    assert (seen[0]["max_tokens"], seen[0]["temperature"], seen[0]["seed"]) == (9, 0.0, 1)
    assert seen[0]["key"] == "Bearer sk-hidden-key"


def test_a_server_without_a_key_is_sent_none() -> None:
    assert generate(says({"content": "b"}), api_key="none")[1][0]["key"] is None


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_goes_back_to_its_place(name: str) -> None:
    output, _ = generate(says({"content": "<CT_SCAN> b", name: "a"}))
    assert output.message.text == "<CT_SCAN><think>a</think> b"
    assert generate(says({"content": None, name: "a"}))[0].message.text == "<think>a</think>"
    assert generate(says({"content": None}))[0].message.text == ""


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (503, Failure.SERVER_ERROR),
        (429, Failure.RATE_LIMITED),
        (400, Failure.REFUSED),
        (404, Failure.MISCONFIGURED),
        (302, Failure.MISCONFIGURED),
    ],
)
def test_failures(status: int, failure: Failure) -> None:
    def reply(body: dict[str, Any]) -> web.Response:
        headers = {"Location": "/v1/other"} if status == 302 else None
        return web.Response(status=status, text=f"no: {body['key']}", headers=headers)

    with pytest.raises(RequestError, match=f"HTTP {status}") as caught:
        generate(reply)
    assert (caught.value.failure, caught.value.status) == (failure, status)
    assert "hidden-key" not in str(caught.value)
    assert served("http://h/v1").should_retry(caught.value) is failure.is_temporary


@pytest.mark.parametrize("raw", [b"[]", b"<html>", json.dumps({"choices": []}).encode()])
def test_what_is_no_completion_may_be_asked_again(raw: bytes) -> None:
    with pytest.raises(RequestError, match="has no message") as caught:
        generate(lambda body: web.Response(body=raw))
    assert caught.value.failure.is_temporary


def test_a_wrapped_error_is_found() -> None:
    from medix_verl.evaluation.inspect.model import request_error

    error = RequestError("HTTP 404", Failure.MISCONFIGURED, 404)

    def wrapped() -> BaseException:
        try:
            raise RuntimeError("wrapped") from error
        except RuntimeError as caught:
            return caught

    assert request_error(wrapped()) is error and request_error(error) is error
    assert request_error(ValueError("x")) is None and request_error(None) is None


def test_each_event_loop_has_connections_of_its_own() -> None:
    model = served("http://127.0.0.1:9/v1")

    async def client() -> Any:
        assert model.client() is model.client()
        return model.client()

    run: Callable[[Awaitable[Any]], Any] = asyncio.run  # type: ignore[assignment]
    assert run(client()) is not run(client())

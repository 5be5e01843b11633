# SPDX-License-Identifier: Apache-2.0
"""Judges at paid services and judges that think: parameters that they refuse, where their words stand, what is said."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from helpers import hosted
from medix_verl.errors import ConfigError, RunStoppedError
from medix_verl.judge.prompt import ChatRequest, Turn
from medix_verl.judge.spec import JudgeSpec
from medix_verl.openai_client import OpenAIClient, RequestError
from medix_verl.rewards.stop_rules import UnscoredWindow
from medix_verl.types import Failure

says, error, judged, prompt_of = hosted.says, hosted.error, hosted.judged, hosted.prompt_of
SPEC = JudgeSpec(kind="openai", model="m", url="http://h/v1")

# Parameters


def o_series(body: dict[str, Any]) -> web.Response:
    """OpenAI's reasoning models refuse one parameter at a time, in these words."""
    for name in ("structured_outputs",):
        if name in body:
            return error(400, f"Unrecognized request argument supplied: {name}")
    if "max_tokens" in body:
        said = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return error(400, said, param="max_tokens", code="unsupported_parameter")
    for name in ("temperature", "logprobs", "top_logprobs"):
        if name in body:
            said = f"Unsupported value: '{name}' does not support {body[name]} with this model."
            return error(400, said, param=name, code="unsupported_value")
    budget = body["max_completion_tokens"]
    return says("YES") if budget >= 1000 else says("", "length")


def test_what_a_model_does_not_take_is_adapted_once_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> tuple[list[Any], list[dict[str, Any]]]:
        async with hosted.Hosted(o_series) as server:
            pool = hosted.JudgePool(replace(SPEC, url=server.url, soft=True, max_tokens=2048))
            verdicts = [
                await pool.ask(hosted.Question(text, hosted.Reference("pneumonia"))) for text in ("a", "b", "c")
            ]
            await pool.close()
            return verdicts, server.bodies

    verdicts, bodies = asyncio.run(main())
    assert [verdict.correct for verdict in verdicts] == [True] * 3
    assert len(bodies) == 4 + 3, "one more request for each parameter, once"
    assert {"model", "max_completion_tokens", "messages"} == set(bodies[-1])
    given = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(given) == 4 and any("max_tokens: it is sent as max_completion_tokens" in line for line in given)
    [hint] = [line for line in given if "structured_outputs" in line]
    assert "set judge.structured=json_schema (OpenAI's), or none" in hint


def test_a_budget_that_is_too_small_says_what_to_type() -> None:
    [verdict], _ = judged(o_series)
    assert verdict.failure is Failure.TRUNCATED
    assert "judge.max_tokens (a model that thinks needs 2048)" in verdict.reason
    assert "enable_thinking: false" in verdict.reason


@pytest.mark.parametrize(
    "said",
    [
        {"message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."},
        {"message": "This response_format type is unavailable now", "param": None},
        {"message": "This model does not support response format `json_schema`.", "param": "response_format"},
        {"message": "Unknown parameter: 'response_format'.", "param": "response_format", "code": "unknown_parameter"},
    ],
    ids=["OpenAI, an old model", "DeepSeek", "Groq", "an unknown parameter"],
)
def test_a_form_that_is_refused_is_left_out_and_the_word_is_read(said: dict[str, Any]) -> None:
    def handle(body: dict[str, Any]) -> web.Response:
        return error(400, **said) if "response_format" in body else says("**NO**")

    verdicts, server = judged(handle, ["a", "b"], structured="json_schema", max_concurrent=1)
    assert [verdict.correct for verdict in verdicts] == [False, False] and len(server.bodies) == 3


def test_what_the_user_put_there_is_not_left_out() -> None:
    def handle(body: dict[str, Any]) -> web.Response:
        return error(400, "Unknown parameter: 'chat_template_kwargs'.", param="chat_template_kwargs")

    [verdict], server = judged(handle, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    assert verdict.failure is Failure.REFUSED and "chat_template_kwargs" in verdict.reason and len(server.bodies) == 1


# What a request has


def test_budget_and_extra_body_are_in_the_request_and_so_in_the_key() -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 1}
    _, server = judged(lambda body: says("YES"), max_tokens=900, extra_body=extra)
    assert server.bodies[0]["max_tokens"] == 900
    assert {key: server.bodies[0][key] for key in extra} == extra
    plain, other = (hosted.JudgePool(spec).writer.body("x") for spec in (SPEC, replace(SPEC, extra_body={"top_k": 1})))
    assert len({plain, other, hosted.JudgePool(replace(SPEC, max_tokens=9)).writer.body("x")}) == 3
    assert json.loads(plain)["max_tokens"] == 4 and set(json.loads(plain)) == {
        *("model", "temperature", "max_tokens", "structured_outputs", "messages")
    }  # the bytes of before: a cache file of before is still one


def test_a_reply_that_was_kept_under_other_settings_is_asked_again(tmp_path: Path) -> None:
    """The verdict of a model that thinks is not that of the same model without thinking."""
    answers = {True: "NO", False: "YES"}

    def handle(body: dict[str, Any]) -> web.Response:
        return says(answers["chat_template_kwargs" in body])

    async def main() -> list[bool | None]:
        found = []
        async with hosted.Hosted(handle) as server:
            for extra in ({}, {"chat_template_kwargs": {"enable_thinking": True}}, {}):
                spec = replace(SPEC, url=server.url, cache=str(tmp_path / "replies.sqlite"), extra_body=extra)
                [verdict], _ = await hosted.ask_all(spec, ["a"])
                found.append(verdict.correct)
            assert len(server.bodies) == 2
        return found

    assert asyncio.run(main()) == [True, False, True]


def test_a_conversation_is_bounded_too() -> None:
    async def main() -> None:
        async with hosted.Hosted(lambda body: says("x" * 2_000_000)) as server:
            pool = hosted.JudgePool(replace(SPEC, url=server.url, max_retries=0))
            try:
                await pool.chat(ChatRequest((Turn("user", "q"),)))
            finally:
                await pool.close()

    with pytest.raises(RequestError, match="larger than 1048576 bytes"):
        asyncio.run(main())


def test_a_conversation_has_them_too() -> None:
    async def main() -> dict[str, Any]:
        async with hosted.Hosted(lambda body: says("4")) as server:
            pool = hosted.JudgePool(replace(SPEC, url=server.url, max_tokens=4000, extra_body={"top_k": 1}))
            await pool.chat(ChatRequest((Turn("user", "q"),)))
            await pool.close()
            return dict(server.bodies[0])

    body = asyncio.run(main())
    assert (body["max_tokens"], body["top_k"]) == (4000, 1)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"temperature": 1}, "judge.extra_body has temperature, .*set judge.temperature instead"),
        ({"max_completion_tokens": 9}, "set judge.max_tokens"),
        ({"messages": []}, "set judge.prompt instead"),
        ({"response_format": {}}, "set judge.structured instead"),
        ({"logprobs": True}, "set judge.soft=true instead"),
        ({"stream": True}, "one whole reply is read; leave it out"),
        ({"n": 3}, "leave it out"),
        ({"a": float("nan")}, "judge.extra_body is .*; its values must be such as JSON has"),
        ({"a": object()}, "its values must be such as JSON has"),
        ({3: 1}, "set it to a mapping"),
        ([1], "set it to a mapping"),
        ("top_k=1", "set it to a mapping"),
    ],
)
def test_what_extra_body_must_not_have(extra: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JudgeSpec.from_mapping({"extra_body": extra})


# Where the words stand

READ: list[tuple[dict[str, Any], str]] = [
    ({"text": "<think>It is the same.\nNO, it is.</think>\n\nYES"}, "DeepSeek-R1, Qwen3"),
    ({"text": "It is the same.</think>YES"}, "a template that opens the block in the prompt"),
    ({"text": "[THINK]same[/THINK]YES"}, "Magistral"),
    ({"text": "<unused94>thought\nsame<unused95>YES"}, "MedGemma"),
    ({"text": "\u25c1think\u25b7same\u25c1/think\u25b7YES"}, "Kimi"),
    ({"text": "<seed:think>same</seed:think>YES"}, "Seed-OSS"),
    (
        {"text": "<|channel|>analysis<|message|>same<|end|><|start|>assistant<|channel|>final<|message|>YES<|return|>"},
        "gpt-oss, not split by its server",
    ),
    ({"text": "YES", "reasoning_content": "It is the same."}, "vLLM and DeepSeek, split by the server"),
    ({"text": "YES", "reasoning": "It is the same."}, "OpenRouter, vLLM since 0.12"),
    ({"text": None, "reasoning_content": "YES"}, "a parser that takes a reply without thinking for thinking"),
    ({"text": "", "reasoning": "\nYES\n"}, "the same under the other name"),
    ({"text": [{"type": "thinking", "thinking": [{"type": "text", "text": "same"}]}, {"type": "text", "text": "YES"}]},
     "Mistral's parts"),
    ({"text": '{"verdict": "YES", "reason": "a synonym"}'}, "JSON"),
    ({"text": "YES<|im_end|>"}, "a special token"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "why"), READ, ids=[why for _, why in READ])
def test_a_verdict_wherever_it_stands(message: dict[str, Any], why: str) -> None:
    text = message.pop("text")
    try:
        [verdict], _ = judged(lambda body: says(text, **message))
    finally:
        message["text"] = text
    assert verdict.correct is True, (why, verdict.reason)


@pytest.mark.parametrize(
    ("answer", "failure", "reason"),
    [
        (lambda: says(None, "length", reasoning_content="YES"), Failure.TRUNCATED, "raise judge.max_tokens"),
        (lambda: says("<think>Is it", "length"), Failure.TRUNCATED, "it thought 5 characters before"),
        (lambda: says(None, reasoning_content="The answer is YES"), Failure.UNREADABLE, "The answer is YES"),
        (lambda: says("<think>YES</think>"), Failure.UNREADABLE, "is not a verdict: ''"),
        (lambda: says("<think>a</think>NO</think>YES"), Failure.UNREADABLE, "is not a verdict"),
        (
            lambda: says("Well, I would say that it depends."),
            Failure.UNREADABLE,
            "'Well, I would say that it depends.'",
        ),
        (lambda: says("x" * 2_000_000), Failure.MALFORMED, "larger than 1048576 bytes"),
    ],
)
def test_what_is_no_verdict(answer: Any, failure: Failure, reason: str) -> None:
    [verdict], _ = judged(lambda body: answer(), max_retries=0)
    assert verdict.failure is failure
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(verdict.reason)


def test_a_judge_that_cannot_be_read_stops_a_run_with_an_example_and_what_to_type() -> None:
    verdicts, _ = judged(lambda body: says("Well, it depends."), [f"finding {n}" for n in range(40)], structured="none")
    window = UnscoredWindow(max_share=0.5, min_count=32, window=64)
    with pytest.raises(RunStoppedError) as stopped:
        window.add(len(verdicts), len(verdicts), [f"judge: {verdict.reason}" for verdict in verdicts])
    said = str(stopped.value)
    assert "40 of the last 40 answers have no score" in said and "'Well, it depends.'" in said
    assert all(name in said for name in ("judge.structured=choice", "judge.max_tokens", "judge.extra_body"))
    assert said.count("Well, it depends") == 1, "one example is enough"


# Causes


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h:8000/v1/chat/completions", "ends in /chat/completions, .*type judge.url=http://h:8000/v1$"),
        ("http://h:8000/v1/chat/completions/", "type judge.url=http://h:8000/v1$"),
        ("http://h:8000/v1/models", "ends in /models"),
        ("http://h/v1/completions", "ends in /completions"),
        (
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            r"type judge.url=https://r.openai.azure.com/openai/deployments/d\?api-version=2024-10-21$",
        ),
        ("http://h/v1?token=hidden", "only query that is taken is Azure's .api-version=DATE"),
        ("http://h/v1?api-version=2024&key=hidden", "only query"),
        ("http://h/v1?api-version=hidden:x", "only query"),
        ("http://user:hidden@h/v1?api-version=2024-10-21", "holds credentials"),
    ],
)
def test_an_address_that_is_not_accepted_is_told_without_its_secret(url: str, message: str) -> None:
    for made in (lambda: JudgeSpec(kind="openai", url=url), lambda: OpenAIClient(url)):
        with pytest.raises(ConfigError, match=message) as caught:
            made()
        assert "hidden" not in str(caught.value)


def test_azures_model_inference_is_at_models() -> None:
    url = "https://r.services.ai.azure.com/models?api-version=2024-05-01-preview"
    assert OpenAIClient(url).url == url


def test_azures_query_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deployments take the key in a header of their own, and the version behind each path."""
    monkeypatch.setenv("JUDGE_KEY", "azure-key-0123")

    async def main() -> tuple[Any, list[Any]]:
        async with hosted.Hosted(lambda body: says("YES"), path="/openai/deployments/d") as server:
            spec = replace(SPEC, url=f"{server.url}?api-version=2024-10-21", api_key_env="JUDGE_KEY")
            [verdict], _ = await hosted.ask_all(spec, ["a"])
            return verdict, server.requests

    verdict, [(path, headers)] = asyncio.run(main())
    assert verdict.correct is True
    assert path == "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == "azure-key-0123" and "Authorization" not in headers


def test_a_url_without_its_version_says_what_was_meant() -> None:
    async def main() -> str:
        async with hosted.Hosted(lambda body: says("YES")) as server:
            spec = replace(SPEC, url=server.url.removesuffix("/v1"))
            [verdict], _ = await hosted.ask_all(spec, ["a"])
            assert verdict.failure is Failure.MISCONFIGURED
            return str(verdict.reason).replace(server.url, "URL")

    assert "judge.url has no version at its end, did you mean judge.url=URL?" in asyncio.run(main())


def test_a_url_with_its_version_has_no_such_hint() -> None:
    [verdict], _ = judged(lambda body: error(404, "gone", code="model_not_found"))
    assert "did you mean" not in verdict.reason


@pytest.mark.parametrize(
    ("body", "failure", "reason"),
    [
        ({"error": {"message": "the engine is dead"}}, Failure.MALFORMED, "answers with an error: the engine is dead"),
        ({"error": {"message": "no credits", "code": 402}}, Failure.MISCONFIGURED, "no credits"),
        ({"error": {"message": "bad key", "code": "invalid_api_key"}}, Failure.MISCONFIGURED, "bad key"),
        ({"error": {"message": "flagged", "code": "content_filter"}}, Failure.REFUSED, "flagged"),
    ],
)
def test_an_error_with_status_200(body: dict[str, Any], failure: Failure, reason: str) -> None:
    [verdict], _ = judged(lambda _: web.json_response(body), max_retries=0)
    assert verdict.failure is failure and reason in verdict.reason


def test_a_redirect_is_told_with_its_target() -> None:
    [verdict], _ = judged(
        lambda body: web.Response(status=308, headers={"Location": "https://other.example/v1/x?a=hidden"})
    )
    assert verdict.failure is Failure.MISCONFIGURED and "hidden" not in verdict.reason
    assert "redirects to https://other.example/v1/x" in verdict.reason and "set judge.url" in verdict.reason


def failed_at(url: str, **settings: Any) -> RequestError:
    async def main() -> None:
        async with OpenAIClient(url, timeout_s=5, **settings) as client:
            await client.post("/chat/completions", b"{}")

    with pytest.raises(RequestError) as caught:
        asyncio.run(main())
    return caught.value


def test_a_name_without_an_address() -> None:
    found = failed_at("http://judge.invalid/v1")
    assert found.failure is Failure.UNREACHABLE
    assert "judge.invalid has no address; check the name in judge.url, or this machine's DNS" in str(found)


Served = Callable[[str], Awaitable[Any]]


def test_tls_in_words(tmp_path: Path) -> None:
    """A certificate that nobody known has signed, TLS at a port without it, and plain HTTP at a port with it."""
    import subprocess

    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    async def ask(url: str) -> RequestError:
        async with OpenAIClient(url, timeout_s=5) as client:
            with pytest.raises(RequestError) as caught:
                await client.post("/chat/completions", b"{}")
            return caught.value

    async def main() -> list[RequestError]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"not http\r\n\r\n")
            writer.close()

        secure = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
        plain = await asyncio.start_server(handle, "127.0.0.1", 0)
        ports = [server.sockets[0].getsockname()[1] for server in (secure, plain)]
        found = [await ask(f"https://127.0.0.1:{port}/v1") for port in ports]
        found.append(await ask(f"http://127.0.0.1:{ports[0]}/v1"))
        secure.close()
        plain.close()
        return found

    untrusted, no_tls, no_http = asyncio.run(main())
    assert untrusted.failure is Failure.MISCONFIGURED
    assert "certificate is not trusted (self-signed certificate" in str(untrusted).replace("self signed", "self-signed")
    assert "export SSL_CERT_FILE=FILE" in str(untrusted)
    assert "no TLS connection" in str(no_tls) and "type judge.url=http://..." in str(no_tls)
    assert no_http.failure.is_temporary


# Proxies


def proxied(monkeypatch: pytest.MonkeyPatch, restricted: bool, **settings: Any) -> tuple[Any, list[str]]:
    """A verdict by way of the proxy that the environment names, and what the proxy saw."""
    seen: list[str] = []

    async def main() -> Any:
        async def handle(request: web.BaseRequest) -> web.Response:
            seen.append(str(request.url))
            return says("YES")

        runner = web.ServerRunner(web.Server(handle))  # type: ignore[arg-type]
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{runner.addresses[0][1]}")
        monkeypatch.setenv("no_proxy", "")
        row = "row 'q7' of mimic" if restricted else None
        pool = hosted.JudgePool(replace(SPEC, max_retries=0, timeout_s=2.0, **settings))
        try:
            return await pool.ask(hosted.Question("a", hosted.Reference("b", credentialed_row=row)))
        finally:
            await pool.close()
            await runner.cleanup()

    return asyncio.run(main()), seen


def test_a_proxy_is_used_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, seen = proxied(monkeypatch, False, url="http://judge.invalid/v1", use_proxies=True)
    assert verdict.correct is True and seen == ["http://judge.invalid/v1/chat/completions"]
    verdict, seen = proxied(monkeypatch, False, url="http://judge.invalid/v1")
    assert verdict.failure is Failure.UNREACHABLE and seen == []


def test_a_proxy_that_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the name nor the password in the environment's variable is shown."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def main() -> list[RequestError]:
        found = []
        proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
        for port in (proxy.sockets[0].getsockname()[1], 9):
            monkeypatch.setenv("https_proxy", f"http://user:hidden@127.0.0.1:{port}")
            monkeypatch.setenv("no_proxy", "")
            async with OpenAIClient("https://judge.invalid/v1", timeout_s=5, use_proxies=True) as client:
                with pytest.raises(RequestError) as caught:
                    await client.post("/chat/completions", b"{}")
                found.append(caught.value)
        proxy.close()
        return found

    refused, gone = asyncio.run(main())
    assert refused.failure is Failure.MISCONFIGURED and "asks for a name and a password (HTTP 407)" in str(refused)
    assert gone.failure is Failure.UNREACHABLE and "cannot be reached; see HTTP_PROXY" in str(gone)
    assert "hidden" not in f"{refused}{gone}"


def test_a_credentialed_row_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even to an address of this machine."""
    verdict, seen = proxied(monkeypatch, True, url="http://127.0.0.1:9/v1", use_proxies=True)
    assert verdict.failure is Failure.REFUSED and "a proxy stands between" in verdict.reason and seen == []


def test_what_verl_serves_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, seen = proxied(monkeypatch, False, kind="verl", url="http://127.0.0.1:9/v1", use_proxies=True)
    assert verdict.failure is Failure.UNREACHABLE and seen == []

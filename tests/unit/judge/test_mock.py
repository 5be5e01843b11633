# SPDX-License-Identifier: Apache-2.0
"""The mock judge: what it serves, its faults, that both are the same in every run, and the program around it."""

import asyncio
import json
import math
import signal
import subprocess
import sys
from typing import Any

import aiohttp
import pytest

from medix_verl.errors import ConfigError
from medix_verl.judge.mock import FAULTS, MockJudge, MockSpec, main, probability_of, verdict_of
from medix_verl.judge.prompt import fill, load_prompt
from medix_verl.types import Reference


async def post(session: aiohttp.ClientSession, mock: MockJudge, prompt: str, **more: Any) -> tuple[int, bytes]:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}
    async with session.post(f"{mock.url}/chat/completions", json=body) as answer:
        return answer.status, await answer.read()


def talk(spec: MockSpec, prompts: list[str], **more: Any) -> tuple[list[Any], dict[str, Any]]:
    """Replies (or the exception) to prompts asked at once, and the statistics."""

    async def run() -> tuple[list[Any], dict[str, Any]]:
        # Long enough for 200 requests on a busy machine; those that hang are waited for at the same time.
        timeout, connector = aiohttp.ClientTimeout(total=4 if spec.hang_share else 20), aiohttp.TCPConnector(limit=0)
        async with MockJudge(spec) as mock, aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            work = [post(session, mock, prompt, **more) for prompt in prompts]
            return await asyncio.gather(*work, return_exceptions=True), mock.stats()

    return asyncio.run(run())


def content(raw: bytes) -> str:
    return json.loads(raw)["choices"][0]["message"]["content"]


PROMPTS = [f"prompt {number}" for number in range(200)]


def test_verdicts_depend_on_the_prompt_alone() -> None:
    first, stats = talk(MockSpec(), PROMPTS)
    again, _ = talk(MockSpec(seed=7, slots=3, latency_ms=1), PROMPTS[::-1])
    words = [content(raw) for _, raw in first]
    assert words == [content(raw) for _, raw in again[::-1]]
    assert words == ["YES" if verdict_of(prompt) else "NO" for prompt in PROMPTS]
    assert 60 < words.count("YES") < 140
    assert stats["requests"] == stats["distinct"] == stats["answered"] == 200
    assert stats["unanswered"] == stats["in_flight"] == sum(stats["faults"].values()) == 0


@pytest.mark.parametrize(
    ("rule", "expected"), [("yes", ["YES", "YES"]), ("no", ["NO", "NO"]), ("contains:mass", ["YES", "NO"])]
)
def test_rules(rule: str, expected: list[str]) -> None:
    replies, _ = talk(MockSpec(verdict=rule), ["a mass", "a cyst"])
    assert [content(raw) for _, raw in replies] == expected


@pytest.mark.parametrize(
    ("candidate", "fooled"),
    [
        ("left lung", True),  # the reference itself
        ("the liver, the LEFT  Lung or the heart", True),  # a row of options that has it
        ("...", True),  # no word at all
        ("left", False),  # a part of it
        ("left lungs", False),  # another word
        ("right lung", False),
    ],
)
def test_a_fooled_judge_passes_options_and_punctuation(candidate: str, fooled: bool) -> None:
    asked = fill(load_prompt("reference"), candidate, Reference("Left lung.", question="Where?"), 2000)
    assert verdict_of(asked, "fooled") is fooled
    assert not verdict_of("another prompt, without fences", "fooled")


def test_a_schema_is_answered_with_json() -> None:
    ((_, raw),), _ = talk(MockSpec(verdict="yes"), ["x"], response_format={"type": "json_schema"})
    assert json.loads(content(raw)) == {"verdict": "YES"}


@pytest.mark.parametrize("format_", [{}, {"response_format": {"type": "json_schema"}}])
def test_log_probabilities(format_: dict[str, Any]) -> None:
    replies, _ = talk(MockSpec(), PROMPTS, logprobs=True, top_logprobs=20, max_tokens=1, **format_)
    for prompt, (_, raw) in zip(PROMPTS, replies, strict=True):
        choice = json.loads(raw)["choices"][0]
        tokens = choice["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
        verdict = next(token for token in tokens if token["token"] in ("YES", "NO"))
        mass = {True: 0.0, False: 0.0}
        for entry in verdict["top_logprobs"]:
            mass[entry["token"].strip().upper() == "YES"] += math.exp(entry["logprob"])
        assert mass[True] == pytest.approx(probability_of(prompt)) and sum(mass.values()) == pytest.approx(1)
        assert (mass[True] > 0.5) == verdict_of(prompt) == (verdict["token"] == "YES")


def test_each_kind_of_fault() -> None:
    spec = MockSpec(**{f"{kind}_share": 0.2 for kind in FAULTS}, retry_after=2, fail_status=429, verdict="yes")
    replies, stats = talk(spec, PROMPTS)
    expected = [spec.fault(prompt, 0) for prompt in PROMPTS]
    assert stats["faults"] == {kind: expected.count(kind) for kind in FAULTS}
    assert all(20 < count < 60 for count in stats["faults"].values())
    assert stats["answered"] == expected.count(None) == 0
    for kind, reply in zip(expected, replies, strict=True):
        if kind == "hang":
            assert isinstance(reply, asyncio.TimeoutError)
        elif kind == "drop":
            assert isinstance(reply, aiohttp.ClientError)
        elif kind == "fail":
            assert reply[0] == 429
        elif kind == "garbage":
            assert content(reply[1]).strip().upper() not in ("YES", "NO")
        else:
            with pytest.raises(ValueError, match="Unterminated|Expecting"):
                json.loads(reply[1])


def test_faults_follow_the_attempt_and_unanswered_prompts_are_counted() -> None:
    spec = MockSpec(fail_share=0.5, retry_after=0.5, seed=3)

    async def run() -> tuple[list[list[int]], dict[str, Any]]:
        async with MockJudge(spec) as mock, aiohttp.ClientSession() as session:
            # One flat list: Python 3.10 has no asynchronous comprehension inside another one.
            given = [(await post(session, mock, p))[0] for p in PROMPTS[:50] for _ in range(3)]
            return [given[place : place + 3] for place in range(0, len(given), 3)], mock.stats()

    statuses, stats = asyncio.run(run())
    assert statuses == [[503 if spec.fault(p, n) else 200 for n in range(3)] for p in PROMPTS[:50]]
    assert stats["unanswered"] == statuses.count([503] * 3) > 0
    assert stats["requests"] == 150 and stats["distinct"] == 50


def test_slots_limit_the_work_and_latency_is_kept() -> None:
    async def run() -> tuple[float, int]:
        async with MockJudge(MockSpec(slots=10, latency_ms=50)) as mock, aiohttp.ClientSession() as session:
            start = asyncio.get_running_loop().time()
            await asyncio.gather(*(post(session, mock, prompt) for prompt in PROMPTS[:40]))
            return asyncio.get_running_loop().time() - start, mock.stats()["in_flight_peak"]

    seconds, peak = asyncio.run(run())
    assert 0.2 <= seconds < 20 and peak == 40


def test_a_hanging_request_frees_its_slot_when_its_client_gives_up() -> None:
    async def run() -> dict[str, Any]:
        async with MockJudge(MockSpec(slots=1, hang_share=1)) as mock:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.1)) as session:
                for prompt in ("a", "b"):
                    with pytest.raises(asyncio.TimeoutError):
                        await post(session, mock, prompt)
            await asyncio.sleep(0.1)
            return mock.stats()

    stats = asyncio.run(run())
    assert stats["faults"]["hang"] == 2 and stats["in_flight"] == 0


def test_other_paths_and_bad_requests() -> None:
    async def run() -> list[tuple[int, Any]]:
        async with MockJudge() as mock, aiohttp.ClientSession() as session:
            await post(session, mock, "x")
            answers = []
            for path in ("/v1/models", "/stats", "/reset", "/nowhere"):
                async with session.get(mock.url.removesuffix("/v1") + path) as answer:
                    answers.append((answer.status, await answer.json()))
            async with session.post(f"{mock.url}/chat/completions", data=b"[]") as answer:
                answers.append((answer.status, await answer.json()))
            return answers

    models, stats, reset, nowhere, bad = asyncio.run(run())
    assert models[1]["data"][0]["id"] == "mock-judge"
    assert stats[1]["requests"] == 1 and reset[1]["requests"] == 0
    assert nowhere[0] == 404 and bad == (400, {"error": {"message": "bad request (TypeError)"}})


def test_stop_and_start_again_on_the_same_port() -> None:
    async def run() -> list[Any]:
        mock = MockJudge(MockSpec(verdict="yes"))
        outcomes: list[Any] = []
        async with aiohttp.ClientSession() as session:
            for step in (mock.start, mock.stop, mock.start):
                await step()
                outcomes += await asyncio.gather(post(session, mock, "x"), return_exceptions=True)
        await mock.stop()
        return outcomes

    up, down, again = asyncio.run(run())
    assert up[0] == again[0] == 200 and isinstance(down, aiohttp.ClientError)


def test_a_rate_limit_takes_so_many_in_any_second() -> None:
    async def run() -> tuple[list[int], dict[str, Any]]:
        async with MockJudge(MockSpec(per_second=4, retry_after=1)) as mock, aiohttp.ClientSession() as session:
            found = await asyncio.gather(*(post(session, mock, f"x{place}") for place in range(10)))
            await asyncio.sleep(1.05)
            found.append(await post(session, mock, "later"))
            body = json.dumps({"messages": [{"role": "user", "content": "x"}]})
            for _ in range(4):
                async with session.post(f"{mock.url}/chat/completions", data=body) as answer:
                    headers, status, raw = answer.headers, answer.status, await answer.json()
            assert status == 429 and headers["Retry-After"] == "1"
            assert raw["error"]["code"] == "rate_limit_exceeded"
            return [status for status, _ in found], mock.stats()

    statuses, stats = asyncio.run(run())
    assert statuses.count(200) == 5 and statuses.count(429) == 6 and statuses[-1] == 200
    assert stats["limited"] == 7 and stats["requests"] == 8, "what was refused was not asked"


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"per_second": 0}, "mock.per_second is 0"),
        ({"latency_ms": -1}, "mock.latency_ms is -1"),
        ({"slots": 0}, "mock.slots is 0"),
        ({"hang_share": 1.5}, "mock.hang_share is 1.5"),
        ({"hang_share": 0.6, "fail_share": 0.6}, "shares sum to 1.2; bring them to at most 1"),
        ({"fail_status": 200}, "mock.fail_status is 200"),
        ({"retry_after": -1}, "mock.retry_after is -1"),
        ({"seed": -1}, "mock.seed is -1"),
        ({"model": ""}, "mock.model is ''"),
        ({"verdict": "maybe"}, "mock.verdict is 'maybe'; accepted: hash, yes, no, fooled, contains:TEXT"),
    ],
)
def test_a_bad_setting(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        MockSpec(**fields)


def test_the_program_prints_its_address_first_and_ends_on_a_signal() -> None:
    words = ["--latency-ms", "1", "--verdict", "yes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "medix_verl.judge.mock", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        mock = MockJudge(port=int(url.split(":")[2].partition("/")[0]))
        assert mock.url == url

        async def run() -> tuple[int, bytes]:
            async with aiohttp.ClientSession() as session:
                return await post(session, mock, "x")

        status, raw = asyncio.run(run())
        assert (status, content(raw)) == (200, "YES")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        process.stdout.close()


def test_the_program_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--slots", "0"]) == 1
    assert capsys.readouterr().err.startswith("mock judge: error: mock.slots is 0")

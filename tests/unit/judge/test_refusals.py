# SPDX-License-Identifier: Apache-2.0
"""What a server refuses for one prompt costs that prompt; what it refuses for all closes it, until a probe succeeds."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from helpers import hosted
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Failure, Verdict

says, error, judged, prompt_of = hosted.says, hosted.error, hosted.judged, hosted.prompt_of

FLAGGED = [f"flagged finding {number}" for number in range(16)]
INNOCENT = [f"finding {number}" for number in range(500)]
LIMITS: dict[str, Any] = {"max_concurrent": 32, "breaker_seconds": 0.5}


def kinds(verdicts: list[Verdict]) -> Counter[str]:
    return Counter(verdict.failure.value if verdict.failure else "verdict" for verdict in verdicts)


REFUSALS = [
    (lambda: web.Response(status=403, text="<html>Request blocked.</html>"), "a firewall's page"),
    (lambda: error(403, "Your input was flagged"), "OpenRouter's moderation, without a code"),
    (lambda: web.Response(status=404, text="not found"), "a gateway that hides what it blocks"),
    (lambda: error(400, "flagged", code="content_filter"), "Azure's content filter"),
    (
        lambda: error(400, "flagged", code=None, innererror={"code": "ResponsibleAIPolicyViolation"}),
        "Azure's, as its inner error says",
    ),
    (lambda: error(403, "flagged", code="content_policy_violation"), "a code"),
    (lambda: web.Response(status=451, text="unavailable"), "for legal reasons"),
    (lambda: error(422, "the input is too long", code="context_length_exceeded"), "too long"),
    (lambda: says(None, finish="content_filter"), "a filter behind the model"),
    (lambda: says(None, refusal="I can't help with that."), "a refusal of OpenAI's structured outputs"),
]
"""What a server sends for one prompt."""


@pytest.mark.parametrize(
    ("refusal", "why", "breaker", "innocent"),
    [(*case, "wait", 80) for case in REFUSALS] + [(*REFUSALS[0], breaker, 500) for breaker in ("wait", "stop", "off")],
)
def test_flagged_prompts_cost_no_innocent_answer(refusal: Any, why: str, breaker: str, innocent: int) -> None:
    """The flagged ones come first, all at once."""

    def handle(body: dict[str, Any]) -> web.Response:
        return refusal() if "flagged" in prompt_of(body) else says("NO")

    verdicts, server = judged(handle, FLAGGED + INNOCENT[:innocent], breaker=breaker, **LIMITS)
    assert kinds(verdicts) == {"refused": 16, "verdict": innocent}, why
    assert [verdict.failure for verdict in verdicts[:16]] == [Failure.REFUSED] * 16
    assert len(server.bodies) <= innocent + 32, "no more than one neutral request for a refusal"


def test_flagged_prompts_one_after_the_other() -> None:
    """Nobody else is answered meanwhile: only a neutral request can tell."""

    def handle(body: dict[str, Any]) -> web.Response:
        return error(403, "flagged") if "flagged" in prompt_of(body) else says("NO")

    verdicts, server = judged(handle, FLAGGED, max_concurrent=1)
    assert kinds(verdicts) == {"refused": 16}
    assert "the server answers other requests, so it is this one that it refuses" in verdicts[0].reason
    neutral = [prompt_of(body) for body in server.bodies if "flagged" not in prompt_of(body)]
    assert set(neutral) == {"Reply with the single word YES."} and len(neutral) <= 16


WRONG = [
    (lambda: web.json_response({"detail": "Not Found"}, status=404), 40, "FastAPI: a wrong path"),
    (lambda: web.Response(status=403, text="forbidden"), 40, "a firewall that lets nobody through"),
    (lambda: error(404, "The model `m` does not exist", code="model_not_found"), 40, "OpenAI"),
    (
        lambda: web.json_response(
            {
                "error": {
                    "message": "The model `m` does not exist.",
                    "type": "NotFoundError",
                    "param": "model",
                    "code": 404,
                }
            },
            status=404,
        ),
        40,
        "vLLM",
    ),
    (lambda: error(404, "no such deployment", code="DeploymentNotFound"), 40, "Azure"),
    (lambda: error(400, "m is not a valid model", code="model_not_found"), 40, "with status 400"),
    (lambda: error(401, "Incorrect API key provided", code="invalid_api_key"), 40, "a wrong key"),
    (lambda: error(429, "You exceeded your current quota", code="insufficient_quota"), 40, "a spent quota"),
    (
        lambda: web.json_response({"error": {"message": "no key", "code": 401}}),
        40,
        "OpenRouter: an error with status 200",
    ),
]


@pytest.mark.parametrize(("refusal", "most", "why"), WRONG, ids=[why for *_, why in WRONG])
def test_what_concerns_all_closes_the_endpoint(refusal: Any, most: int, why: str) -> None:
    verdicts, server = judged(lambda body: refusal(), INNOCENT[:100], **{**LIMITS, "breaker_seconds": 60.0})
    assert kinds(verdicts) == {"misconfigured": 100}, why
    assert len(server.bodies) <= most, "the others are not sent at all"


@pytest.mark.parametrize(("place", "flagged"), [(0, 3), (1, 1), (2, 0), (6, 0)])
def test_a_probe_reopens_it(place: int, flagged: int) -> None:
    """The model is loaded a moment later; the first request that finds it so may be a flagged one."""
    refusal = WRONG[place][0]
    state = {"wrong": True}

    def handle(body: dict[str, Any]) -> web.Response:
        if state["wrong"] or "flagged" in prompt_of(body):
            return refusal()
        return says("NO")

    async def main() -> tuple[list[Verdict], list[Verdict]]:
        async with hosted.Hosted(handle) as server:
            spec = JudgeSpec(kind="openai", model="m", url=server.url, breaker_seconds=0.2)
            pool = hosted.JudgePool(spec, backoff_s=0.01)
            reference = hosted.Reference("pneumonia")

            async def ask(texts: list[str]) -> list[Verdict]:
                return await asyncio.gather(*(pool.ask(hosted.Question(text, reference)) for text in texts))

            first = await ask(INNOCENT[:50])
            state["wrong"] = False
            await asyncio.sleep(0.3)
            later = await ask(FLAGGED[:flagged] + INNOCENT[:50])
            await pool.close()
            return first, later

    first, later = asyncio.run(main())
    assert kinds(first) == {"misconfigured": 50}
    assert kinds(later) == Counter(refused=flagged, verdict=50)


def test_another_endpoint_takes_over() -> None:
    async def main() -> tuple[list[Verdict], int]:
        lacks = hosted.Hosted(lambda body: error(404, "no such page"))
        has = hosted.Hosted(lambda body: says("NO"))
        async with lacks, has:
            spec = JudgeSpec(kind="openai", model="m", url=(lacks.url, has.url), max_concurrent=16, max_retries=0)
            verdicts, _ = await hosted.ask_all(spec, INNOCENT)
            return verdicts, len(lacks.bodies)

    verdicts, asked = asyncio.run(main())
    assert kinds(verdicts) == {"verdict": 500} and asked <= 40


def test_a_spent_quota_is_told_and_not_waited_for() -> None:
    spent = error(429, "You exceeded your current quota", type="insufficient_quota", code="insufficient_quota")
    verdicts, server = judged(lambda body: hosted.web.json_response(body=spent.body, status=429))
    assert verdicts[0].failure is Failure.MISCONFIGURED and "exceeded your current quota" in verdicts[0].reason
    assert len(server.bodies) == 1


@pytest.mark.parametrize("header", ["1", "date", "ms"])
def test_a_rate_limit_over_the_wire_costs_nothing(header: str, caplog: pytest.LogCaptureFixture) -> None:
    """OpenAI's body, each form of the header; ten requests in any half second, and no retries."""
    from datetime import datetime, timedelta, timezone
    from email.utils import format_datetime

    taken: list[float] = []

    def handle(body: dict[str, Any]) -> web.Response:
        now = asyncio.get_running_loop().time()
        taken[:] = [moment for moment in taken if moment > now - 0.5]
        if len(taken) < 10:
            taken.append(now)
            return says("NO")
        soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
        headers = {"1": {"Retry-After": "1"}, "date": {"Retry-After": soon}, "ms": {"retry-after-ms": "500"}}[header]
        return error(429, "Rate limit reached", headers, type="requests", code="rate_limit_exceeded")

    verdicts, server = judged(handle, INNOCENT[:60], max_retries=0, max_concurrent=32)
    assert kinds(verdicts) == {"verdict": 60}
    assert len(server.bodies) < 60 * 2
    lines = [record.getMessage() for record in caplog.records if "wants fewer requests" in record.getMessage()]
    assert len(lines) == 1 and "judge.max_per_minute" in lines[0] and "judge.max_concurrent" in lines[0]


def test_a_server_that_is_always_over_its_limit_ends_in_bounded_time() -> None:
    verdicts, _ = judged(
        lambda body: error(429, "slow down", code="rate_limit_exceeded"), INNOCENT[:50], timeout_s=0.3, max_retries=1
    )
    assert kinds(verdicts) == {"rate_limited": 50} and "judge.max_per_minute" in verdicts[-1].reason

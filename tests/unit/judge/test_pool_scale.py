# SPDX-License-Identifier: Apache-2.0
"""The pool with many questions and several servers: asked once, kept, spread, retried elsewhere, given up in time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medix_verl.judge.judge import Question, connect_judge
from medix_verl.judge.mock import MockJudge, MockSpec, probability_of, verdict_of
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Failure, Reference, Verdict

REFERENCE = Reference("pneumonia", question="What is seen?")
SPEC = JudgeSpec(kind="openai", model="m", timeout_s=5.0, max_retries=3, breaker_seconds=0.2)


def pool(*mocks: MockJudge, **changes: Any) -> JudgePool:
    urls = tuple(mock.url for mock in mocks) or ("http://127.0.0.1:1/v1",)
    return JudgePool(replace(SPEC, url=urls, **changes), backoff_s=0.01)


async def ask_all(judge: JudgePool, count: int) -> list[Verdict]:
    """Ask distinct questions; whatever is a verdict is the server's."""
    try:
        verdicts = await asyncio.gather(
            *(judge.ask(Question(f"finding {number}", REFERENCE)) for number in range(count))
        )
    finally:
        await judge.close()
    for number, verdict in enumerate(verdicts):
        if verdict.ok:
            prompt = judge.writer.prompt(f"finding {number}", REFERENCE)
            assert verdict.correct is verdict_of(prompt)
    return verdicts


def with_mocks(*specs: MockSpec) -> Callable[[Callable[..., Awaitable[None]]], None]:
    """Run a test body with started servers."""

    def run(body: Callable[..., Awaitable[None]]) -> None:
        async def main() -> None:
            mocks = [MockJudge(spec) for spec in specs]
            for mock in mocks:
                await mock.start()
            try:
                await body(*mocks)
            finally:
                for mock in mocks:
                    await mock.stop()

        asyncio.run(main())

    return run


def test_equal_questions_are_asked_once() -> None:
    async def body(mock: MockJudge) -> None:
        judge = pool(mock)
        verdicts = await asyncio.gather(*(judge.ask(Question(f"finding {n % 7}", REFERENCE)) for n in range(700)))
        again = await asyncio.gather(*(judge.ask(Question(f"finding {n % 7}", REFERENCE)) for n in range(700)))
        assert verdicts == again and all(verdict.ok for verdict in verdicts)
        stats = judge.take_stats()
        assert (mock.stats()["requests"], stats.calls, stats.joined, stats.cache_hits) == (7, 7, 693, 700)
        assert judge.stats().asked == 0
        await judge.close()

    with_mocks(MockSpec(latency_ms=20))(body)


def test_one_waiter_gives_up_and_the_others_do_not() -> None:
    async def body(mock: MockJudge) -> None:
        judge = pool(mock)
        tasks = [asyncio.ensure_future(judge.ask(Question("finding", REFERENCE))) for _ in range(3)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        assert [verdict.ok for verdict in await asyncio.gather(*tasks[1:])] == [True, True]
        assert tasks[0].cancelled() and mock.stats()["requests"] == 1
        await judge.close()

    with_mocks(MockSpec(latency_ms=200))(body)


def test_when_nobody_waits_the_request_ends() -> None:
    async def body(mock: MockJudge) -> None:
        judge = pool(mock)
        task = asyncio.ensure_future(judge.ask(Question("finding", REFERENCE)))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        assert mock.stats()["in_flight"] == 0 and judge.stats().inflight == 0
        assert judge.state().dispatcher.endpoints[0].active == 0
        await judge.close()

    with_mocks(MockSpec(hang_share=1.0))(body)


def test_a_failure_is_asked_again_and_a_verdict_is_not(tmp_path: Path) -> None:
    async def body(bad: MockJudge, good: MockJudge) -> None:
        cache = str(tmp_path / "verdicts.sqlite")
        first = pool(bad, cache=cache, max_retries=0)
        assert not (await first.ask(Question("finding", REFERENCE))).ok
        await first.close()
        for _ in range(2):  # the second one finds the verdict that the first one wrote
            judge = pool(good, cache=cache)
            assert (await judge.ask(Question("finding", REFERENCE))).ok
            await judge.close()
        assert good.stats()["requests"] == 1

    with_mocks(MockSpec(fail_share=1.0), MockSpec())(body)


def test_the_load_is_spread() -> None:
    async def body(fast: MockJudge, slow: MockJudge) -> None:
        await ask_all(pool(fast, slow, max_concurrent=20), 200)
        assert fast.stats()["requests"] + slow.stats()["requests"] == 200
        assert fast.stats()["requests"] > 1.5 * slow.stats()["requests"] > 20

    with_mocks(MockSpec(latency_ms=10), MockSpec(latency_ms=50))(body)


def test_a_retry_goes_elsewhere() -> None:
    async def body(bad: MockJudge, good: MockJudge) -> None:
        verdicts = await ask_all(pool(bad, good, max_retries=1, breaker_failures=1000), 60)
        assert all(verdict.ok for verdict in verdicts)
        assert bad.stats()["requests"] > 10

    with_mocks(MockSpec(fail_share=1.0), MockSpec(latency_ms=5))(body)


def test_a_server_without_the_model_is_avoided() -> None:
    async def body(wrong: MockJudge, good: MockJudge) -> None:
        judge = pool(wrong, good, max_retries=0, max_concurrent=10)
        assert all(verdict.ok for verdict in await ask_all(judge, 200))
        assert wrong.stats()["requests"] < 40
        assert judge.stats().failures["misconfigured"] == wrong.stats()["requests"]

    with_mocks(MockSpec(fail_share=1.0, fail_status=404), MockSpec(latency_ms=5))(body)


def test_when_every_server_refuses_nobody_waits() -> None:
    async def body(*mocks: MockJudge) -> None:
        start = time.monotonic()
        verdicts = await ask_all(pool(*mocks, max_concurrent=10, breaker_seconds=60.0), 200)
        assert not any(verdict.ok for verdict in verdicts)
        assert all("HTTP 404" in verdict.reason for verdict in verdicts)
        assert time.monotonic() - start < 20

    with_mocks(*[MockSpec(fail_share=1.0, fail_status=404)] * 2)(body)


def test_an_outage_is_waited_for() -> None:
    async def main() -> None:
        mock = MockJudge(MockSpec(latency_ms=5))
        await mock.start()
        judge = pool(mock, max_concurrent=10, max_retries=1)
        asking = asyncio.ensure_future(ask_all(judge, 300))
        await asyncio.sleep(0.05)
        await mock.stop()
        await asyncio.sleep(1.0)
        await mock.start()
        assert all(verdict.ok for verdict in await asking)
        await mock.stop()

    asyncio.run(main())


def test_an_outage_that_lasts_is_given_up() -> None:
    async def main() -> None:
        judge = pool(timeout_s=0.2, max_retries=1, max_concurrent=10)
        start = time.monotonic()
        verdicts = await ask_all(judge, 500)
        assert time.monotonic() - start < 20
        assert not any(verdict.ok for verdict in verdicts)
        assert any("every endpoint is down, the last failure: connection failed" in v.reason for v in verdicts)
        stats = judge.stats()
        assert stats.unscored == 500 and stats.failures["unreachable"] > 400 and stats.calls < 60

    asyncio.run(main())


@pytest.mark.parametrize(
    "faults",
    [
        {"fail_share": 0.3},
        {"truncate_share": 0.3},
        {"drop_share": 0.3},
        {"garbage_share": 0.3},
        {"hang_share": 0.1},
        {"fail_share": 0.2, "garbage_share": 0.1, "truncate_share": 0.1, "drop_share": 0.1},
    ],
    ids=lambda faults: "+".join(faults),
)
def test_what_is_unscored_is_what_was_never_answered(faults: dict[str, float]) -> None:
    async def body(mock: MockJudge) -> None:
        # Only a hang needs the timeout; elsewhere a busy machine must not run into it.
        timeout_s = 3.0 if "hang_share" in faults else 60.0
        verdicts = await ask_all(pool(mock, timeout_s=timeout_s, max_retries=2), 300)
        unscored = sum(not verdict.ok for verdict in verdicts)
        assert unscored == mock.stats()["unanswered"]
        assert all(verdict.reason for verdict in verdicts if not verdict.ok)

    with_mocks(MockSpec(latency_ms=5, **faults))(body)  # type: ignore[arg-type]


def test_the_rate_limit_holds() -> None:
    async def body(mock: MockJudge) -> None:
        start = time.monotonic()
        await ask_all(pool(mock, max_per_minute=600), 15)
        # Ten at once, then one in 60/591 s.
        assert 0.45 < time.monotonic() - start < 20

    with_mocks(MockSpec())(body)


def test_ten_thousand_questions_wait_without_prompts() -> None:
    async def body(mock: MockJudge) -> None:
        judge = pool(mock, max_concurrent=64, max_inflight=1000)
        written = 0
        write = judge.writer.prompt

        def count(candidate: str, reference: Reference) -> str:
            nonlocal written
            written += 1
            return write(candidate, reference)

        judge.writer.prompt = count  # type: ignore[method-assign]
        tasks = [asyncio.ensure_future(judge.ask(Question(f"finding {n}", REFERENCE))) for n in range(10_000)]
        await asyncio.sleep(0.3)
        assert written <= 1000 and mock.stats()["in_flight"] <= 64 and len(judge.state().flights) <= 1000
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert judge.stats().inflight == 0
        await judge.close()

    with_mocks(MockSpec(hang_share=1.0))(body)


def test_soft_verdicts() -> None:
    async def body(mock: MockJudge) -> None:
        judge = pool(mock, soft=True)
        for number in range(20):
            candidate = f"finding {number}"
            verdict = await judge.ask(Question(candidate, REFERENCE))
            prompt = judge.writer.prompt(candidate, REFERENCE)
            assert verdict.probability == pytest.approx(probability_of(prompt))
            assert verdict.correct is verdict_of(prompt)
            assert await judge.ask(Question(candidate, REFERENCE)) == verdict, "the cache keeps the probability"
        assert judge.stats().soft_missing == 0
        await judge.close()
        hard = pool(mock)
        assert (await hard.ask(Question("finding 1", REFERENCE))).probability is None
        await hard.close()

    with_mocks(MockSpec())(body)


class Steered(MockJudge):
    """Says what a function of the prompt says, and never gives log-probabilities."""

    verdict: Callable[[str], str]

    def reply(self, body: dict[str, Any], prompt: str) -> bytes:
        return (
            super()
            .reply({}, prompt)
            .replace(b'"YES"', b"@")
            .replace(b'"NO"', b"@")
            .replace(b"@", f'"{self.verdict(prompt)}"'.encode())
        )


def steered(verdict: Callable[[str], str], **changes: Any) -> tuple[Verdict, int, Any]:
    async def main() -> tuple[Verdict, int, Any]:
        mock = Steered()
        mock.verdict = verdict
        async with mock:
            judge = pool(mock, **changes)
            found = await judge.ask(Question("finding\nin the lung", REFERENCE))
            await judge.close()
            return found, mock.stats()["requests"], judge.stats()

    return asyncio.run(main())


def test_a_server_without_log_probabilities_gives_hard_verdicts() -> None:
    verdict, _, stats = steered(lambda prompt: "YES", soft=True)
    assert verdict == Verdict(True, "m") and stats.soft_missing == 1


@pytest.mark.parametrize(
    ("forward", "backward", "expected", "calls"),
    [
        ("YES", "YES", Verdict(True, "m"), 2),
        ("YES", "NO", Verdict(False, "m", "swap"), 2),
        ("NO", "YES", Verdict(False, "m"), 1),
        ("YES", "perhaps", None, 2),
    ],
)
def test_swap(forward: str, backward: str, expected: Verdict | None, calls: int) -> None:
    prompts: list[str] = []

    def verdict(prompt: str) -> str:
        prompts.append(prompt)
        return forward if "> finding" in prompt else backward

    found, requests, stats = steered(verdict, swap=True)
    assert requests == calls and stats.swap_splits == (expected is not None and expected.reason == "swap")
    if expected is None:
        assert found.correct is None and "is not a verdict" in found.reason
    else:
        assert found == expected
    if calls == 2:
        assert "\nfinding in the lung\n" in prompts[1] and "> pneumonia" in prompts[1]


def test_connect_without_ray_is_a_pool_of_this_process() -> None:
    assert isinstance(connect_judge(JudgeSpec()).judge, RuleJudge)
    assert isinstance(connect_judge(replace(SPEC, url="http://h/v1")).judge, JudgePool)
    verl = connect_judge(replace(SPEC, kind="verl", worker=False), served_url="h:1")
    assert isinstance(verl.judge, JudgePool) and verl.endpoints == ("http://h:1/v1",)


def test_without_a_breaker_what_comes_after_an_outage_is_judged() -> None:
    """What `score` and `audit-judge` use: a question fails by its own retries, and the next one is asked."""

    @with_mocks(MockSpec())
    async def _(mock: MockJudge) -> None:
        judge = pool(mock, breaker="off", breaker_failures=1, max_retries=0)
        await mock.stop()
        lost = [await judge.ask(Question(f"lost {number}", REFERENCE)) for number in range(3)]
        assert [verdict.failure for verdict in lost] == [Failure.UNREACHABLE] * 3
        await mock.start()
        assert (await judge.ask(Question("back", REFERENCE))).ok
        await judge.close()

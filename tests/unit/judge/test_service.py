# SPDX-License-Identifier: Apache-2.0
"""What a reward process sends to the shared worker, with a worker that dies, and without Ray."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from medix_verl.errors import ConfigError
from medix_verl.judge.judge import GuardedJudge
from medix_verl.judge.mock import MockJudge, MockSpec, verdict_of
from medix_verl.judge.prompt import Writer
from medix_verl.judge.service import RemoteJudge, actor_spec, collect_stats, share_of
from medix_verl.judge.spec import JudgeSpec
from medix_verl.runtime.shared_actor import ActorError, ActorHost, Answers, LostActorError, in_ray
from medix_verl.types import Failure, Reference, Verdict

REFERENCE = Reference("pneumonia", question="What is seen?")
SPEC = JudgeSpec(kind="openai", model="m", max_retries=1, timeout_s=5.0)


class HereLink:
    """A worker in this process that dies before, or in the middle of, some calls."""

    def __init__(self, spec: JudgeSpec, deaths: Sequence[str] = ()) -> None:
        self.spec = actor_spec(spec, 0, spec.urls, "m")
        self.deaths = list(deaths)
        self.batches: list[int] = []
        self.start()

    def start(self) -> None:
        self.host = ActorHost(self.spec.factory, self.spec.args, self.spec.settings, self.spec.title)

    def die(self, moment: str) -> None:
        if self.deaths and self.deaths[0] == moment:
            self.deaths.pop(0)
            self.start()
            raise LostActorError(f"died before {moment}")

    async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
        self.batches.append(len(items))
        self.die("ask")
        return await self.host.ask(self.spec.settings, items, note)

    async def rest(self, ticket: str) -> Answers:
        self.die("rest")
        answers = await self.host.rest(ticket)
        if answers is None:
            raise LostActorError("restarted")
        return answers

    async def call(self, method: str, *args: Any) -> Any:
        return await self.host.call(method, *args)


def guarded(spec: JudgeSpec, *links: HereLink, **client: Any) -> GuardedJudge:
    remote = RemoteJudge(spec, spec.urls, "m", links, pause_s=lambda attempt: 0.01, **client)
    return GuardedJudge(remote, spec, remote.counters)


def test_a_credentialed_row_is_in_no_batch_to_a_judge_elsewhere() -> None:
    async def ask(url: str) -> tuple[HereLink, str]:
        spec = replace(SPEC, url=url)
        link = HereLink(spec)
        judge = guarded(spec, link)
        try:
            await judge.ask("a cyst", replace(REFERENCE, credentialed_row="row 'q7' of mimic-cxr"))
        except ConfigError as error:
            return link, str(error)
        finally:
            await judge.close()
        return link, ""

    link, refused = asyncio.run(ask("http://93.184.216.34/v1"))
    assert "row 'q7' of mimic-cxr" in refused and "http://93.184.216.34/v1" in refused and link.batches == []
    link, refused = asyncio.run(ask("http://127.0.0.1:9/v1"))
    assert refused == "" and link.batches == [1]


class BrokenLink(HereLink):
    async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
        raise ActorError("it cannot be started")


async def ask_all(judge: GuardedJudge, count: int) -> list[Verdict]:
    verdicts = await asyncio.gather(*(judge.ask(f"finding {number}", REFERENCE) for number in range(count)))
    for number, verdict in enumerate(verdicts):
        if verdict.ok:
            prompt = Writer(judge.spec, "m").prompt(f"finding {number}", REFERENCE)
            assert verdict.correct is verdict_of(prompt)
    return verdicts


def test_one_tick_is_one_call() -> None:
    async def main() -> None:
        async with MockJudge() as mock:
            spec = replace(SPEC, url=mock.url)
            link = HereLink(spec)
            judge = guarded(spec, link)
            assert all(verdict.ok for verdict in await ask_all(judge, 100))
            assert link.batches == [100]
            assert (await judge.ask("Pneumonia", REFERENCE)).source == "equality"
            assert (await judge.ask(":", REFERENCE)).source == "guard"
            assert link.batches == [100]
            await judge.ask("more", REFERENCE)
            stats = await judge.judge.stats()
            assert (stats.asked, stats.calls, stats.equality, stats.guard_hits) == (103, 101, 1, 1)
            await judge.close()

    asyncio.run(main())


def test_what_needed_no_call_is_told_once_however_many_batches_overlap() -> None:
    async def main() -> None:
        async with MockJudge(MockSpec(latency_ms=200)) as mock:
            spec = replace(SPEC, url=mock.url)
            judge = guarded(spec, HereLink(spec, deaths=["ask"]))
            for _ in range(10):
                await judge.ask(":", REFERENCE)
                judge.counters.note_equality()
            batches = []
            for number in range(5):
                batches.append(asyncio.ensure_future(judge.ask(f"finding {number}", REFERENCE)))
                await asyncio.sleep(0.02)
            assert all(verdict.ok for verdict in await asyncio.gather(*batches))
            assert (await judge.ask("more", REFERENCE)).ok
            stats = await judge.judge.stats()
            # One batch was lost on its way and sent again, with what it told.
            assert (stats.equality, stats.guard_hits, stats.retries, stats.asked) == (10, 10, 1, 26)
            assert judge.counters.take_answered_locally() == (0, 0, 0, 0)
            await judge.close()

    asyncio.run(main())


def test_slow_answers_do_not_hold_up_the_others() -> None:
    async def main() -> None:
        async with MockJudge(MockSpec(hang_share=0.2)) as mock:
            spec = replace(SPEC, url=mock.url, timeout_s=1.0, max_retries=8)
            judge = guarded(spec, HereLink(spec))
            done: list[float] = []
            start = asyncio.get_running_loop().time()

            async def one(number: int) -> None:
                assert (await judge.ask(f"finding {number}", REFERENCE)).ok
                done.append(asyncio.get_running_loop().time() - start)

            await asyncio.gather(*(one(number) for number in range(50)))
            assert sorted(done)[25] < 0.9 < done[-1]

    asyncio.run(main())


@pytest.mark.parametrize("deaths", [("ask",), ("ask", "ask", "ask"), ("rest",), ("ask", "rest", "ask", "rest")])
def test_a_worker_that_dies_is_asked_again(deaths: tuple[str, ...]) -> None:
    async def main() -> None:
        async with MockJudge(MockSpec(latency_ms=20, slots=10)) as mock:
            spec = replace(SPEC, url=mock.url)
            link = HereLink(spec, deaths)
            assert all(verdict.ok for verdict in await ask_all(guarded(spec, link), 60))
            assert link.deaths == []

    asyncio.run(main())


def test_a_worker_that_stays_away_leaves_answers_unscored() -> None:
    async def main() -> None:
        spec = replace(SPEC, url="http://127.0.0.1:1/v1")
        judge = guarded(spec, HereLink(spec, ["ask"] * 1000), patience_s=0.2)
        verdict = await judge.ask("finding", REFERENCE)
        assert verdict == Verdict(
            None, "m", "the judge worker did not come back: died before ask", failure=Failure.INTERNAL
        )

    asyncio.run(main())


def test_a_worker_that_refuses_is_not_asked_again() -> None:
    async def main() -> None:
        spec = replace(SPEC, url="http://127.0.0.1:1/v1")
        verdict = await guarded(spec, BrokenLink(spec)).ask("finding", REFERENCE)
        assert verdict == Verdict(None, "m", "the judge worker failed: it cannot be started", failure=Failure.INTERNAL)

    asyncio.run(main())


def test_equal_questions_meet_in_the_same_worker() -> None:
    async def main() -> None:
        async with MockJudge(MockSpec(latency_ms=5)) as mock:
            spec = replace(SPEC, url=mock.url)
            links = [HereLink(spec) for _ in range(3)]
            judges = [guarded(spec, *links) for _ in range(4)]
            await asyncio.gather(*(ask_all(judge, 90) for judge in judges))
            assert mock.stats()["requests"] == 90
            assert all(link.batches for link in links)

    asyncio.run(main())


def test_a_cancelled_asker_and_a_closed_judge() -> None:
    async def main() -> None:
        async with MockJudge(MockSpec(hang_share=1.0)) as mock:
            spec = replace(SPEC, url=mock.url)
            judge = guarded(spec, HereLink(spec))
            task = asyncio.ensure_future(judge.ask("finding", REFERENCE))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await judge.close()
            await judge.close()

    asyncio.run(main())


def test_other_settings_are_refused() -> None:
    worker = HereLink(replace(SPEC, url="http://h/v1")).host
    with pytest.raises(ActorError, match="the run's judge worker has other settings; give all reward processes"):
        asyncio.run(worker.ask("something else", [], (0, 0)))


def test_shares_sum_to_the_limits() -> None:
    spec = replace(SPEC, workers=3, max_concurrent=10, max_per_minute=100, max_inflight=1000)
    shares = [share_of(spec, place) for place in range(3)]
    for name in ("max_concurrent", "max_per_minute", "max_inflight"):
        assert sum(getattr(share, name) for share in shares) == getattr(spec, name)
    assert share_of(SPEC, 0).max_per_minute is None


def test_without_ray() -> None:
    assert not in_ray()
    assert collect_stats() == {}

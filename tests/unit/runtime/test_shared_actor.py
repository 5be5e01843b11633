# SPDX-License-Identifier: Apache-2.0
"""A service behind an actor, without Ray: batches, tickets, an actor that dies, and what a client is told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from medix_verl.runtime import shared_actor
from medix_verl.runtime.shared_actor import (
    ActorError,
    ActorHost,
    Answers,
    BatchingClient,
    LostActorError,
    as_they_come,
    call_named,
    in_ray,
    tell_named,
)


class Doubler:
    """Twice each number; a negative one takes as many milliseconds, and 13 is a bug."""

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor
        self.asked: list[int] = []
        self.lines: list[Any] = []
        self.ended = 0

    async def one(self, number: int) -> int:
        self.asked.append(number)
        if number == 13:
            raise KeyError("thirteen")
        try:
            await asyncio.sleep(max(0.0, -number / 1000))
        except asyncio.CancelledError:
            self.ended += 1
            raise
        return self.factor * number

    async def answer(self, items: Sequence[int]) -> AsyncIterator[list[tuple[int, int]]]:
        async for group in as_they_come([self.one(item) for item in items]):
            yield group

    def note(self, lines: Any) -> None:
        self.lines.append(lines)

    async def close(self) -> None: ...

    def count(self, more: int = 0) -> int:
        return len(self.asked) + more

    async def later(self) -> str:
        await asyncio.sleep(0)
        return "later"


class HereLink:
    """An actor in this process that dies before, or in the middle of, some calls."""

    def __init__(self, deaths: Sequence[str] = (), settings: str = "") -> None:
        self.deaths = list(deaths)
        self.settings = settings
        self.batches: list[int] = []
        self.lives = 0
        self.start()

    def start(self) -> None:
        self.lives += 1
        self.host = ActorHost(Doubler, (2,), self.settings, "judge worker")

    def die(self, moment: str) -> None:
        if self.deaths and self.deaths[0] == moment:
            self.deaths.pop(0)
            self.start()
            raise LostActorError(f"died before {moment}")

    async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
        self.batches.append(len(items))
        self.die("ask")
        answers = await self.host.ask(self.settings, items, note)
        self.die("reply")
        return answers

    async def rest(self, ticket: str) -> Answers:
        self.die("rest")
        answers = await self.host.rest(ticket)
        if answers is None:
            raise LostActorError("restarted")
        return answers

    async def call(self, method: str, *args: Any) -> Any:
        return await self.host.call(method, *args)


def client(*links: Any, **changes: Any) -> BatchingClient[int, Any]:
    given = {"failed": str, "patience_s": 5.0, "pause_s": lambda attempt: 0.01, "title": "judge worker", **changes}
    return BatchingClient(links, **given)


async def ask_all(asker: BatchingClient[int, Any], numbers: Sequence[int]) -> None:
    found = await asyncio.gather(*(asker.ask(number, abs(number)) for number in numbers))
    assert found == [2 * number for number in numbers]


# What an actor answers.


def test_the_first_answers_come_back_with_a_ticket_for_the_rest() -> None:
    async def main() -> None:
        host = ActorHost(Doubler)
        assert await host.ask("", []) == ([], None)
        answers, ticket = await host.ask("", [1, -300, 2, -40])
        assert sorted(answers) == [(0, 2), (2, 4)] and ticket is not None
        more, second = await host.rest(ticket) or ([], None)
        assert more == [(3, -80)] and second not in (None, ticket)
        assert await host.rest(str(ticket)) is None, "a ticket is good once"
        assert await host.rest(str(second)) == ([(1, -600)], None)
        assert host.batches == {}

    asyncio.run(main())


def test_answers_of_nearly_one_moment_come_together() -> None:
    async def at_once() -> bool:
        answers, ticket = await ActorHost(Doubler).ask("", [1, -1, -2, -3])
        return len(answers) == 4 and ticket is None

    # A machine that is busy elsewhere may take longer than the moment, but not each time.
    assert any(asyncio.run(at_once()) for _ in range(5))


def test_other_settings_are_refused() -> None:
    host = ActorHost(Doubler, settings="these", title="judge worker")
    with pytest.raises(ActorError, match="the run's judge worker has other settings; give all reward processes the"):
        asyncio.run(host.ask("something else", [1]))


def test_a_bug_of_the_service_is_told_after_what_was_answered() -> None:
    async def main() -> None:
        host = ActorHost(Doubler)
        with pytest.raises(KeyError, match="thirteen"):
            await host.ask("", [13])
        asker = client(link := HereLink())
        found = await asyncio.gather(*(asker.ask(number) for number in (1, 13, -50, 2)))
        assert found == [2, "the judge worker failed: 'thirteen'", -100, 4] and link.batches == [4]

    asyncio.run(main())


def test_notes_are_told_and_other_methods_called() -> None:
    async def main() -> None:
        host = ActorHost(Doubler)
        await host.ask("", [1], (3, 4))
        await host.ask("", [1], None)
        assert host.service.lines == [(3, 4)]
        assert (await host.call("count", 10), await host.call("later")) == (12, "later")
        for name in ("gone", "_private", "__init__", "factor"):
            with pytest.raises(ActorError, match=f"has no method '{name}'"):
                await host.call(name)

    asyncio.run(main())


def test_a_batch_that_nobody_comes_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        host = ActorHost(Doubler)
        _, first = await host.ask("", [1, -60_000, -60_000])
        _, second = await host.ask("", [1, -60_000])
        assert list(host.batches) == [first, second]
        monkeypatch.setattr(shared_actor, "KEEP_S", 0.05)
        await asyncio.sleep(0.06)
        _, third = await host.ask("", [1, -60_000])
        assert list(host.batches) == [third]
        await asyncio.sleep(0.01)
        assert host.service.ended == 3

    asyncio.run(main())


def test_an_asker_that_is_cancelled_ends_its_batch() -> None:
    async def main() -> None:
        host = ActorHost(Doubler)
        task = asyncio.ensure_future(host.ask("", [-60_000, -60_000]))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        assert host.service.ended == 2 and host.batches == {}

    asyncio.run(main())


# What a client makes of it.


def test_one_tick_is_one_call() -> None:
    async def main() -> None:
        link = HereLink()
        asker = client(link)
        await ask_all(asker, range(100, 200))
        assert link.batches == [100]
        await ask_all(asker, [1])
        assert link.batches == [100, 1]
        assert await asker.call_all("count") == [101]

    asyncio.run(main())


def test_a_batch_has_a_limit_and_so_has_what_waits() -> None:
    async def main() -> None:
        link = HereLink()
        await ask_all(client(link, max_items=16, max_waiting=40), range(100, 200))
        assert max(link.batches) <= 16 and sum(link.batches) == 100

    asyncio.run(main())


def test_equal_questions_are_one_where_the_client_says_so() -> None:
    async def main() -> None:
        link = HereLink()
        await ask_all(client(link, join_equal=True, delay_s=0.0), [5, 6, 5, 5, 6])
        assert link.host.service.asked == [5, 6]
        await ask_all(client(link), [5, 5])
        assert link.host.service.asked == [5, 6, 5, 5]

    asyncio.run(main())


def test_slow_answers_do_not_hold_up_the_others() -> None:
    async def main() -> None:
        asker, done, start = client(HereLink()), [], time.monotonic()

        async def one(number: int) -> None:
            await asker.ask(number)
            done.append(time.monotonic() - start)

        await asyncio.gather(*(one(number) for number in [*range(20, 70), -600]))
        assert sorted(done)[49] < 0.5 < done[-1]

    asyncio.run(main())


@pytest.mark.parametrize(
    "deaths", [("ask",), ("ask", "ask", "ask"), ("rest",), ("reply",), ("ask", "rest", "reply", "ask", "rest")]
)
@pytest.mark.parametrize("join", [False, True])
def test_an_actor_that_dies_is_asked_again(deaths: tuple[str, ...], join: bool) -> None:
    async def main() -> None:
        link, again = HereLink(deaths), []
        asker = client(link, on_lost=lambda: again.append(1), join_equal=join)
        await ask_all(asker, [*range(20, 40), *range(-120, -20, 2), 20, -120])
        assert link.deaths == []
        assert link.lives == 1 + len(deaths) and len(again) >= len(deaths)

    asyncio.run(main())


def test_what_was_answered_is_not_asked_again() -> None:
    async def main() -> None:
        link = HereLink(["rest"])
        await ask_all(client(link), [1, 2, 3, -80])
        assert link.batches == [4, 1]

    asyncio.run(main())


def test_actors_share_the_questions_by_their_place() -> None:
    async def main() -> None:
        links = [HereLink(["rest"]), HereLink(), HereLink(["ask"])]
        askers = [client(*links) for _ in range(3)]
        await asyncio.gather(*(ask_all(asker, [*range(14, 90), *range(-60, 0)]) for asker in askers))
        for place, link in enumerate(links):
            assert {abs(number) % 3 for number in link.host.service.asked} == {place}
        assert await askers[0].call_all("later") == ["later"] * 3

    asyncio.run(main())


def test_an_actor_that_stays_away_leaves_questions_without_an_answer() -> None:
    async def main() -> None:
        asker = client(HereLink(["ask"] * 1000), patience_s=0.1)
        assert await asker.ask(1) == "the judge worker did not come back: died before ask"

    asyncio.run(main())


def test_an_actor_that_is_lost_again_and_again_but_goes_on_is_waited_for() -> None:
    async def main() -> None:
        deaths = ["rest"] * 5
        await ask_all(client(HereLink(deaths), patience_s=0.15), range(-300, 0, 50))

    asyncio.run(main())


class BrokenLink(HereLink):
    """An actor that cannot be started, or whose calls fail in another way."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
        self.batches.append(len(items))
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ActorError("it cannot be\n  started"), "the judge worker failed: it cannot be started"),
        (TypeError(), "the judge worker failed: TypeError"),
        (ActorError("x" * 1000), "the judge worker failed: " + "x" * 275),
    ],
)
def test_an_actor_that_refuses_is_not_asked_again(error: BaseException, reason: str) -> None:
    async def main() -> None:
        link = BrokenLink(error)
        assert await asyncio.gather(*(client(link).ask(1) for _ in range(3))) == [reason] * 3
        assert link.batches == [1] * 3

    asyncio.run(main())


def test_what_the_actor_leaves_out_is_told() -> None:
    class Silent(HereLink):
        async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
            return [(0, 2)], None

    async def main() -> None:
        asker = client(Silent())
        assert await asyncio.gather(asker.ask(1), asker.ask(2)) == [2, "the judge worker left it unanswered"]

    asyncio.run(main())


def test_what_makes_no_result_is_raised() -> None:
    def failed(reason: str) -> Any:
        raise ZeroDivisionError(reason)

    async def main() -> None:
        with pytest.raises(ZeroDivisionError, match="the judge worker failed"):
            await client(BrokenLink(ActorError("no")), failed=failed).ask(1)

    asyncio.run(main())


def test_a_note_is_told_once_however_many_batches_overlap() -> None:
    async def main() -> None:
        counted = 10

        def take() -> int:
            nonlocal counted
            taken, counted = counted, 0
            return taken

        def give_back(note: int) -> None:
            nonlocal counted
            counted += note

        link = HereLink(["ask"])
        asker = client(link, take_note=take, return_note=give_back)
        batches = []
        for _ in range(5):
            batches.append(asyncio.ensure_future(asker.ask(-100)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*batches)
        assert sum(link.host.service.lines) == 10 and counted == 0

    asyncio.run(main())


def test_a_cancelled_asker_and_a_client_that_ends() -> None:
    async def main() -> None:
        link = HereLink()
        asker = client(link)
        gone = asyncio.ensure_future(asker.ask(-60_000))
        await asyncio.sleep(0.05)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        slow = asyncio.ensure_future(asker.ask(-50))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        await asker.close()
        await asker.close()
        assert slow.result() == -100 and time.monotonic() - began < 10
        assert await asker.ask(1) == 2, "the actors belong to the run and stay"

    asyncio.run(main())


def test_several_event_loops_and_an_actor_that_dies_at_random() -> None:
    chance = random.Random(3)

    class Flaky(HereLink):
        def die(self, moment: str) -> None:
            if chance.random() < 0.2:
                raise LostActorError(f"died before {moment}")

        async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
            self.die("ask")
            return await ActorHost(Doubler).ask("", items, note)  # its tickets are unknown to `rest`

    asker = client(Flaky(), Flaky(), max_items=20, max_waiting=60)

    async def main() -> None:
        await ask_all(asker, [chance.choice((number, -(number % 40))) for number in range(14, 300)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: asyncio.run(main()), range(4)))


# Without Ray.


def test_without_ray() -> None:
    assert not in_ray()
    assert call_named("medix_ledger", "take", timeout_s=1.0) is None
    tell_named("medix_ledger", "report", "nobody listens")


def test_awaitables_as_they_come() -> None:
    ended: list[int] = []

    async def one(number: int) -> int:
        try:
            await asyncio.sleep(number / 100)
        except asyncio.CancelledError:
            ended.append(number)
            raise
        return number

    async def main() -> None:
        groups = [group async for group in as_they_come([one(3), one(0), one(6)])]
        assert groups == [[(1, 0)], [(0, 3)], [(2, 6)]]
        assert [group async for group in as_they_come([])] == []
        slow = as_they_come([one(1), one(1000), one(1000)])
        assert await slow.__anext__() == [(0, 1)]
        await slow.aclose()  # type: ignore[attr-defined]  # a generator
        await asyncio.sleep(0)
        assert ended == [1000, 1000]
        many = [group async for group in as_they_come([one(0) for _ in range(2000)])]
        assert sum(map(len, many)) == 2000

    asyncio.run(main())

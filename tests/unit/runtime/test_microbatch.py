# SPDX-License-Identifier: Apache-2.0
"""Batches: every asker gets a result or an exception, whatever `run` does, and in whichever event loop it asks."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from medix_verl.runtime.microbatch import Batch, ClosedError, MicroBatcher, UnansweredError

Run = Callable[[Batch[int, int]], Awaitable[None]]


def batcher(run: Run, **changes: Any) -> MicroBatcher[int, int]:
    return MicroBatcher(run, **{"max_items": 8, "delay_s": 0.002, **changes})


class Doubler:
    """Sets twice each item, after a while; keeps the batches and how many ran at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.running = self.most = 0

    async def __call__(self, batch: Batch[int, int]) -> None:
        self.batches.append([item for item, _ in batch])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        for item, future in batch:
            if not future.done():
                future.set_result(2 * item)


def test_what_is_asked_within_a_moment_is_one_batch() -> None:
    async def main() -> None:
        run = Doubler()
        asked = batcher(run, max_items=100)
        assert await asyncio.gather(*(asked.ask(number) for number in range(50))) == list(range(0, 100, 2))
        assert run.batches == [list(range(50))]
        began = time.monotonic()
        assert await asked.ask(7) == 14
        assert time.monotonic() - began >= 0.002

    asyncio.run(main())


def test_a_full_batch_does_not_wait() -> None:
    async def main() -> None:
        run = Doubler()
        asked = batcher(run, delay_s=60.0)
        assert len(await asyncio.gather(*(asked.ask(number) for number in range(16)))) == 16
        assert [len(batch) for batch in run.batches] == [8, 8]
        early = batcher(run, delay_s=60.0, start_at=3)
        assert await asyncio.gather(*(early.ask(number) for number in range(3))) == [0, 2, 4]

    asyncio.run(main())


def test_without_a_delay_it_is_one_turn_of_the_loop() -> None:
    async def main() -> None:
        run = Doubler()
        asked = batcher(run, delay_s=0.0)
        await asyncio.gather(*(asked.ask(number) for number in range(3)))
        assert run.batches == [[0, 1, 2]]

    asyncio.run(main())


def test_so_many_batches_run_at_once_and_what_comes_meanwhile_is_next() -> None:
    async def main() -> None:
        run = Doubler(0.02)
        asked = batcher(run, max_items=4, max_running=2)
        assert await asyncio.gather(*(asked.ask(number) for number in range(30))) == list(range(0, 60, 2))
        assert run.most == 2
        assert [len(batch) for batch in run.batches] == [4] * 7 + [2]
        one = batcher(run := Doubler(0.02), max_items=64, max_running=1, start_at=2)
        first = [asyncio.ensure_future(one.ask(number)) for number in range(2)]
        await asyncio.sleep(0.005)
        await asyncio.gather(*first, *(one.ask(number) for number in range(20)))
        assert [len(batch) for batch in run.batches] == [2, 20]

    asyncio.run(main())


def test_so_many_wait_and_the_others_come_in_order() -> None:
    async def main() -> None:
        run = Doubler(0.001)
        asked = batcher(run, max_items=100, max_waiting=10)
        assert await asyncio.gather(*(asked.ask(number) for number in range(45))) == list(range(0, 90, 2))
        assert max(len(batch) for batch in run.batches) == 10
        assert [item for batch in run.batches for item in batch] == list(range(45))

    asyncio.run(main())


def test_a_place_is_never_lost_to_a_cancelled_asker() -> None:
    async def main() -> None:
        asked = batcher(Doubler(0.001), max_waiting=2)
        for _ in range(20):
            tasks = [asyncio.ensure_future(asked.ask(number)) for number in range(12)]
            for task in random.sample(tasks, 6):
                await asyncio.sleep(random.choice((0, 0, 0.0005)))
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(found == 2 * number or isinstance(found, BaseException) for number, found in enumerate(results))
            assert await asyncio.wait_for(asyncio.gather(*(asked.ask(number) for number in range(6))), 10)

    asyncio.run(main())


def test_cancelled_askers_harm_nobody() -> None:
    async def main() -> None:
        run = Doubler(0.01)
        asked = batcher(run, max_items=100)
        tasks = [asyncio.ensure_future(asked.ask(number)) for number in range(10)]
        await asyncio.sleep(0)
        tasks[3].cancel()  # before its batch starts: it is not in it
        await asyncio.sleep(0.006)
        tasks[4].cancel()  # while its batch runs
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [number for number, found in enumerate(results) if found != 2 * number] == [3, 4]
        assert run.batches == [[0, 1, 2, 4, 5, 6, 7, 8, 9]]
        gone = asyncio.ensure_future(asked.ask(1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0.01)
        assert len(run.batches) == 1, "a batch that nobody waits for is not started"
        assert not asked._loops

    asyncio.run(main())


async def sets_half(batch: Batch[int, int]) -> None:
    for item, future in batch[::2]:
        future.set_result(2 * item)


async def raises(batch: Batch[int, int]) -> None:
    raise KeyError("no such thing")


async def sets_half_and_raises(batch: Batch[int, int]) -> None:
    await sets_half(batch)
    raise OSError("half")


def raises_at_once(batch: Batch[int, int]) -> Awaitable[None]:
    raise StopIteration(3)


async def empties(batch: Batch[int, int]) -> None:
    batch.clear()


async def cancels_itself(batch: Batch[int, int]) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def raises_cancelled(batch: Batch[int, int]) -> None:
    raise asyncio.CancelledError


async def cancels_the_futures(batch: Batch[int, int]) -> None:
    for _, future in batch:
        future.cancel()


async def sets_exceptions(batch: Batch[int, int]) -> None:
    for item, future in batch:
        future.set_exception(ValueError(item))


async def leaves_it_to_another_task(batch: Batch[int, int]) -> None:
    asyncio.get_running_loop().call_later(0.01, lambda: [f.set_result(0) for _, f in batch if not f.done()])


RUNS = (
    sets_half,
    raises,
    sets_half_and_raises,
    raises_at_once,
    empties,
    cancels_itself,
    raises_cancelled,
    cancels_the_futures,
    sets_exceptions,
    leaves_it_to_another_task,
    Doubler(0.001),
)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: getattr(run, "__name__", "doubles"))
def test_every_asker_hears_whatever_run_does(run: Run) -> None:
    async def main() -> list[Any]:
        asked = batcher(run, max_running=2, max_waiting=20)
        tasks = [asyncio.ensure_future(asked.ask(number)) for number in range(50)]
        done, pending = await asyncio.wait(tasks, timeout=20)
        assert not pending
        await asked.close()
        assert not asked._loops
        return [found for task in done for found in [task.cancelled() or task.exception() or task.result()]]

    found = asyncio.run(main())
    assert len(found) == 50
    expected: dict[Any, Any] = {
        sets_half: UnansweredError,
        raises: KeyError,
        sets_half_and_raises: OSError,
        sets_exceptions: ValueError,
    }
    if run in expected:
        assert {type(one) for one in found} <= {expected[run], int, bool} and any(
            type(x) is expected[run] for x in found
        )
    elif run is not cancels_the_futures and not isinstance(run, Doubler):
        assert all(isinstance(one, UnansweredError) for one in found)


def test_random_runs_and_random_askers() -> None:
    """Two hundred askers of several event loops, each of which may go away, and a `run` that does anything."""
    chance = random.Random(7)

    async def anything(batch: Batch[int, int]) -> None:
        await asyncio.sleep(chance.choice((0, 0.001, 0.005)))
        await chance.choice(RUNS[:3] + RUNS[4:])(batch)

    asked = batcher(anything, max_items=5, max_running=3, max_waiting=30, delay_s=0.001)

    async def main() -> int:
        async def one(number: int) -> bool:
            await asyncio.sleep(chance.random() * 0.05)
            try:
                found = await asyncio.wait_for(asked.ask(number), 0.002 if number % 5 == 0 else 20)
            except asyncio.TimeoutError:
                assert number % 5 == 0, "an asker was left without an answer"
                return False
            except (asyncio.CancelledError, Exception):  # noqa: BLE001 - whatever `run` raises
                return False
            assert found in (2 * number, 0)
            return True

        return sum(await asyncio.gather(*(one(number) for number in range(200))))

    with ThreadPoolExecutor(4) as pool:
        answered = list(pool.map(lambda _: asyncio.run(main()), range(8)))
    assert sum(answered) > 100
    assert not asked._loops


def test_several_event_loops_at_once() -> None:
    run = Doubler(0.002)
    asked = batcher(run, max_items=64)
    meet = threading.Barrier(4)

    async def main() -> list[int]:
        meet.wait(10)
        return list(await asyncio.gather(*(asked.ask(number) for number in range(200))))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: asyncio.run(main()), range(4))) == [list(range(0, 400, 2))] * 4


def test_an_event_loop_that_has_ended_is_not_kept() -> None:
    asked = batcher(Doubler(), max_waiting=1)

    def ask() -> weakref.ref[Any]:
        loop = asyncio.new_event_loop()

        async def main() -> None:
            await asyncio.gather(*(asked.ask(number) for number in range(3)))

        loop.run_until_complete(main())
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        return weakref.ref(loop)

    found = ask()
    gc.collect()
    assert found() is None


def test_close_answers_what_was_asked_and_refuses_then() -> None:
    async def main() -> None:
        run = Doubler(0.01)
        asked = batcher(run, max_waiting=3, delay_s=60.0)
        tasks = [asyncio.ensure_future(asked.ask(number)) for number in range(10)]
        await asyncio.sleep(0)
        await asked.close()
        assert [task.result() for task in tasks] == list(range(0, 20, 2))
        with pytest.raises(ClosedError, match="takes no further questions"):
            await asked.ask(1)
        await asked.close()

    asyncio.run(main())


def test_close_ends_the_batches_that_nobody_waits_for() -> None:
    ended = []

    async def run(batch: Batch[int, int]) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(len(batch))

    async def main() -> None:
        asked = batcher(run)
        task = asyncio.ensure_future(asked.ask(1))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait_for(asked.close(), 5)
        assert ended == [1]

    asyncio.run(main())

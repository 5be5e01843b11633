# SPDX-License-Identifier: Apache-2.0
"""Collects what is asked within a moment of an event loop into batches, so that many askers cost one call.

A batch belongs to the event loop in which its items were asked. An asker that is cancelled leaves its batch and
changes nothing for the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from medix_verl.errors import MedixError

__all__ = ["Batch", "ClosedError", "MicroBatcher", "UnansweredError"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Batch = list[tuple[Item, asyncio.Future[Result]]]
"""What `run` gets: each item, and the future that waits for its result."""


class ClosedError(MedixError, RuntimeError):
    """Something was asked of a service that is closed."""


class UnansweredError(MedixError, RuntimeError):
    """A batch came to its end and left an item without a result."""


class _Places:
    """A fair semaphore. asyncio's own looks at all woken waiters with every release: at 10,000 waiters, 50 us each."""

    __slots__ = ("free", "queue")

    def __init__(self, count: int) -> None:
        self.free = count
        self.queue: deque[asyncio.Future[None]] = deque()

    async def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a place in the order of arrival; the caller has it when this returns."""
        turn: asyncio.Future[None] = loop.create_future()
        self.queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had the place already
                self.release()
            raise

    def release(self) -> None:
        """Give a place to the next who waits."""
        while self.queue:
            turn = self.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


class _Loop(Generic[Item, Result]):
    """What waits and what runs in one event loop; kept only while something is asked there."""

    __slots__ = ("asking", "idle", "places", "running", "timer", "waiting")

    def __init__(self, max_waiting: int | None) -> None:
        self.waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self.timer: asyncio.Handle | None = None
        self.running: dict[asyncio.Task[None], Batch[Item, Result]] = {}
        self.asking = 0
        self.places = None if max_waiting is None else _Places(max_waiting)
        self.idle: asyncio.Event | None = None


class MicroBatcher(Generic[Item, Result]):
    """Hands what is asked to `run`, batch by batch; may be asked from several event loops at once.

    Args:
        run: Sets the future of each item. It may set them one after the other, each asker goes on at once. A future
            that it leaves unset gets the exception that it raised, or UnansweredError.
        max_items: Items of one batch at most.
        delay_s: How long the first item of a batch waits for others; 0 is one turn of the event loop.
        max_running: Batches of one event loop that run at once; what is asked meanwhile becomes the next batch, which
            starts as soon as one of them ends. None sets no limit.
        max_waiting: Items of one event loop that wait or run at once; further askers wait until others have their
            result. None sets no limit.
        start_at: A batch of so many items does not wait for `delay_s`; None takes `max_items`.
    """

    def __init__(
        self,
        run: Callable[[Batch[Item, Result]], Awaitable[None]],
        *,
        max_items: int,
        delay_s: float,
        max_running: int | None = None,
        max_waiting: int | None = None,
        start_at: int | None = None,
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._delay_s = delay_s
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._start_at = start_at or max_items
        self._loops: dict[asyncio.AbstractEventLoop, _Loop[Item, Result]] = {}
        self._closed = False

    async def ask(self, item: Item) -> Result:
        """Put an item into the running loop's next batch and wait for its result.

        Raises:
            ClosedError: `close` was called before.
            UnansweredError: The batch ended and left the item without a result.
            Exception: Whatever `run` raised.
        """
        if self._closed:
            raise ClosedError("it is closed and takes no further questions")
        loop = asyncio.get_running_loop()
        state = self._loops.get(loop)
        if state is None:
            state = self._loops[loop] = _Loop(self._max_waiting)
        state.asking += 1
        held, places = None, state.places
        try:
            if places is not None:
                if places.free:
                    places.free -= 1
                else:
                    await places.wait(loop)
                held = places
            future: asyncio.Future[Result] = loop.create_future()
            state.waiting.append((item, future))
            if len(state.waiting) >= self._start_at:
                self._start(loop, state)
            elif state.timer is None and self._may_start(state):
                state.timer = self._soon(loop, state)
            return await future
        finally:
            if held is not None:
                held.release()
            state.asking -= 1
            if not state.asking:
                self._rest(loop, state)

    async def drain(self) -> None:
        """Wait until all that was asked in this event loop is answered; then end the batches that nobody waits for."""
        loop = asyncio.get_running_loop()
        state = self._loops.get(loop)
        if state is None:
            return
        while state.asking:
            self._start(loop, state)
            state.idle = state.idle or asyncio.Event()
            await state.idle.wait()
        left = [task for task, batch in state.running.items() if all(future.done() for _, future in batch)]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def close(self) -> None:
        """Refuse what is asked from now on, and answer what was asked in this event loop before."""
        self._closed = True
        await self.drain()

    def _soon(self, loop: asyncio.AbstractEventLoop, state: _Loop[Item, Result]) -> asyncio.Handle:
        if self._delay_s > 0 and state.idle is None:  # not while it is drained
            return loop.call_later(self._delay_s, self._start, loop, state)
        return loop.call_soon(self._start, loop, state)

    def _may_start(self, state: _Loop[Item, Result]) -> bool:
        return self._max_running is None or len(state.running) < self._max_running

    def _start(self, loop: asyncio.AbstractEventLoop, state: _Loop[Item, Result]) -> None:
        """Start the next batches, without the items whose askers have gone."""
        while state.waiting and self._may_start(state):
            if state.timer is not None:
                state.timer.cancel()
                state.timer = None
            batch: Batch[Item, Result] = []
            while state.waiting and len(batch) < self._max_items:
                entry = state.waiting.popleft()
                if not entry[1].done():
                    batch.append(entry)
            if batch:
                task = loop.create_task(self._finish(batch))
                state.running[task] = batch
                task.add_done_callback(lambda task: self._ended(loop, state, task))

    async def _finish(self, batch: Batch[Item, Result]) -> None:
        """Run a batch to its end; whatever happens, no future of it stays unset."""
        error: Exception = UnansweredError("the batch ended without an answer to this question")
        try:
            await self._run(list(batch))  # a copy: `run` may change its own
        except StopIteration as raised:  # no future takes this one
            error = UnansweredError(f"the batch ended with {raised!r}")
        except Exception as raised:  # noqa: BLE001 - it is the askers' to handle, or they would wait for ever
            error = raised
        finally:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)

    def _ended(self, loop: asyncio.AbstractEventLoop, state: _Loop[Item, Result], task: asyncio.Task[None]) -> None:
        """A batch has ended: what was asked meanwhile is next."""
        del state.running[task]
        self._start(loop, state)
        if not state.asking:
            self._rest(loop, state)

    def _rest(self, loop: asyncio.AbstractEventLoop, state: _Loop[Item, Result]) -> None:
        """Nobody waits any more in an event loop: forget it, so that it can be freed once it is closed."""
        if state.timer is not None:
            state.timer.cancel()
            state.timer = None
        state.waiting.clear()
        if state.idle is not None:
            state.idle.set()
            state.idle = None
        if not state.running and self._loops.get(loop) is state:
            del self._loops[loop]

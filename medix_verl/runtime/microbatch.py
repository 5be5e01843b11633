# SPDX-License-Identifier: Apache-2.0
"""Collects items that are submitted at about the same time in an event loop into batches, to share one call.

A batch belongs to the event loop in which its items were submitted. A cancelled caller leaves its batch without effect
on the others.
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
"""Argument of `run`: each item with the future for its result."""


class ClosedError(MedixError, RuntimeError):
    """An item was submitted to a closed service."""


class UnansweredError(MedixError, RuntimeError):
    """A batch ended without a result for an item."""


class _Places:
    """A fair semaphore. asyncio's own checks all woken waiters at every release: 50 us each with 10,000 waiters."""

    __slots__ = ("free", "queue")

    def __init__(self, count: int) -> None:
        self.free = count
        self.queue: deque[asyncio.Future[None]] = deque()

    async def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a place in order of arrival; the caller has the place when this returns."""
        turn: asyncio.Future[None] = loop.create_future()
        self.queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was granted already
                self.release()
            raise

    def release(self) -> None:
        """Give the place to the next waiter."""
        while self.queue:
            turn = self.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


class _Loop(Generic[Item, Result]):
    """Waiting and running batches of one event loop; kept only while it has any."""

    __slots__ = ("asking", "idle", "places", "running", "timer", "waiting")

    def __init__(self, max_waiting: int | None) -> None:
        self.waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self.timer: asyncio.Handle | None = None
        self.running: dict[asyncio.Task[None], Batch[Item, Result]] = {}
        self.asking = 0
        self.places = None if max_waiting is None else _Places(max_waiting)
        self.idle: asyncio.Event | None = None


class MicroBatcher(Generic[Item, Result]):
    """Collects items and passes them to `run` in batches; may be used from several event loops at once.

    Args:
        run: Sets the future of each item. It may set them one after the other; each caller continues at once. A future
            that it does not set gets the exception that it raised, or UnansweredError.
        max_items: Maximum items per batch.
        delay_s: How long the first item of a batch waits for others; 0 is one turn of the event loop.
        max_running: Concurrent batches of one event loop; items that arrive meanwhile form the next batch, which starts
            as soon as one of them ends. None sets no limit.
        max_waiting: Items of one event loop that wait or run at once; further callers wait until others have their
            result. None sets no limit.
        start_at: A batch of this many items does not wait for `delay_s`; None takes `max_items`.
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
        """Add an item to the running loop's next batch and wait for its result.

        Raises:
            ClosedError: `close` was called before.
            UnansweredError: The batch ended without a result for the item.
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
        """Wait until all items of this event loop have results; then cancel batches that no caller waits for."""
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
        """Refuse new items, and finish those already submitted in this event loop."""
        self._closed = True
        await self.drain()

    def _soon(self, loop: asyncio.AbstractEventLoop, state: _Loop[Item, Result]) -> asyncio.Handle:
        if self._delay_s > 0 and state.idle is None:  # not while it is drained
            return loop.call_later(self._delay_s, self._start, loop, state)
        return loop.call_soon(self._start, loop, state)

    def _may_start(self, state: _Loop[Item, Result]) -> bool:
        return self._max_running is None or len(state.running) < self._max_running

    def _start(self, loop: asyncio.AbstractEventLoop, state: _Loop[Item, Result]) -> None:
        """Start the next batches, without items whose callers were cancelled."""
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
        """Run a batch to its end; every future of it gets a result or an exception."""
        error: Exception = UnansweredError("the batch ended without an answer to this question")
        try:
            await self._run(list(batch))  # a copy: `run` may change its own
        except StopIteration as raised:  # a future does not accept StopIteration
            error = UnansweredError(f"the batch ended with {raised!r}")
        except Exception as raised:  # noqa: BLE001 - set on the callers' futures, which would hang otherwise
            error = raised
        finally:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)

    def _ended(self, loop: asyncio.AbstractEventLoop, state: _Loop[Item, Result], task: asyncio.Task[None]) -> None:
        """Callback when a batch has ended: start the next one."""
        del state.running[task]
        self._start(loop, state)
        if not state.asking:
            self._rest(loop, state)

    def _rest(self, loop: asyncio.AbstractEventLoop, state: _Loop[Item, Result]) -> None:
        """Forget the state of an event loop without waiters, so that it can be freed once it is closed."""
        if state.timer is not None:
            state.timer.cancel()
            state.timer = None
        state.waiting.clear()
        if state.idle is not None:
            state.idle.set()
            state.idle = None
        if not state.running and self._loops.get(loop) is state:
            del self._loops[loop]

# SPDX-License-Identifier: Apache-2.0
"""Shares one service between all processes of a Ray run: a named actor that runs it, and a client in each process.

The actor is created by the first process that needs it, reserves no CPU and no GPU in Ray, and is restarted when its
process dies; an actor that is permanently gone is created again. A client collects the questions of an event loop into
batches, returns answers as they arrive, and sends unanswered questions again if the actor is lost. A question may be
asked twice, so its answer must depend on the question alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from medix_verl.errors import MedixError
from medix_verl.runtime.microbatch import Batch, MicroBatcher

__all__ = [
    "ActorError",
    "ActorHost",
    "ActorSpec",
    "Answers",
    "BatchingClient",
    "Link",
    "LostActorError",
    "Service",
    "SharedActor",
    "as_they_come",
    "call_named",
    "in_ray",
    "tell_named",
]

GATHER_S = 0.01
"""How long the first answer of a batch waits for others before it is returned."""
KEEP_S = 600.0
"""Time after which a batch whose client has died is ended."""
CALLS_AT_ONCE = 10_000
OPEN_TRIES, OPEN_PAUSE_S = 50, 0.2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
PATIENCE_S = 180.0
"""How long an actor may be unreachable; a process with our imports starts in seconds, on a busy machine in a minute."""
MAX_REASON = 300
"""Maximum characters of a reason; Ray's messages fill whole pages."""

Item = TypeVar("Item")
Result = TypeVar("Result")
_Asked = tuple[Item, tuple[asyncio.Future[Result], ...]]
"""A question, and the futures that wait for its answer."""
Answers = tuple[list[tuple[int, Any]], "str | None"]
"""Place in the batch and answer of each answered item, and a ticket for the rest, None if there is none."""


class ActorError(MedixError, RuntimeError):
    """The actor cannot be started or refused a call; the same call would fail again."""


class LostActorError(MedixError, RuntimeError):
    """A call was not answered because the actor died, restarts, or does not know the ticket; it may return."""


class Service(Protocol):
    """The service in an actor. Further methods are called by name: SharedActor.call, call_named."""

    def answer(self, items: Sequence[Any]) -> AsyncIterator[list[tuple[int, Any]]]:
        """Answer a batch: place in it and answer of each item, in groups as they are ready (see `as_they_come`)."""
        ...

    def note(self, counts: Any) -> None:
        """Receive a client's note, sent along with questions; called only for clients that have a `take_note`."""
        ...

    async def close(self) -> None:
        """Release the service's resources."""
        ...


def in_ray() -> bool:
    """Whether this process is connected to Ray; does not import Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


async def as_they_come(asked: Sequence[Awaitable[Any]]) -> AsyncIterator[list[tuple[int, Any]]]:
    """Place and result of each awaitable, in groups as they are done; the rest is cancelled if the consumer stops.

    Raises:
        Exception: The first exception of an awaitable, after all others are done.
    """
    tasks = [asyncio.ensure_future(one) for one in asked]
    done: list[tuple[int, Any]] = []
    arrived = asyncio.Event()

    def enter(place: int, task: asyncio.Future[Any]) -> None:
        done.append((place, task))
        arrived.set()

    for place, task in enumerate(tasks):
        task.add_done_callback(lambda task, place=place: enter(place, task))  # type: ignore[misc]
    left, failed = len(tasks), None
    try:
        while left:
            await arrived.wait()
            arrived.clear()
            group, done = done, []
            left -= len(group)
            failed = failed or next((task for _, task in group if task.cancelled() or task.exception()), None)
            if good := [(at, task.result()) for at, task in group if not (task.cancelled() or task.exception())]:
                yield good
        if failed is not None:
            raise ActorError("a question was cancelled") if failed.cancelled() else failed.exception()
    finally:
        for task in tasks:
            task.cancel()


@dataclass(slots=True)
class _Kept:
    """A batch in progress in an actor."""

    task: asyncio.Task[None] | None = None
    answers: list[tuple[int, Any]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0


class ActorHost:
    """The class of every shared actor; plain Python, so that tests can use it without Ray.

    Args:
        factory: Builds the service.
        args: Its arguments.
        settings: Settings that every client must share.
        title: Name of the actor in messages, such as `judge worker`.
    """

    def __init__(
        self, factory: Callable[..., Any], args: Sequence[Any] = (), settings: str = "", title: str = ""
    ) -> None:
        self.settings = settings
        self.title = title or "shared actor"
        self.batches: dict[str, _Kept] = {}
        self.service = factory(*args)

    async def ask(self, settings: str, items: Sequence[Any], note: Any = None) -> Answers:
        """Answer a batch: returns as soon as some answers are ready, with a ticket for the rest.

        Args:
            settings: The client's settings.
            items: The questions.
            note: The client's note; None is not a note.

        Raises:
            ActorError: The client's settings differ from this actor's.
        """
        if settings != self.settings:
            raise ActorError(f"the run's {self.title} has other settings; give all reward processes the same recipe")
        if note is not None:
            self.service.note(note)
        batch = _Kept()
        batch.task = asyncio.ensure_future(self._collect(batch, items))
        return await self._next(batch)

    async def rest(self, ticket: str) -> Answers | None:
        """The next answers of a batch; None for a ticket issued before this actor was restarted."""
        batch = self.batches.pop(ticket, None)
        return None if batch is None else await self._next(batch)

    async def call(self, method: str, *args: Any) -> Any:
        """Call another public method of the service, which may be a coroutine.

        Raises:
            ActorError: The service has no such method.
        """
        function = None if method.startswith("_") else getattr(self.service, method, None)
        if not callable(function):
            raise ActorError(f"the {self.title} has no method {method!r}; call one of {type(self.service).__name__}'s")
        result = function(*args)
        return await result if inspect.isawaitable(result) else result

    async def close(self) -> None:
        """End all batches and the service."""
        for batch in self.batches.values():
            _end(batch)
        self.batches.clear()
        await self.service.close()

    async def _collect(self, batch: _Kept, items: Sequence[Any]) -> None:
        try:
            async for group in self.service.answer(items):
                batch.answers.extend(group)
                batch.arrived.set()
        finally:
            batch.arrived.set()

    async def _next(self, batch: _Kept) -> Answers:
        """Wait for the first answers, and GATHER_S for more."""
        assert batch.task is not None
        try:
            await batch.arrived.wait()
            if not batch.task.done():
                await asyncio.wait({batch.task}, timeout=GATHER_S)
        except asyncio.CancelledError:  # the client is gone
            _end(batch)
            raise
        answers, batch.answers = batch.answers, []
        if batch.task.done():
            if not answers:
                batch.task.result()
            if batch.task.exception() is None:
                return answers, None
        else:
            batch.arrived.clear()
        self._drop_old()
        ticket, batch.since = uuid.uuid4().hex, time.monotonic()
        self.batches[ticket] = batch
        return answers, ticket

    def _drop_old(self) -> None:
        """End the batches that no client has fetched for KEEP_S."""
        limit = time.monotonic() - KEEP_S
        for ticket in [ticket for ticket, batch in self.batches.items() if batch.since < limit]:
            _end(self.batches.pop(ticket))


def _end(batch: _Kept) -> None:
    if batch.task is not None:
        batch.task.cancel()


@dataclass(frozen=True)
class ActorSpec:
    """One named actor."""

    name: str
    """In the run's namespace, such as `medix_encoder`."""
    factory: Callable[..., Any]
    """Builds the Service; an importable function or class."""
    args: tuple[Any, ...] = ()
    settings: str = ""
    """Everything that two processes must agree on to share the actor."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of its process. Ray hides all GPUs from an actor that reserves none; an actor that
    computes on a GPU needs RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0."""
    title: str = ""
    """Its name in messages; `name` if empty."""


class SharedActor:
    """Link to one named actor: finds or creates it, and creates it again when it is permanently gone."""

    def __init__(self, spec: ActorSpec) -> None:
        """Find the actor, or create it if this process is the first.

        Raises:
            LostActorError: The name is still held by an actor that is ending.
        """
        self.spec = spec
        self._opening = threading.Lock()
        self.handle = self._open()

    async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
        """Send a batch; returns as soon as some answers are ready.

        Raises:
            ActorError: The actor cannot be started, or refused.
            LostActorError: It is not available; it may return.
        """
        answers: Answers = await self._call("ask", self.spec.settings, items, note)
        return answers

    async def rest(self, ticket: str) -> Answers:
        """The next answers of a batch; raises as `ask`, and LostActorError if the actor was restarted."""
        answers: Answers | None = await self._call("rest", ticket)
        if answers is None:
            raise LostActorError(f"the {self.spec.title or self.spec.name} was restarted")
        return answers

    async def call(self, method: str, *args: Any) -> Any:
        """Call another method of the service; raises as `ask`."""
        return await self._call("call", method, *args)

    def call_now(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        """`call` for a thread without an event loop; retries while the actor is unavailable.

        Args:
            method: A method of the service.
            args: Its arguments.
            timeout_s: Limit of the whole call; None waits for a working actor, and PATIENCE_S for an unavailable one.

        Raises:
            ActorError: The actor cannot be started, or refused.
            LostActorError: It did not answer in time.
        """
        import ray

        began = lost_since = time.monotonic()
        lost: LostActorError | None = None
        while True:
            handle = self.handle
            left = None if timeout_s is None else max(0.0, began + timeout_s - time.monotonic())
            try:
                return ray.get(handle.call.remote(method, *args), timeout=left)
            except ray.exceptions.RayError as error:
                lost_since = time.monotonic() if lost is None else lost_since
                lost = self._lost(error, handle)
            limit = lost_since + PATIENCE_S if timeout_s is None else began + timeout_s
            if time.monotonic() + FIRST_PAUSE_S >= limit:
                raise lost
            time.sleep(FIRST_PAUSE_S)

    async def _call(self, method: str, *args: Any) -> Any:
        from ray.exceptions import ActorDiedError, RayError

        handle = self.handle
        try:
            return await getattr(handle, method).remote(*args)
        except ActorDiedError as error:
            raise await asyncio.to_thread(self._lost, error, handle) from error  # may block until the name is free
        except RayError as error:
            raise self._lost(error, handle) from error

    def _lost(self, error: Exception, handle: Any) -> LostActorError:
        """The error to raise for an exception of Ray.

        Raises:
            ActorError: A retry would give the same error.
        """
        from ray.exceptions import ActorDiedError, RayTaskError

        if isinstance(error, RayTaskError):  # raised by the actor's own code
            cause = error.cause
            kind = "" if isinstance(cause, MedixError) else f"{type(cause).__name__}: "
            raise ActorError(f"{kind}{cause}") from error
        if isinstance(error, ActorDiedError):
            if error.actor_init_failed:
                last = str(error).strip().splitlines()[-1]  # the lines before are the actor's traceback
                raise ActorError(f"it cannot be started: {last.strip()}") from error
            # Not restarting any more: killed, or its creator has ended. The name is free for a new actor.
            with self._opening:
                if self.handle is handle:
                    self.handle = self._open()
        return LostActorError(_first_line(error))

    def _open(self) -> Any:
        import ray

        spec = self.spec
        options: dict[str, Any] = {
            "name": spec.name,
            "get_if_exists": True,
            "num_cpus": 0,
            "max_restarts": -1,
            # Ray must not retry: we send the unanswered part of a lost call again.
            "max_task_retries": 0,
            "max_concurrency": CALLS_AT_ONCE,
        }
        if spec.env:
            options["runtime_env"] = {"env_vars": dict(spec.env)}
        # Ray names the process after the class: `ray::JudgeService` is clearer than the name of the common host class.
        named = type(spec.factory.__name__, (ActorHost,), {})
        host = ray.remote(named).options(**options)
        for _ in range(OPEN_TRIES):
            # Ray's "get or create" fails if the actor ends between its two steps.
            with contextlib.suppress(ValueError):
                return host.remote(spec.factory, spec.args, spec.settings, spec.title or spec.name)
            time.sleep(OPEN_PAUSE_S)
        raise LostActorError(f"the name {spec.name} did not become free")


def _first_line(error: Exception) -> str:
    """The first line of Ray's message, without its advice."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


class Link(Protocol):
    """What a client needs of a link to an actor; implemented by SharedActor."""

    async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
        """Send a batch."""
        ...

    async def rest(self, ticket: str) -> Answers:
        """The next answers of a batch."""
        ...

    async def call(self, method: str, *args: Any) -> Any:
        """Call another method of the service."""
        ...


def _nothing(*_: Any) -> None:
    return None


def _pause(attempt: int) -> float:
    return min(FIRST_PAUSE_S * 2.0 ** min(attempt, 10), LONGEST_PAUSE_S)


class BatchingClient(Generic[Item, Result]):
    """Asks shared actors for one process, in batches; may be used from several event loops at once.

    Args:
        actors: Links to the actors, which divide the questions.
        failed: Builds the result of a question without an answer, from the reason.
        take_note: Returns the note to send with the next batch; it is sent once, even if batches overlap.
        return_note: Takes a note back that could not be sent.
        on_lost: Called whenever a batch must be sent again.
        title: Name of the actors in reasons, such as `judge worker`.
        delay_s: How long the first question of a batch waits for others; 0 is one turn of the event loop.
        max_items: Maximum questions per batch.
        max_waiting: Questions of one event loop that wait or are in progress; None sets no limit.
        patience_s: How long an actor may be unavailable.
        pause_s: Attempt -> seconds before the next one.
        join_equal: Send equal (hashable) questions of one batch as one.
    """

    def __init__(
        self,
        actors: Sequence[Link],
        *,
        failed: Callable[[str], Result],
        take_note: Callable[[], Any] = _nothing,
        return_note: Callable[[Any], None] = _nothing,
        on_lost: Callable[[], None] = _nothing,
        title: str = "shared actor",
        delay_s: float = 0.002,
        max_items: int = 512,
        max_waiting: int | None = None,
        patience_s: float = PATIENCE_S,
        pause_s: Callable[[int], float] = _pause,
        join_equal: bool = False,
    ) -> None:
        self.actors = tuple(actors)
        self._failed = failed
        self._take_note = take_note
        self._return_note = return_note
        self._on_lost = on_lost
        self._title = title
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._join_equal = join_equal
        self._batcher: MicroBatcher[tuple[int, Item], Result] = MicroBatcher(
            self._send, max_items=max_items, delay_s=delay_s, max_waiting=max_waiting
        )

    def ask(self, item: Item, place: int = 0) -> Coroutine[Any, Any, Result]:
        """Ask a question; the result is `failed(reason)` if the actor refuses, fails, or is unavailable for too long.

        Args:
            item: The question.
            place: Index of the actor, modulo their number; equal questions should have equal places.
        """
        return self._batcher.ask((place % len(self.actors), item))

    async def call_all(self, method: str, *args: Any) -> list[Any]:
        """Call a method of every actor's service.

        Raises:
            ActorError: One refused.
            LostActorError: One is not available.
        """
        return list(await asyncio.gather(*(actor.call(method, *args) for actor in self.actors)))

    async def close(self) -> None:
        """Wait for the pending questions of this event loop; the actors belong to the run and stay."""
        await self._batcher.drain()

    async def _send(self, batch: Batch[tuple[int, Item], Result]) -> None:
        """Divide a batch among the actors."""
        if len(self.actors) == 1:
            await self._deliver(self.actors[0], self._joined(batch))
            return
        parts: dict[int, Batch[tuple[int, Item], Result]] = {}
        for entry in batch:
            parts.setdefault(entry[0][0], []).append(entry)
        await asyncio.gather(*(self._deliver(self.actors[at], self._joined(part)) for at, part in parts.items()))

    def _joined(self, batch: Batch[tuple[int, Item], Result]) -> list[_Asked[Item, Result]]:
        """The questions, each with all futures that wait for its answer."""
        if not self._join_equal:
            return [(item, (future,)) for (_, item), future in batch]
        found: dict[Item, list[asyncio.Future[Result]]] = {}
        for (_, item), future in batch:
            found.setdefault(item, []).append(future)
        return [(item, tuple(futures)) for item, futures in found.items()]

    async def _deliver(self, actor: Link, asked: list[_Asked[Item, Result]]) -> None:
        """Process questions until every future has a result."""
        attempt, lost_since = 0, None
        now = asyncio.get_running_loop().time
        try:
            while asked:
                try:
                    await self._once(actor, asked)
                    self._give_up(asked, f"the {self._title} left it unanswered")
                    return
                except LostActorError as error:
                    left = [(item, futures) for item, futures in asked if not all(one.done() for one in futures)]
                    progress = len(left) < len(asked)
                    asked = left
                    attempt = 0 if progress else attempt + 1
                    lost_since = now() if progress or lost_since is None else lost_since
                    if now() - lost_since > self._patience_s:
                        self._give_up(asked, f"the {self._title} did not come back: {error}")
                        return
                    self._on_lost()
                    await asyncio.sleep(self._pause_s(attempt))
        except Exception as error:  # noqa: BLE001 - becomes the callers' result, or they would hang
            self._give_up(asked, f"the {self._title} failed: {str(error) or type(error).__name__}")

    async def _once(self, actor: Link, asked: list[_Asked[Item, Result]]) -> None:
        """Send questions and set the results as they arrive.

        Raises:
            LostActorError: The actor was lost before the last answer.
        """
        # Taken before the await: overlapping batches must not send the same note.
        note = self._take_note()
        try:
            answers, ticket = await actor.ask([item for item, _ in asked], note)
        except BaseException:
            self._return_note(note)
            raise
        while True:
            for place, answer in answers:
                for future in asked[place][1]:
                    if not future.done():
                        future.set_result(answer)
            if ticket is None:
                return
            answers, ticket = await actor.rest(ticket)

    def _give_up(self, asked: Sequence[_Asked[Item, Result]], reason: str) -> None:
        """Set `failed(reason)` as the result of every unanswered question."""
        left = [future for _, futures in asked for future in futures if not future.done()]
        if left:
            result = self._failed(" ".join(reason.split())[:MAX_REASON])
            for future in left:
                future.set_result(result)


def _named(name: str) -> Any:
    """A run's actor, or None."""
    if not in_ray():
        return None
    import ray

    try:
        return ray.get_actor(name)
    except ValueError:
        return None


def call_named(name: str, method: str, *args: Any, timeout_s: float) -> Any | None:
    """Call a method of a run's shared actor and wait; None if there is no such actor or it does not answer.

    Raises:
        ActorError: It refused.
    """
    handle = _named(name)
    if handle is None:
        return None
    import ray

    try:
        return ray.get(handle.call.remote(method, *args), timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        raise ActorError(f"{type(error.cause).__name__}: {error.cause}") from error
    except (ray.exceptions.RayError, TimeoutError):  # it is being restarted
        return None


def tell_named(name: str, method: str, *args: Any) -> None:
    """Call a method of a run's shared actor without waiting; does nothing if there is no such actor."""
    handle = _named(name)
    if handle is not None:
        handle.call.remote(method, *args)

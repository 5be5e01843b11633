# SPDX-License-Identifier: Apache-2.0
"""The run's judge behind all of verl's reward processes: named Ray actors, each with a JudgePool.

Limits, de-duplication and the cache are global because there is one pool (or `judge.workers` of them, which share the
limits and divide the questions). An actor needs no CPU of Ray's, is restarted when it dies, and is created by
whichever process needs it first. The only file of this room that imports ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medix_verl.errors import JudgeError
from medix_verl.judge.build import served_as
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.question import Question
from medix_verl.judge.remote import Answers, LostWorkerError, RemoteJudge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import JudgeStats, add_up
from medix_verl.types import Verdict

__all__ = ["JudgeWorker", "collect_stats", "connect_worker", "in_ray", "share_of"]

NAME = "medix_judge_{}"
GATHER_S = 0.01
"""How long the first verdict of a batch waits for others before an answer goes back."""
KEEP_S = 600.0
"""A batch whose asker has died is dropped after this."""
CALLS_AT_ONCE = 10_000
OPEN_TRIES, OPEN_PAUSE_S = 50, 0.2


class JudgeWorker:
    """The actor's class; it is plain Python, so that tests can hold it without Ray."""

    def __init__(self, spec: JudgeSpec, place: int, urls: Sequence[str], model: str) -> None:
        self.settings = settings_of(spec, urls, model)
        self.pool = JudgePool(share_of(spec, place), urls, model)
        self.batches: dict[str, tuple[float, dict[asyncio.Task[Verdict], int]]] = {}

    async def ask(self, settings: str, questions: Sequence[tuple[Any, ...]], spared: Sequence[int]) -> Answers:
        """Judge a batch; answers as soon as some verdicts are there, with a ticket for the rest.

        Args:
            settings: The asker's settings.
            questions: The fields of a Question, each.
            spared: What the asker decided itself meanwhile (medix_verl.judge.stats.Counters.take_spared).

        Raises:
            JudgeError: The asker's settings are not this worker's.
        """
        if settings != self.settings:
            raise JudgeError("the run's judge worker has other settings; give all reward processes the same recipe")
        self.pool.counters.add_spared(spared)
        tasks = {asyncio.ensure_future(self.pool.ask_model(Question(*q))): place for place, q in enumerate(questions)}
        return await self.answer(tasks)

    async def rest(self, ticket: str) -> Answers | None:
        """The next verdicts of a batch; None for a ticket that an earlier life of this worker gave."""
        kept = self.batches.pop(ticket, None)
        return None if kept is None else await self.answer(kept[1])

    async def answer(self, tasks: dict[asyncio.Task[Verdict], int]) -> Answers:
        """Wait for the first verdict and a moment longer."""
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            _, pending = await asyncio.wait(pending, timeout=GATHER_S)
        verdicts = [(place, task.result()) for task, place in tasks.items() if task not in pending]
        if not pending:
            return verdicts, None
        self.drop_old()
        ticket = uuid.uuid4().hex
        self.batches[ticket] = (time.monotonic(), {task: tasks[task] for task in pending})
        return verdicts, ticket

    def drop_old(self) -> None:
        """Forget batches that nobody came for; their questions end, unless others wait for them too."""
        limit = time.monotonic() - KEEP_S
        for ticket in [ticket for ticket, (since, _) in self.batches.items() if since < limit]:
            for task in self.batches.pop(ticket)[1]:
                task.cancel()

    def stats(self) -> JudgeStats:
        """What was done since the last `take_stats`."""
        return self.pool.stats()

    def take_stats(self) -> JudgeStats:
        """What was done since the last call."""
        return self.pool.take_stats()


class RayLink:
    """The way to one named actor; finds it again, or creates it anew, when it is gone for good."""

    def __init__(self, place: int, spec: JudgeSpec, urls: Sequence[str], model: str) -> None:
        self.place = place
        self.spec = spec
        self.urls = tuple(urls)
        self.model = model
        self.settings = settings_of(spec, urls, model)
        self.actor = self.open()

    def open(self) -> Any:
        """Find the actor, or create it; whoever comes first.

        Raises:
            LostWorkerError: The name is still held by an actor that is ending.
        """
        import ray

        options = {
            "name": NAME.format(self.place),
            "get_if_exists": True,
            "num_cpus": 0,
            "max_restarts": -1,
            # Not retried by Ray: a call that was under way is sent again by us, without what was answered.
            "max_task_retries": 0,
            "max_concurrency": CALLS_AT_ONCE,
        }
        worker = ray.remote(JudgeWorker).options(**options)
        for _ in range(OPEN_TRIES):
            # An actor that ends between Ray's "is it there?" and "create it" fails both.
            with contextlib.suppress(ValueError):
                return worker.remote(self.spec, self.place, self.urls, self.model)
            time.sleep(OPEN_PAUSE_S)
        raise LostWorkerError(f"the name {NAME.format(self.place)} did not become free")

    async def ask(self, questions: Sequence[Question], spared: Sequence[int]) -> Answers:
        """Send a batch."""
        plain = [tuple(question) for question in questions]
        return await self.call("ask", self.settings, plain, tuple(spared))

    async def rest(self, ticket: str) -> Answers:
        """The next answers of a batch."""
        answers: Answers | None = await self.call("rest", ticket)
        if answers is None:
            raise LostWorkerError("the judge worker was restarted")
        return answers

    async def stats(self) -> JudgeStats:
        """The worker's numbers."""
        return await self.call("stats")

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call the actor.

        Raises:
            LostWorkerError: It is not there; it may come back.
            JudgeError: It refused.
        """
        from ray.exceptions import ActorDiedError, RayError, RayTaskError

        try:
            return await getattr(self.actor, method).remote(*arguments)
        except RayTaskError as error:  # raised by the actor's own code: asking again would only repeat it
            raise JudgeError(f"{type(error.cause).__name__}: {error.cause}") from error
        except ActorDiedError as error:
            if error.actor_init_failed:
                cause = str(error).strip().splitlines()[-1]  # above it stands the actor's traceback
                raise JudgeError(f"it cannot be started: {cause.strip()}") from error
            # Not restarting any more: killed for good, or its creator has ended. The name is free for a new one.
            self.actor = await asyncio.to_thread(self.open)
            raise LostWorkerError(first_line(error)) from error
        except RayError as error:
            raise LostWorkerError(first_line(error)) from error


def first_line(error: Exception) -> str:
    """What Ray says, without its page of advice."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def settings_of(spec: JudgeSpec, urls: Sequence[str], model: str) -> str:
    """Everything that two processes must agree on to share a worker."""
    return repr((spec, tuple(urls), model))


def share_of(spec: JudgeSpec, place: int) -> JudgeSpec:
    """A worker's share of the limits; the shares of all workers sum to the limits."""

    def part(limit: int) -> int:
        return limit // spec.workers + (place < limit % spec.workers)

    rate = spec.max_per_minute
    return replace(
        spec,
        workers=1,
        max_concurrent=part(spec.max_concurrent),
        max_inflight=part(spec.max_inflight),
        max_per_minute=None if rate is None else part(rate),
    )


def in_ray() -> bool:
    """Whether this process is connected to Ray; never imports it for the question."""
    if "ray" not in sys.modules:
        return False
    import ray

    return bool(ray.is_initialized())


def connect_worker(spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None) -> RemoteJudge:
    """Connect to the run's workers, and create those that are not there.

    Raises:
        ConfigError: The settings are incomplete; seen here, before an actor is created.
    """
    urls, model = served_as(spec, served_url, served_model)
    # A pool that is never asked: it checks everything that the worker's own will check, but the cache's file.
    here = JudgePool(replace(spec, cache="none"), urls, model)
    links = [RayLink(place, spec, urls, here.model) for place in range(spec.workers)]
    return RemoteJudge(spec, here.writer, here.model, links, urls=here.urls)


def collect_stats(timeout_s: float = 10.0) -> dict[str, float]:
    """Take the numbers of the run's workers, from any of its processes; empty where there are none or none answers."""
    if not in_ray():
        return {}
    import ray

    actors: list[Any] = []
    try:
        while True:
            actors.append(ray.get_actor(NAME.format(len(actors))))
    except ValueError:  # the first name that nobody has
        pass
    if not actors:
        return {}
    try:
        parts = ray.get([actor.take_stats.remote() for actor in actors], timeout=timeout_s)
    except (ray.exceptions.RayError, TimeoutError):  # it is being restarted; its numbers are lost, the step is not
        return {}
    return add_up(parts).flat()

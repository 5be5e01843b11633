# SPDX-License-Identifier: Apache-2.0
"""The run's judge behind all of verl's reward processes: named actors, each with a JudgePool, and their client.

Limits, de-duplication and the cache are global because there is one pool (or `judge.workers` of them, which share the
limits and divide the questions). What needs no judge is decided in each process (GuardedJudge), and told with the next
batch, so that the numbers of the run are in one place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

from medix_verl.judge.judge import Question
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import Counters, JudgeStats, add_up
from medix_verl.runtime.shared_actor import ActorSpec, BatchingClient, Link, SharedActor, as_they_come, call_named
from medix_verl.types import Failure, Reference, Verdict

__all__ = ["JudgeService", "RemoteJudge", "actor_spec", "collect_stats", "connect_service", "share_of"]

NAME = "medix_judge_{}"
TITLE = "judge worker"
PATIENCE_S = 180.0
"""How long a worker may stay away; a process with our imports starts in seconds, on a busy machine in a minute."""

Item = tuple[str, str | None, str, tuple[str, ...] | None, str | None]
"""A question as plain values: candidate, question, answer, options, credentialed row."""


class JudgeService:
    """What lives in the actor."""

    def __init__(self, spec: JudgeSpec, place: int, urls: Sequence[str], model: str) -> None:
        self.pool = JudgePool(share_of(spec, place), urls, model)

    def answer(self, items: Sequence[Item]) -> AsyncIterator[list[tuple[int, Verdict]]]:
        """Judge a batch; verdicts in groups as they come."""
        return as_they_come([self.pool.ask(question_of(item)) for item in items])

    def note(self, told: Sequence[int]) -> None:
        """Add what a process decided itself meanwhile (Counters.take_spared)."""
        self.pool.counters.add_spared(told)

    def stats(self) -> JudgeStats:
        """What was done since the last `take_stats`."""
        return self.pool.stats()

    def take_stats(self) -> JudgeStats:
        """What was done since the last call."""
        return self.pool.take_stats()

    async def close(self) -> None:
        """Close the pool."""
        await self.pool.close()


class RemoteJudge:
    """The judge as a reward process sees it; a Judge."""

    def __init__(
        self, spec: JudgeSpec, urls: Sequence[str], model: str, workers: Sequence[Link], **client: Any
    ) -> None:
        """Keep the way to the workers; nothing is sent yet.

        Args:
            spec: How much of a candidate is shown, and how many questions may wait.
            urls: The addresses that the workers ask.
            model: Name of the judge model.
            workers: One way for each worker.
            client: Settings of BatchingClient, such as `patience_s`.
        """
        self.endpoints = tuple(urls)
        self.model = model
        self.counters = Counters()
        self.shown = spec.max_candidate_chars
        self.workers = len(workers)
        self.client: BatchingClient[Item, Verdict] = BatchingClient(
            workers,
            failed=lambda reason: Verdict(None, model, reason, failure=Failure.INTERNAL),
            take_note=self.counters.take_spared,
            return_note=self.counters.add_spared,
            on_lost=self.note_loss,
            title=TITLE,
            max_waiting=spec.max_inflight,
            **{"patience_s": PATIENCE_S, **client},
        )

    def __repr__(self) -> str:
        return f"RemoteJudge(model={self.model!r}, workers={self.workers})"

    def note_loss(self) -> None:
        """A batch is sent again."""
        self.counters.retries += 1

    async def ask(self, question: Question) -> Verdict:
        """Put a question into the next batch, to the worker at which equal questions of all processes meet."""
        candidate, reference = question.candidate[: self.shown + 1], question.reference
        item = (candidate, reference.question, reference.answer, reference.options, reference.credentialed_row)
        place = 0 if self.workers == 1 else crc32(repr(item[:4]).encode("ascii", "backslashreplace"))
        return await self.client.ask(item, place)

    async def stats(self) -> JudgeStats:
        """What the workers have done since their numbers were last taken."""
        return add_up(await self.client.call_all("stats"))

    async def close(self) -> None:
        """Send nothing more; the workers belong to the run and go on."""
        await self.client.close()


def question_of(item: Item) -> Question:
    """The question that an Item is."""
    candidate, question, answer, options, row = item
    return Question(candidate, Reference(answer, question=question, options=options, credentialed_row=row))


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


def actor_spec(spec: JudgeSpec, place: int, urls: Sequence[str], model: str) -> ActorSpec:
    """The actor of one worker."""
    urls = tuple(urls)
    settings = repr((spec, urls, model))
    return ActorSpec(NAME.format(place), JudgeService, (spec, place, urls, model), settings, title=TITLE)


def connect_service(spec: JudgeSpec, urls: Sequence[str] = (), model: str | None = None) -> RemoteJudge:
    """Connect to the run's workers, and create those that are not there.

    Raises:
        ConfigError: The settings are incomplete; seen here, before an actor is created.
    """
    # A pool that is never asked: it checks everything that the worker's own will check, but the cache's file.
    here = JudgePool(replace(spec, cache="none"), urls, model)
    actors = [SharedActor(actor_spec(spec, place, here.endpoints, here.model)) for place in range(spec.workers)]
    return RemoteJudge(spec, here.endpoints, here.model, actors)


def collect_stats(timeout_s: float = 10.0) -> dict[str, float]:
    """Take the numbers of the run's workers, from any of its processes; empty where there are none or none answers."""
    parts: list[JudgeStats] = []
    while (part := call_named(NAME.format(len(parts)), "take_stats", timeout_s=timeout_s)) is not None:
        parts.append(part)
    return add_up(parts).flat() if parts else {}

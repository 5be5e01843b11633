# SPDX-License-Identifier: Apache-2.0
"""Runs the judge for all of verl's reward processes: named Ray actors, each with a JudgePool, and their client.

Limits, de-duplication and the cache are global because there is one pool (or `judge.workers` pools, which divide the
limits and the questions). Answers that need no judge are decided in each process (GuardedJudge). Their counts are sent
with the next batch, so that one place has the counts of the whole run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

from medix_verl.judge.judge import Question
from medix_verl.judge.panel import Panel, build_panel
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import Counters, JudgeStats, add_up
from medix_verl.runtime.shared_actor import ActorSpec, BatchingClient, Link, SharedActor, as_they_come, call_named
from medix_verl.types import Failure, Reference, Verdict

__all__ = [
    "JudgeService",
    "PanelService",
    "RemoteJudge",
    "actor_spec",
    "collect_stats",
    "connect_panel",
    "connect_service",
    "share_of",
]

NAME = "medix_judge_{}"
TITLE = "judge worker"
PATIENCE_S = 180.0
"""How long a worker may be unreachable; a process with our imports starts in seconds, on a busy machine in a minute."""

Item = tuple[str, str | None, str, tuple[str, ...] | None, str | None, tuple[bytes, ...], int, Reference | None]
"""A question as plain values: candidate, question, answer, options, credentialed row, pictures, number of pictures left
out; and the whole reference for a panel, whose members may be judges that read more of it."""
BATCH, BATCH_WITH_PICTURES = 512, 32
"""Questions per message to a worker; a picture that several of them share is sent once."""


class JudgeService:
    """The service in the actor."""

    def __init__(self, spec: JudgeSpec, place: int, urls: Sequence[str], model: str) -> None:
        self.pool: JudgePool | Panel = JudgePool(share_of(spec, place), urls, model)

    def answer(self, items: Sequence[Item]) -> AsyncIterator[list[tuple[int, Verdict]]]:
        """Judge a batch; yields verdicts in groups as they are ready."""
        return as_they_come([self.pool.ask(question_of(item)) for item in items])

    def note(self, counts: Sequence[int]) -> None:
        """Add the counts of what a process decided itself (Counters.take_answered_locally)."""
        self.pool.counters.add_answered_locally(counts)

    def stats(self) -> JudgeStats:
        """Counts since the last `take_stats`."""
        return self.pool.stats()

    def take_stats(self) -> JudgeStats:
        """Counts since the last call; resets them."""
        return self.pool.take_stats()

    async def close(self) -> None:
        """Close the pool."""
        await self.pool.close()


class PanelService(JudgeService):
    """A panel in the actor: each member has its share of its own limits, for the whole run."""

    def __init__(self, spec: JudgeSpec, place: int, served_url: str | None, served_model: str | None) -> None:
        self.pool = build_panel([share_of(member, place) for member in spec.members], served_url, served_model)


class RemoteJudge:
    """The judge in a reward process, which sends questions to the actors; a Judge."""

    def __init__(
        self, spec: JudgeSpec, urls: Sequence[str], model: str, workers: Sequence[Link], **client: Any
    ) -> None:
        """Store the links to the workers; nothing is sent yet.

        Args:
            spec: How much of a candidate is shown, and how many questions may wait.
            urls: The addresses that the workers ask.
            model: Name of the judge model.
            workers: One link per worker.
            client: Settings of BatchingClient, such as `patience_s`.
        """
        self.endpoints = tuple(urls)
        self.model = model
        self.counters = Counters()
        self.shown = max(one.max_candidate_chars for one in spec.members or (spec,))
        self.whole = bool(spec.panel)
        self.workers = len(workers)
        self.client: BatchingClient[Item, Verdict] = BatchingClient(
            workers,
            failed=lambda reason: Verdict(None, model, reason, failure=Failure.INTERNAL),
            take_note=self.counters.take_answered_locally,
            return_note=self.counters.add_answered_locally,
            on_lost=self.note_loss,
            title=TITLE,
            max_waiting=spec.max_inflight,
            max_items=BATCH_WITH_PICTURES if spec.shows_pictures else BATCH,
            **{"patience_s": PATIENCE_S, **client},
        )

    def __repr__(self) -> str:
        return f"RemoteJudge(model={self.model!r}, workers={self.workers})"

    def note_loss(self) -> None:
        """Count a batch that is sent again."""
        self.counters.retries += 1

    async def ask(self, question: Question) -> Verdict:
        """Add a question to the next batch; equal questions of all processes go to the same worker."""
        candidate, reference = question.candidate[: self.shown + 1], question.reference
        item = (
            *(candidate, reference.question, reference.answer, reference.options, reference.credentialed_row),
            *(question.pictures, question.left_out, replace(reference, images=()) if self.whole else None),
        )
        place = 0 if self.workers == 1 else crc32(repr(item[:4]).encode("ascii", "backslashreplace"))
        return await self.client.ask(item, place)

    async def stats(self) -> JudgeStats:
        """The workers' counts since the last `take_stats`."""
        return add_up(await self.client.call_all("stats"))

    async def close(self) -> None:
        """Stop sending; the workers belong to the run and continue."""
        await self.client.close()


def question_of(item: Item) -> Question:
    """The question of an Item."""
    candidate, question, answer, options, row, pictures, left_out, whole = item
    reference = whole or Reference(answer, question=question, options=options, credentialed_row=row)
    return Question(candidate, reference, pictures, left_out)


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
    """Connect to the run's workers, and create those that do not exist.

    Raises:
        ConfigError: The settings are incomplete; checked before an actor is created.
    """
    # This pool is never asked; it makes the same checks as the worker's pool, except for the cache file.
    here = JudgePool(replace(spec, cache="none"), urls, model)
    actors = [SharedActor(actor_spec(spec, place, here.endpoints, here.model)) for place in range(spec.workers)]
    return RemoteJudge(spec, here.endpoints, here.model, actors)


def connect_panel(
    spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None
) -> tuple[RemoteJudge, tuple[str, ...]]:
    """Connect to the run's panel, all of which runs in each of the workers, and create workers that do not exist.

    Returns:
        The client, and the endpoints that are the run's own nodes.

    Raises:
        ConfigError: The settings are incomplete; checked before an actor is created.
    """
    here = build_panel([replace(member, cache="none") for member in spec.members], served_url, served_model)
    settings = repr((spec, here.endpoints, here.model))
    actors = [
        SharedActor(
            ActorSpec(NAME.format(place), PanelService, (spec, place, served_url, served_model), settings, title=TITLE)
        )
        for place in range(spec.workers)
    ]
    return RemoteJudge(spec, here.endpoints, here.model, actors), here.own


def collect_stats(timeout_s: float = 10.0) -> dict[str, float]:
    """Take the counts of the run's workers, from any of its processes; empty if there are none or none answers."""
    parts: list[JudgeStats] = []
    while (part := call_named(NAME.format(len(parts)), "take_stats", timeout_s=timeout_s)) is not None:
        parts.append(part)
    return add_up(parts).flat() if parts else {}

# SPDX-License-Identifier: Apache-2.0
"""The judge as a reward process sees it when the pool is in another process: it collects questions and sends them.

What needs no model is decided here. The other questions of one event loop's tick travel in one call, to the worker
that their key points to, so that identical questions of all processes meet. A worker that dies is asked again, with
whatever it had not answered: asking twice is harmless, because a verdict depends on the question alone. How a call
is made is the link's business (medix_verl.judge.worker has the one for Ray), so this file knows no framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from medix_verl.errors import JudgeError
from medix_verl.judge.credentials import Gate
from medix_verl.judge.pool import plain_verdict
from medix_verl.judge.question import Question, Writer
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import Counters
from medix_verl.types import Reference, Verdict

__all__ = ["Answers", "Link", "LostWorkerError", "RemoteJudge"]

COLLECT_S = 0.002
"""How long the first question of a batch waits for others."""
MAX_BATCH = 512
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
PATIENCE_S = 180.0
"""How long a worker may stay away; a process with our imports starts in seconds, on a busy machine in a minute."""

Answers = tuple[list[tuple[int, Verdict]], str | None]
"""Place in the batch and verdict of what is answered, and a ticket for the rest, None where there is none."""


class LostWorkerError(JudgeError):
    """A call was not answered because the worker died, restarts, or does not know the ticket."""


class Link(Protocol):
    """The way to one worker."""

    async def ask(self, questions: Sequence[Question], spared: Sequence[int]) -> Answers:
        """Send a batch; answers as soon as some are there. Raises LostWorkerError."""
        ...

    async def rest(self, ticket: str) -> Answers:
        """The next answers of a batch. Raises LostWorkerError."""
        ...

    async def stats(self) -> Any:
        """The worker's JudgeStats. Raises LostWorkerError."""
        ...


@dataclass(slots=True)
class Queue:
    """Questions of one event loop that wait for their batch to be sent to one worker."""

    waiting: list[tuple[Question, asyncio.Future[Verdict]]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Desk:
    """What belongs to one event loop."""

    def __init__(self, links: int, max_inflight: int) -> None:
        self.places = asyncio.Semaphore(max_inflight)
        self.queues = [Queue() for _ in range(links)]
        self.sending: set[asyncio.Task[None]] = set()


class RemoteJudge:
    """Satisfies medix_verl.judge.judge.Judge."""

    def __init__(
        self,
        spec: JudgeSpec,
        writer: Writer,
        model: str,
        links: Sequence[Link],
        patience_s: float = PATIENCE_S,
        pause_s: Callable[[int], float] | None = None,
        urls: Sequence[str] = (),
    ) -> None:
        """Keep the way to the workers; nothing is sent yet.

        Args:
            spec: Limits, and what credentialed rows may be sent to.
            writer: Makes questions of answers.
            model: Name of the judge model.
            links: One for each worker.
            patience_s: How long a worker may stay away.
            pause_s: Attempt -> seconds before the next one.
            urls: The addresses that the workers ask; none takes the spec's.
        """
        self.spec = spec
        self.gate = Gate(spec, tuple(urls) or spec.urls)
        self.writer = writer
        self.model = model
        self.links = list(links)
        self.counters = Counters()
        self.patience_s = patience_s
        self.pause_s = pause_s or (lambda attempt: min(FIRST_PAUSE_S * 2.0 ** min(attempt, 10), LONGEST_PAUSE_S))
        self.desks: WeakKeyDictionary[asyncio.AbstractEventLoop, Desk] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"RemoteJudge(model={self.model!r}, workers={len(self.links)})"

    async def ask(self, candidate: str, reference: Reference) -> Verdict:
        """Judge one candidate answer; a failure of the service is a verdict without `correct`.

        Raises:
            ConfigError: The row is credentialed and a server is not local (see medix_verl.judge.credentials).
        """
        self.gate.check(reference)
        plain = plain_verdict(candidate, reference, self.counters, self.spec.guard)
        return plain or await self.ask_model(self.writer.ask(candidate, reference))

    async def ask_model(self, question: Question) -> Verdict:
        """Put a question into the next batch and wait for its verdict."""
        desk = self.desk()
        place = int.from_bytes(question.key[:4], "big") % len(self.links)
        queue = desk.queues[place]
        async with desk.places:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[Verdict] = loop.create_future()
            queue.waiting.append((question, answer))
            if len(queue.waiting) >= MAX_BATCH:
                self.flush(desk, place)
            elif queue.timer is None:
                queue.timer = loop.call_later(COLLECT_S, self.flush, desk, place)
            return await answer

    def flush(self, desk: Desk, place: int) -> None:
        """Send what waits; a question whose asker has gone is not sent."""
        queue = desk.queues[place]
        if queue.timer is not None:
            queue.timer.cancel()
            queue.timer = None
        batch = [(question, answer) for question, answer in queue.waiting if not answer.done()]
        queue.waiting = []
        if batch:
            task = asyncio.ensure_future(self.deliver(self.links[place], batch))
            desk.sending.add(task)
            task.add_done_callback(desk.sending.discard)

    async def deliver(self, link: Link, batch: list[tuple[Question, asyncio.Future[Verdict]]]) -> None:
        """Bring a batch to its end: every future gets a verdict, or the error that is a bug."""
        attempt, lost_since = 0, None
        loop = asyncio.get_running_loop()
        try:
            while batch := [(question, answer) for question, answer in batch if not answer.done()]:
                before = len(batch)
                try:
                    await self.once(link, batch)
                    return
                except LostWorkerError as error:
                    progress = sum(not answer.done() for _, answer in batch) < before
                    attempt = 0 if progress else attempt + 1
                    lost_since = loop.time() if progress or lost_since is None else lost_since
                    if loop.time() - lost_since > self.patience_s:
                        self.give_up(batch, f"the judge worker did not come back: {error}")
                        return
                    self.counters.retries += 1
                    await asyncio.sleep(self.pause_s(attempt))
        except Exception as error:  # noqa: BLE001 - the askers must hear of it, or they would wait for ever
            self.give_up(batch, f"the judge worker failed: {error or type(error).__name__}")

    async def once(self, link: Link, batch: list[tuple[Question, asyncio.Future[Verdict]]]) -> None:
        """Send a batch and hand out the answers as they come.

        Raises:
            LostWorkerError: The worker went away before the last one.
        """
        # Taken before the wait: other batches are sent meanwhile, and must not tell the same again.
        spared = self.counters.take_spared()
        try:
            answers, ticket = await link.ask([question for question, _ in batch], spared)
        except BaseException:
            self.counters.add_spared(spared)
            raise
        while True:
            for place, verdict in answers:
                if not batch[place][1].done():
                    batch[place][1].set_result(verdict)
            if ticket is None:
                return
            answers, ticket = await link.rest(ticket)

    def give_up(self, batch: list[tuple[Question, asyncio.Future[Verdict]]], reason: str) -> None:
        """Leave what has no answer unscored."""
        for _, answer in batch:
            if not answer.done():
                answer.set_result(Verdict(None, self.model, " ".join(reason.split())[:300]))

    def desk(self) -> Desk:
        """What belongs to the running event loop, made when it is first needed."""
        loop = asyncio.get_running_loop()
        found = self.desks.get(loop)
        if found is None:
            found = self.desks[loop] = Desk(len(self.links), self.spec.max_inflight)
        return found

    async def stats(self) -> Any:
        """What the workers have done since their numbers were last taken."""
        from medix_verl.judge.stats import add_up

        return add_up(await asyncio.gather(*(link.stats() for link in self.links)))

    async def close(self) -> None:
        """Send nothing more; the workers belong to the run and go on."""
        desk = self.desks.pop(asyncio.get_running_loop(), None)
        for task in list(desk.sending) if desk else []:
            task.cancel()

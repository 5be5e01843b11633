# SPDX-License-Identifier: Apache-2.0
"""A sentence-transformers model, in this process or beside it, asked in micro-batches.

Pairs that arrive within the spec's deadline, or while the model is busy, become one batch. One worker thread owns the
model and its cache of vectors, so nothing blocks the event loop, nothing needs a further lock, and a text is embedded
once however often it is asked for. A failure of the model is a Similarity without a value; only a model that cannot be
loaded raises, at construction.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from medix_verl.embedding.apart import ApartEmbedder
from medix_verl.embedding.model import default_threads, load_model
from medix_verl.embedding.passes import Embedder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.embedding.stats import EncoderStats, StatsBook
from medix_verl.types import Similarity

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Pair", "SentenceEncoder"]

Pair = tuple[str, str]
MAX_CHARS = 8000
"""Models read a few hundred tokens; the tokenizer need not see megabytes."""
BATCHES_AT_ONCE = 32
"""Batches' worth of waiting pairs that are sorted by length together."""


@dataclass(slots=True)
class Ask:
    """Some pairs of one caller, and where the answer goes."""

    pairs: list[Pair]
    future: asyncio.Future[list[Similarity]]
    since: float


@dataclass(slots=True)
class Desk:
    """What waits and what runs in one event loop."""

    waiting: list[Ask] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    running: asyncio.Task[None] | None = None


class SentenceEncoder:
    """Satisfies medix_verl.embedding.base.Encoder; may be asked from several event loops."""

    def __init__(self, spec: SemanticSpec, model: Any = None) -> None:
        """Load the model.

        Args:
            spec: Which model, on which device, and the sizes of batches and cache.
            model: Anything with sentence-transformers' `encode`, instead of loading one.

        Raises:
            EncoderError: The model cannot be loaded.
        """
        self.spec = spec
        self.embedder = build_embedder(spec, model)
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self.cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self.desks: WeakKeyDictionary[asyncio.AbstractEventLoop, Desk] = WeakKeyDictionary()
        self.book = StatsBook()
        self.closed = False

    async def compare(self, candidate: str, reference: str) -> Similarity:
        """Cosine similarity of two texts, together with whatever else is asked in the same moment."""
        [answer] = await self.compare_many([(candidate, reference)])
        return answer

    async def compare_many(self, pairs: Sequence[Pair]) -> list[Similarity]:
        """`compare` for several pairs, in order."""
        if self.closed or not pairs:
            return [Similarity(None, "the encoder is closed")] * len(pairs)
        loop = asyncio.get_running_loop()
        desk = self.desks.setdefault(loop, Desk())
        cleaned = [(clean(candidate), clean(reference)) for candidate, reference in pairs]
        if (known := self.known(cleaned)) is not None:
            return known
        ask = Ask(cleaned, loop.create_future(), time.monotonic())
        desk.waiting.append(ask)
        if desk.running is None:
            if sum(len(other.pairs) for other in desk.waiting) >= self.spec.batch_size:
                self.start(loop)
            elif desk.timer is None:
                desk.timer = loop.call_later(self.spec.deadline_ms / 1000, self.start, loop)
        return await ask.future

    def known(self, pairs: Sequence[Pair]) -> list[Similarity] | None:
        """The answers, where every text is in the cache: short answers recur, and need not wait for a batch."""
        vectors = [(self.cache.get(left), self.cache.get(right)) for left, right in pairs]
        answers = [similarity(left, right) for left, right in vectors if left is not None and right is not None]
        if len(answers) < len(pairs):
            return None
        self.touch(text for pair in pairs for text in pair)
        self.book.enter(len(pairs), 2 * len(pairs), 0, sum(answer.value is None for answer in answers))
        return answers

    def touch(self, texts: Iterable[str]) -> None:
        """Mark texts as just used, so that the cache forgets others first; runs in any event loop's thread."""
        for text in texts:
            # The worker thread may have dropped one since it was read.
            with contextlib.suppress(KeyError):
                self.cache.move_to_end(text)

    async def close(self) -> None:
        """Answer what was asked, then release the model."""
        self.closed = True
        desk = self.desks.get(asyncio.get_running_loop(), Desk())
        self.start(asyncio.get_running_loop())
        while desk.running is not None:
            await asyncio.gather(desk.running, return_exceptions=True)
            await asyncio.sleep(0)
        self.thread.shutdown(wait=False)
        self.embedder.close()
        self.cache.clear()

    def take_stats(self) -> EncoderStats:
        """What was done since the last call."""
        return self.book.take()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand what waits in this event loop to the worker thread; runs in that loop."""
        desk = self.desks.get(loop)
        if desk is None or desk.running is not None:
            return
        if desk.timer is not None:
            desk.timer.cancel()
            desk.timer = None
        if desk.waiting:
            batch, desk.waiting = split(desk.waiting, self.spec.batch_size * BATCHES_AT_ONCE)
            desk.running = loop.create_task(self.answer(batch))
            desk.running.add_done_callback(lambda _task: self.ended(loop, desk))

    def ended(self, loop: asyncio.AbstractEventLoop, desk: Desk) -> None:
        """A batch is answered; what came in the meantime is next."""
        desk.running = None
        self.start(loop)

    async def answer(self, batch: list[Ask]) -> None:
        """Resolve the futures of one batch, whatever happens."""
        pairs = [pair for ask in batch for pair in ask.pairs]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self.thread, self.cosines, pairs)
        except Exception as error:  # noqa: BLE001 - any failure of torch or of the model is a reason, not a crash
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            answers = [Similarity(None, f"the embedding model failed ({cause})")] * len(pairs)
            self.book.enter(len(pairs), 0, 0, len(pairs))
        begin, now = 0, time.monotonic()
        for ask in batch:
            end = begin + len(ask.pairs)
            self.book.enter_latency(now - ask.since)
            if not ask.future.done():
                ask.future.set_result(answers[begin:end])
            begin = end

    def cosines(self, pairs: Sequence[Pair]) -> list[Similarity]:
        """Compare the pairs; runs in the worker thread only."""
        texts = [text for pair in pairs for text in pair]
        new = [text for text in dict.fromkeys(texts) if text not in self.cache]
        vectors = {text: self.cache[text] for text in texts if text in self.cache}
        if new:
            # Copies: a row that stays in the cache would keep the array of its whole batch alive.
            vectors.update((text, row.copy()) for text, row in zip(new, self.embedder.embed(new), strict=True))
        self.remember(vectors)
        answers = [similarity(vectors[left], vectors[right]) for left, right in pairs]
        failures = sum(answer.value is None for answer in answers)
        self.book.enter(len(pairs), len(texts), len(new), failures)
        return answers

    def remember(self, vectors: dict[str, np.ndarray]) -> None:
        """Keep the vectors, as many as the spec allows."""
        for text, vector in vectors.items():
            self.cache[text] = vector
            self.cache.move_to_end(text)
        while len(self.cache) > self.spec.cache_size:
            self.cache.popitem(last=False)


def build_embedder(spec: SemanticSpec, model: Any) -> Embedder | ApartEmbedder:
    """What turns texts into vectors: in this process, or in one of its own."""
    if model is None and spec.own_process:
        return ApartEmbedder(spec)
    model = load_model(spec) if model is None else model
    return Embedder(model, spec.batch_size, spec.device, spec.threads or default_threads())


def split(asks: list[Ask], pairs: int) -> tuple[list[Ask], list[Ask]]:
    """The first asks with about `pairs` pairs, at least one ask, and the rest."""
    count = 0
    for index, ask in enumerate(asks):
        count += len(ask.pairs)
        if count >= pairs:
            return asks[: index + 1], asks[index + 1 :]
    return asks, []


def similarity(left: np.ndarray, right: np.ndarray) -> Similarity:
    """Cosine of two unit vectors, (hidden,) each, held to [-1, 1] against rounding."""
    value = float(left @ right)
    if not math.isfinite(value):
        return Similarity(None, "the embedding model gave no finite vector")
    return Similarity(max(-1.0, min(1.0, value)))


def clean(text: str) -> str:
    """What a tokenizer accepts: bounded, and without lone surrogates, one of which would fail its whole batch."""
    return text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8")

# SPDX-License-Identifier: Apache-2.0
"""A sentence-transformers model in this process, asked in micro-batches.

Comparisons that arrive within 5 ms in one event loop become one call of the model. One worker thread owns the model
and alone writes its cache of vectors, so nothing blocks the event loop and nothing needs a further lock. A failure of
the model is a Similarity without a value; only a model that cannot be loaded raises, at construction.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from medix_verl.embedding.model import load_model
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.types import Similarity

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SentenceEncoder"]

DEADLINE_S = 0.005
MAX_BATCH = 64
CACHE_VECTORS = 20_000
MAX_CHARS = 8000
"""Models read a few hundred tokens; the tokenizer need not see megabytes."""

Waiting = tuple[str, str, "asyncio.Future[Similarity]"]


class SentenceEncoder:
    """Satisfies medix_verl.embedding.base.Encoder."""

    def __init__(self, spec: SemanticSpec, model: Any = None) -> None:
        """Load the model.

        Args:
            spec: Which model, and on which device.
            model: Anything with sentence-transformers' `encode`, instead of loading one.

        Raises:
            EncoderError: The model cannot be loaded.
        """
        self.model = load_model(spec) if model is None else model
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self.cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self.waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Waiting]] = WeakKeyDictionary()
        self.tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    async def compare(self, candidate: str, reference: str) -> Similarity:
        """Cosine similarity of two texts, together with whatever else is asked in the same moment."""
        if self.closed:
            return Similarity(None, "the encoder is closed")
        candidate, reference = clean(candidate), clean(reference)
        # Short answers recur all the time: what is known is not made to wait for a batch.
        known = self.cache.get(candidate), self.cache.get(reference)
        if known[0] is not None and known[1] is not None:
            return similarity(known[0], known[1])
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Similarity] = loop.create_future()
        queue = self.waiting.setdefault(loop, [])
        if not queue:
            loop.call_later(DEADLINE_S, self.flush, loop)
        queue.append((candidate, reference, future))
        if len(queue) >= MAX_BATCH:
            self.flush(loop)
        return await future

    async def close(self) -> None:
        """Let the batches under way finish, then release the model."""
        self.closed = True
        loop = asyncio.get_running_loop()
        self.flush(loop)
        mine = [task for task in self.tasks if task.get_loop() is loop]
        await asyncio.gather(*mine, return_exceptions=True)
        self.thread.shutdown(wait=False)
        self.model = None
        self.cache.clear()

    def flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send what waits in this event loop to the worker thread; runs in that loop."""
        batch = self.waiting.pop(loop, [])
        if batch:
            task = loop.create_task(self.answer(batch))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def answer(self, batch: list[Waiting]) -> None:
        """Resolve the futures of one batch, whatever happens."""
        pairs = [(candidate, reference) for candidate, reference, _ in batch]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self.thread, self.cosines, pairs)
        except Exception as error:  # noqa: BLE001 - any failure of torch or of the model is a reason, not a crash
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            answers = [Similarity(None, f"the embedding model failed ({cause})")] * len(batch)
        for (_, _, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    def cosines(self, pairs: Sequence[tuple[str, str]]) -> list[Similarity]:
        """Compare the pairs; runs in the worker thread only."""
        vectors = self.vectors([text for pair in pairs for text in pair])
        return [similarity(vectors[left], vectors[right]) for left, right in pairs]

    def vectors(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Vectors of the texts, each text embedded at most once, (hidden,) each."""
        known = {text: self.cache[text] for text in texts if text in self.cache}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            encoded = self.model.encode(
                new, batch_size=MAX_BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
            known.update(zip(new, encoded, strict=True))
        for text in texts:
            self.cache[text] = known[text]
            self.cache.move_to_end(text)
        while len(self.cache) > CACHE_VECTORS:
            self.cache.popitem(last=False)
        return known


def similarity(left: np.ndarray, right: np.ndarray) -> Similarity:
    """Cosine of two unit vectors, (hidden,) each, held to [-1, 1] against rounding."""
    value = float(left @ right)
    if not math.isfinite(value):
        return Similarity(None, "the embedding model gave no finite vector")
    return Similarity(max(-1.0, min(1.0, value)))


def clean(text: str) -> str:
    """What a tokenizer accepts: bounded, and without lone surrogates, one of which would fail its whole batch."""
    return text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8")

# SPDX-License-Identifier: Apache-2.0
"""Embedders that run a sentence-transformers model in this process, or in a child process.

Many short texts become unit vectors in a few full passes: all texts are tokenised at once, sorted by number of tokens
and cut into passes with almost no padding. `encode` estimates lengths from characters and has an overhead on every
call. On a CPU each thread computes one pass, so that threads do not synchronise after every layer. A model that needs
more (a prompt before every text, vectors cut to fewer dimensions) uses its own `encode`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import TYPE_CHECKING, Any

from medix_verl.embedding.model import default_threads, load_model
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.runtime.dispatch import CallCounts
from medix_verl.runtime.processes import end_with_parent

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LocalEmbedder", "ProcessEmbedder"]

MAX_TEXTS = 4096
"""Texts that are tokenised together: a long text pads the others' token ids, but not the passes."""
TOKENS_A_PASS = {"cpu": 512, "cuda": 65_536}
"""A pass that fits a core's cache is faster than a larger one; a GPU needs larger passes."""
LEAST_TOKENS = 64
"""A shorter pass is not worth a thread."""


class LocalEmbedder:
    """A model in this process; satisfies medix_verl.embedding.encoder.Embedder. One thread uses the model."""

    endpoints: tuple[str, ...] = ()
    max_texts = MAX_TEXTS
    max_running: int | None = 1

    def __init__(self, model: Any, batch_size: int, device: str = "cpu", threads: int = 1) -> None:
        """Wrap a loaded model.

        Args:
            model: A SentenceTransformer, or an object with the same `encode`.
            batch_size: Largest number of texts in one pass.
            device: Where the model is.
            threads: Number of passes that a CPU computes in parallel.
        """
        self.model = model
        self.batch_size = batch_size
        kind = device.partition(":")[0]
        self.tokens = TOKENS_A_PASS[kind]
        self.direct = takes_passes(model)
        self.threads = threads if kind == "cpu" and self.direct else 1
        self.pool = ThreadPoolExecutor(self.threads, "pass", single_threaded) if self.threads > 1 else None
        self.thread = ThreadPoolExecutor(1, "encoder")
        self.counts = CallCounts()

    async def embed(self, texts: Sequence[str], restricted: bool = False) -> np.ndarray:
        """Unit vectors of the texts, (texts, hidden), float32, in order; does not block the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.vectors, texts)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """`embed`, in the calling thread; not for concurrent calls."""
        if not self.direct:
            import numpy as np

            return np.asarray(
                self.model.encode(
                    list(texts),
                    batch_size=self.batch_size,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
            )
        import torch

        features = {k: v for k, v in self.model.preprocess(list(texts)).items() if torch.is_tensor(v)}
        lengths = features["attention_mask"].sum(dim=1)
        order = torch.argsort(lengths)
        # Too few texts to fill every thread: divide them among all threads.
        tokens = min(self.tokens, max(LEAST_TOKENS, int(lengths.sum()) // self.threads))
        parts = []
        for begin, end in cut(lengths[order].tolist(), self.batch_size, tokens):
            rows, width = order[begin:end], int(lengths[order[end - 1]])
            parts.append({name: value[rows, :width] for name, value in features.items()})
        passes = list((self.pool.map if self.pool and len(parts) > 1 else map)(self.run, parts))
        unit = torch.nn.functional.normalize(torch.cat(passes), dim=1)
        found = torch.empty_like(unit)
        found[order] = unit
        return found.numpy()

    def run(self, part: dict[str, Any]) -> Any:
        """One pass: vectors (texts, hidden), float32, on the CPU."""
        import torch

        with torch.inference_mode():
            part = {name: value.to(self.model.device) for name, value in part.items()}
            return self.model(part)["sentence_embedding"].float().cpu()

    async def close(self) -> None:
        """Release the model and the threads."""
        self.model = None
        for pool in (self.thread, self.pool):
            if pool is not None:
                pool.shutdown(wait=False)


class ProcessEmbedder:
    """A model in a child process, for programs without Ray; satisfies medix_verl.embedding.encoder.Embedder.

    A pass is hundreds of short operations, each of which needs the GIL; an event loop with many judge calls holds it
    for milliseconds. The child ends with its parent; if the child dies, each call restarts it once.
    """

    endpoints: tuple[str, ...] = ()
    max_texts = MAX_TEXTS
    max_running: int | None = 1

    def __init__(self, spec: SemanticSpec) -> None:
        """Start the process and load the model there.

        Raises:
            EncoderError: The model cannot be loaded.
        """
        self.spec = spec
        self.counts = CallCounts()
        self.pool = start_process()
        self.pool.submit(embed_here, spec, ("ready",)).result()

    async def embed(self, texts: Sequence[str], restricted: bool = False) -> np.ndarray:
        """Unit vectors of the texts, (texts, hidden), float32, in order."""
        pool = self.pool
        try:
            return await asyncio.wrap_future(pool.submit(embed_here, self.spec, tuple(texts)))
        except BrokenProcessPool:
            if self.pool is pool:  # another event loop may have restarted it already
                self.pool = start_process()
            self.counts.retries += 1
            return await asyncio.wrap_future(self.pool.submit(embed_here, self.spec, tuple(texts)))

    async def close(self) -> None:
        """Stop the process."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def start_process() -> ProcessPoolExecutor:
    """One child process; spawned, because a forked one would inherit threads and locks."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent)


def load_embedder(spec: SemanticSpec) -> LocalEmbedder:
    """The spec's model, loaded into this process.

    Raises:
        EncoderError: The model cannot be loaded.
    """
    return LocalEmbedder(load_model(spec), spec.batch_size, spec.device, spec.threads or default_threads())


loaded = cache(load_embedder)


def embed_here(spec: SemanticSpec, texts: tuple[str, ...]) -> np.ndarray:
    """In the child: `embed`, with a model that is loaded once."""
    return loaded(spec).vectors(texts)


def single_threaded() -> None:
    """In a thread of the pool: torch's thread count is set per thread, and defaults to all cores."""
    import torch

    torch.set_num_threads(1)


def takes_passes(model: Any) -> bool:
    """Whether tokenising and calling the model is equivalent to its `encode`."""
    return (
        hasattr(model, "preprocess")
        and callable(model)
        and getattr(model, "default_prompt_name", None) is None
        and getattr(model, "truncate_dim", None) is None
        and getattr(getattr(model, "tokenizer", None), "padding_side", None) == "right"
    )


def cut(lengths: Sequence[int], batch_size: int, tokens: int) -> list[tuple[int, int]]:
    """Begin and end of each pass over texts sorted by length: at most `batch_size` texts and about `tokens` tokens."""
    passes: list[tuple[int, int]] = []
    begin = 0
    for end in range(1, len(lengths) + 1):
        full = end - begin == batch_size
        # One more text would pad all texts of the pass to its length.
        if end == len(lengths) or full or (end + 1 - begin) * lengths[end] > tokens:
            passes.append((begin, end))
            begin = end
    return passes

# SPDX-License-Identifier: Apache-2.0
"""Embedders that run a sentence-transformers model in this process, or in a child process.

Many short texts become unit vectors in few, well-filled passes: all texts are tokenised at once, sorted by their number
of tokens and cut into passes with next to no padding. `encode` guesses lengths from characters and pays its overhead on
every call. On a CPU each thread computes one pass: that way the threads need not meet after every layer. A model that
needs more than that (a prompt put in front of every text, vectors cut to fewer dimensions) is left to its own `encode`.
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
"""Texts that are tokenised together: a long one pads the others' token ids, not the passes."""
TOKENS_A_PASS = {"cpu": 512, "cuda": 65_536}
"""A pass that fits a core's cache is faster than a larger one; a GPU wants more at once."""
LEAST_TOKENS = 64
"""A pass shorter than that is not worth a thread of its own."""


class LocalEmbedder:
    """A model in this process; satisfies medix_verl.embedding.encoder.Embedder. One thread owns the model."""

    endpoints: tuple[str, ...] = ()
    max_texts = MAX_TEXTS
    max_running: int | None = 1

    def __init__(self, model: Any, batch_size: int, device: str = "cpu", threads: int = 1) -> None:
        """Wrap a loaded model.

        Args:
            model: A SentenceTransformer, or anything with its `encode`.
            batch_size: Texts of one pass, at most.
            device: Where the model is.
            threads: How many passes a CPU computes side by side.
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
        """Unit vectors of the texts, (texts, hidden), float32, in order; the event loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.vectors, texts)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """`embed`, in the calling thread; one thread at a time may call it."""
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
        # Fewer texts than fill every thread are spread over all of them.
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

    A pass is hundreds of short operations, and each needs the interpreter, which an event loop full of judge calls
    holds for milliseconds. The child ends with its parent; a child that dies is started again once for each call.
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
            if self.pool is pool:  # another event loop may have started it again already
                self.pool = start_process()
            self.counts.retries += 1
            return await asyncio.wrap_future(self.pool.submit(embed_here, self.spec, tuple(texts)))

    async def close(self) -> None:
        """End the process."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def start_process() -> ProcessPoolExecutor:
    """One child; spawned, because a forked one would inherit threads and locks."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent)


def load_embedder(spec: SemanticSpec) -> LocalEmbedder:
    """The spec's model, loaded into this process.

    Raises:
        EncoderError: The model cannot be loaded.
    """
    return LocalEmbedder(load_model(spec), spec.batch_size, spec.device, spec.threads or default_threads())


loaded = cache(load_embedder)


def embed_here(spec: SemanticSpec, texts: tuple[str, ...]) -> np.ndarray:
    """In the child: `embed`, by a model that is loaded once."""
    return loaded(spec).vectors(texts)


def single_threaded() -> None:
    """In a thread of the pool: torch's number of threads is each thread's own, and starts with all cores."""
    import torch

    torch.set_num_threads(1)


def takes_passes(model: Any) -> bool:
    """Whether tokenising and calling the model does all that its `encode` would do."""
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
        # One more text would be padded to that text's own length, and so would all others of the pass.
        if end == len(lengths) or full or (end + 1 - begin) * lengths[end] > tokens:
            passes.append((begin, end))
            begin = end
    return passes

# SPDX-License-Identifier: Apache-2.0
"""An embedder in a process of its own, for programs without Ray: model and event loop do not wait for one interpreter.

A model's pass is hundreds of short operations, and each needs the interpreter that an event loop full of judge calls
holds for milliseconds. The child ends with its parent, whatever ends that; a child that dies is started again once for
each call, so that a lost process is a slow answer and not a wrong one.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import TYPE_CHECKING

from medix_verl.embedding.model import default_threads, load_model
from medix_verl.embedding.passes import Embedder
from medix_verl.embedding.spec import SemanticSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ApartEmbedder"]


class ApartEmbedder:
    """Has the `embed` and `close` of medix_verl.embedding.passes.Embedder; asked by one thread at a time."""

    def __init__(self, spec: SemanticSpec) -> None:
        """Start the process and load the model there.

        Raises:
            EncoderError: The model cannot be loaded.
        """
        self.spec = spec
        self.pool = start()
        self.embed(["ready"])

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts, (texts, hidden), float32, in order."""
        try:
            return self.pool.submit(embed_here, self.spec, tuple(texts)).result()
        except BrokenProcessPool:
            self.pool = start()
            return self.pool.submit(embed_here, self.spec, tuple(texts)).result()

    def close(self) -> None:
        """End the process."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def start() -> ProcessPoolExecutor:
    """One child; spawned, because a forked one would inherit threads and locks."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent)


def end_with_parent() -> None:
    """In the child: a queue's other end never closes, so that an orphan would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end-with-parent").start()


@cache
def embedder(spec: SemanticSpec) -> Embedder:
    """In the child: the loaded model."""
    return Embedder(load_model(spec), spec.batch_size, spec.device, spec.threads or default_threads())


def embed_here(spec: SemanticSpec, texts: tuple[str, ...]) -> np.ndarray:
    """In the child: `embed`."""
    return embedder(spec).embed(texts)

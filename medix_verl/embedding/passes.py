# SPDX-License-Identifier: Apache-2.0
"""Turns many short texts into unit vectors with few, well-filled passes of a sentence-transformers model.

All texts are tokenised at once, sorted by their number of tokens and cut into passes with next to no padding: `encode`
guesses lengths from characters and pays its overhead on every call. On a CPU the threads take one pass each: that way
they need not meet after every layer. A model that needs more than that (a prompt put in front of every text, vectors
cut to fewer dimensions) is left to its own `encode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Embedder"]

CHUNK = 4096
"""Texts that are tokenised together: a long one pads the others' token ids, not the passes."""
TOKENS_A_PASS = {"cpu": 512, "cuda": 65_536}
"""A pass that fits a core's cache is faster than a larger one; a GPU wants more at once."""
LEAST_TOKENS = 64
"""A pass shorter than that is not worth a thread of its own."""


class Embedder:
    """One model, asked by one thread at a time."""

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

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts, (texts, hidden), float32, in order."""
        import numpy as np

        if not self.direct:
            return np.asarray(
                self.model.encode(
                    list(texts),
                    batch_size=self.batch_size,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
            )
        return np.concatenate([self.chunk(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)])

    def chunk(self, texts: Sequence[str]) -> np.ndarray:
        """`embed`, for texts that are tokenised together."""
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
        vectors = list((self.pool.map if self.pool and len(parts) > 1 else map)(self.run, parts))
        unit = torch.nn.functional.normalize(torch.cat(vectors), dim=1)
        found = torch.empty_like(unit)
        found[order] = unit
        return found.numpy()

    def run(self, part: dict[str, Any]) -> Any:
        """One pass: vectors (texts, hidden), float32, on the CPU."""
        import torch

        with torch.inference_mode():
            part = {name: value.to(self.model.device) for name, value in part.items()}
            return self.model(part)["sentence_embedding"].float().cpu()

    def close(self) -> None:
        """Release the model and the threads."""
        self.model = None
        if self.pool is not None:
            self.pool.shutdown(wait=False)


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

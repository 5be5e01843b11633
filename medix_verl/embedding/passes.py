# SPDX-License-Identifier: Apache-2.0
"""Turns many short texts into unit vectors with few, well-filled passes of a sentence-transformers model.

All texts are tokenised at once, sorted by their number of tokens and cut into passes with next to no padding: `encode`
guesses lengths from characters and pays its overhead on every call. A model that needs more than that (a prompt put in
front of every text, vectors cut to fewer dimensions) is left to its own `encode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Embedder"]

CHUNK = 4096
"""Texts that are tokenised together: a long one pads the others' token ids, not the passes."""
TOKENS_A_PASS = {"cpu": 1024, "cuda": 65_536}
"""A pass that fits a core's cache is faster than a larger one; a GPU wants more at once."""


class Embedder:
    """One model, used from one thread."""

    def __init__(self, model: Any, batch_size: int, device: str = "cpu") -> None:
        """Wrap a loaded model.

        Args:
            model: A SentenceTransformer, or anything with its `encode`.
            batch_size: Texts of one pass, at most.
            device: Where the model is.
        """
        self.model = model
        self.batch_size = batch_size
        self.tokens = TOKENS_A_PASS[device.partition(":")[0]]
        self.direct = takes_passes(model)

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
        vectors: list[Any] = []
        with torch.inference_mode():
            for begin, end in cut(lengths[order].tolist(), self.batch_size, self.tokens):
                rows, width = order[begin:end], int(lengths[order[end - 1]])
                part = {name: value[rows, :width].to(self.model.device) for name, value in features.items()}
                vectors.append(self.model(part)["sentence_embedding"].float().cpu())
            unit = torch.nn.functional.normalize(torch.cat(vectors), dim=1)
            found = torch.empty_like(unit)
            found[order] = unit
        return found.numpy()


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

# SPDX-License-Identifier: Apache-2.0
"""Aligns a new vision tower with a pretrained language model, before the warm-up trains both.

The mean of a picture's tokens is regressed to the mean embedding of the words of its modality ("ct scan"), so that the
language model reads a picture as these words. Only tower and merger are run. LLaVA (arXiv 2304.08485, section 4.2) has
such a first stage as well, with the loss at the language model's output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medix_verl.demo.models.fit import FitSpec, fit
from medix_verl.demo.models.warmup import encode_prompt
from medix_verl.types import Sample

__all__ = ["AlignSpec", "align_tower", "nearest", "picture_vectors", "word_vectors"]


@dataclass(frozen=True, slots=True)
class AlignSpec(FitSpec):
    """The length and strength of the alignment; a row is a picture."""

    steps: int = 200
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01


def align_tower(
    model: Any,
    processor: Any,
    samples: Sequence[Sample],
    spec: AlignSpec,
    progress: Callable[[str], None] | None = None,
) -> list[float]:
    """Train vision tower and merger in place on the samples with one picture.

    Args:
        model: A Qwen2_5_VLForConditionalGeneration; its embeddings are not changed.
        processor: Its processor.
        samples: Rows of the warm-up; without any with one picture, nothing is done.
        spec: How long and how strongly.
        progress: Called with progress lines.

    Returns:
        The loss of every step, as a share of the variance of the targets: 1 is what a constant would reach.
    """
    import torch

    rows = [sample for sample in samples if len(sample.images) == 1]
    if not rows:
        return []
    encoded = [encode_prompt(processor, row) for row in rows]
    words = word_vectors(model, processor, sorted({str(row.modality) for row in rows}))
    targets = torch.stack([words[str(row.modality)] for row in rows])
    spread = (targets - targets.mean(0)).square().sum(-1).mean()

    def loss_of(rng: np.random.Generator) -> Any:
        drawn = rng.choice(len(rows), size=min(spec.batch, len(rows)), replace=False)
        vectors = picture_vectors(model, [encoded[row] for row in drawn])
        return (vectors - targets[drawn]).square().sum(-1).mean() / spread

    return fit(model.model.visual, spec, loss_of, "alignment", progress)


def word_vectors(model: Any, processor: Any, tags: Sequence[str]) -> dict[str, Any]:
    """Mean embedding of the words of each modality tag: `CT_SCAN` -> `ct scan`."""
    embeddings = model.get_input_embeddings().weight.detach()
    tokenizer = processor.tokenizer
    words = {tag: tokenizer.encode(tag.replace("_", " ").lower(), add_special_tokens=False) for tag in tags}
    return {tag: embeddings[tokens].mean(0) for tag, tokens in words.items()}


def picture_vectors(model: Any, prompts: Sequence[Mapping[str, Any]]) -> Any:
    """Mean of the tokens of each picture, shape (pictures, hidden)."""
    import torch

    pixels, grids = (torch.cat([prompt[name] for prompt in prompts]) for name in ("pixel_values", "image_grid_thw"))
    pictures = model.model.get_image_features(pixels, grids).pooler_output
    return torch.stack([tokens.mean(0) for tokens in pictures])


def nearest(vectors: Any, words: Mapping[str, Any]) -> list[str]:
    """The tag whose words are nearest to each picture."""
    import torch

    tags = list(words)
    distances = torch.cdist(vectors, torch.stack([words[tag] for tag in tags]))
    return [tags[place] for place in distances.argmin(1).tolist()]

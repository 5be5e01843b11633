# SPDX-License-Identifier: Apache-2.0
"""The warm-up: a short supervised phase that teaches a random policy the response grammar, and little of the answers.

Each target has the right modality tag, a fixed phrase of thinking and an answer. Most answers are drawn at random, each
time the row is used, from all answers of the row's kind; a small share is the right answer. So the policy learns the
format, which answers fit a kind of question, and a weak preference for the right one. Without that preference, a run of
a few minutes learns nothing. All further improvement comes from the reward. The number of steps is fixed, not the time,
so the same seed gives the same weights on the same machine.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image

from medix_verl.data.prompts import build_messages
from medix_verl.demo.models.fit import FitSpec, fit
from medix_verl.types import Sample

__all__ = ["TEMPLATE", "Choose", "WarmupSpec", "answer_pools", "encode_prompt", "lean", "target_text", "warm_up"]

TEMPLATE = "medix_short"
IGNORED = -100
THOUGHTS = {
    "modality": "I look at the texture.",
    "shows": "I look at the shape.",
    "where": "I look for the mark.",
    "count": "I count the marks.",
    "size": "I measure the mark.",
    "which": "I compare the names.",
    "name": "I recall the term.",
    "plain": "I put it in plain words.",
}
TEXT_THOUGHT = "I recall the fact."

Choose = Callable[[np.random.Generator, Sample, Sequence[str]], str]
"""A row and the answers of its kind -> the answer of a target."""


@dataclass(frozen=True, slots=True)
class WarmupSpec(FitSpec):
    """The length and strength of the warm-up."""

    steps: int = 380
    batch: int = 16
    learning_rate: float = 2e-3
    right_share: float = 0.10
    """Share of the targets with the right answer; the others have a random answer of the kind."""
    threads: int | None = 1
    """Threads of torch; one is fastest for a tiny model, None keeps torch's default."""


def answer_pools(samples: Sequence[Sample]) -> dict[str, tuple[str, ...]]:
    """The distinct answers of each kind of question, sorted."""
    kinds = sorted({str(sample.meta["kind"]) for sample in samples})
    return {kind: tuple(sorted({s.answer for s in samples if s.meta["kind"] == kind})) for kind in kinds}


def target_text(sample: Sample, answer: str) -> str:
    """A well-formed response with a given answer."""
    tag = f"<{sample.modality}>\n" if sample.modality else ""
    thought = THOUGHTS.get(str(sample.meta["kind"]), TEXT_THOUGHT)
    return f"{tag}<think>{thought}</think>\n<answer>{answer}</answer>"


def encode_prompt(processor: Any, sample: Sample) -> dict[str, Any]:
    """The processor's tensors for a sample's prompt and pictures."""
    images = [Image.open(io.BytesIO(ref.bytes or b"")).convert("RGB") for ref in sample.images]
    messages = build_messages(sample, images, template=TEMPLATE)
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return dict(processor(text=[text], images=images or None, return_tensors="pt"))


def warm_up(
    model: Any,
    processor: Any,
    samples: Sequence[Sample],
    spec: WarmupSpec,
    progress: Callable[[str], None] | None = None,
    choose: Choose | None = None,
) -> list[float]:
    """Train the model in place on answers of `choose`, by default `lean`; returns the loss of every step."""
    pools = answer_pools(samples)
    choose = choose or partial(lean, right_share=spec.right_share)
    encoded = cache(lambda row: encode_prompt(processor, samples[row]))

    def loss_of(rng: np.random.Generator) -> Any:
        rows = rng.choice(len(samples), size=spec.batch, replace=False)
        targets = [write_target(rng, samples[row], pools, choose) for row in rows]
        return model(**collate([encoded(int(row)) for row in rows], targets, processor.tokenizer)).loss

    return fit(model, spec, loss_of, "warm-up", progress)


def write_target(rng: np.random.Generator, sample: Sample, pools: Mapping[str, tuple[str, ...]], choose: Choose) -> str:
    pool = sample.meta.get("choices") or pools[str(sample.meta["kind"])]
    return target_text(sample, choose(rng, sample, pool))


def lean(rng: np.random.Generator, sample: Sample, pool: Sequence[str], right_share: float) -> str:
    """The right answer with probability `right_share`, otherwise a random one of its kind."""
    if rng.random() < right_share:
        return sample.answer
    return pool[int(rng.integers(len(pool)))]


def collate(prompts: Sequence[Mapping[str, Any]], targets: Sequence[str], tokenizer: Any) -> dict[str, Any]:
    """A right-padded batch; only target tokens count in the loss."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    columns: dict[str, list[Any]] = {"input_ids": [], "labels": [], "mm_token_type_ids": []}
    for prompt, target in zip(prompts, targets, strict=True):
        asked = prompt["input_ids"][0]
        reply = torch.tensor(tokenizer.encode(target + "<|im_end|>", add_special_tokens=False))
        columns["input_ids"].append(torch.cat([asked, reply]))
        columns["labels"].append(torch.cat([torch.full_like(asked, IGNORED), reply]))
        kinds = prompt.get("mm_token_type_ids")
        marks = torch.zeros_like(asked) if kinds is None else kinds[0]
        columns["mm_token_type_ids"].append(torch.cat([marks, torch.zeros_like(reply)]))
    fill = {"input_ids": tokenizer.pad_token_id, "labels": IGNORED, "mm_token_type_ids": 0}
    batch = {name: pad_sequence(rows, True, float(fill[name])) for name, rows in columns.items()}
    lengths = torch.tensor([len(row) for row in columns["input_ids"]])
    batch["attention_mask"] = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
    for name in ("pixel_values", "image_grid_thw"):
        parts = [prompt[name] for prompt in prompts if name in prompt]
        if parts:
            batch[name] = torch.cat(parts)
    return batch

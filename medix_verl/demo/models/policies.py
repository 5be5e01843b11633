# SPDX-License-Identifier: Apache-2.0
"""The policies that the demo can train, by name: how each is created, warmed up and judged, and its recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medix_verl.data.prompts import render_prompt
from medix_verl.demo.models.align import AlignSpec
from medix_verl.demo.models.judge_model import corpus_line, make_judge, save_judge, teach_verdicts
from medix_verl.demo.models.smollm2 import (
    make_smollm2,
    make_smollm2_processor,
    make_smollm2_tokenizer,
    read_gguf,
)
from medix_verl.demo.models.tiny import make_policy, make_processor
from medix_verl.demo.models.tokenizer import train_tokenizer
from medix_verl.demo.models.warmup import TEMPLATE, WarmupSpec, target_text
from medix_verl.demo.models.weights import REQUIREMENT, SHA256, find_weights
from medix_verl.types import Sample

__all__ = ["POLICIES", "Models", "PolicyKind", "Progress"]

Progress = Callable[[str], None]


class Models(Protocol):
    """A policy before its warm-up, its processor and its judge."""

    @property
    def policy(self) -> Any:
        """A model of transformers."""

    @property
    def processor(self) -> Any:
        """The processor for texts and pictures."""

    def save_judge(self, folder: Path, samples: Sequence[Sample], seed: int) -> str:
        """Create the judge and write its checkpoint; returns one line about it."""


@dataclass(frozen=True, slots=True)
class PolicyKind:
    """A policy of the table."""

    recipe: str
    steps: int
    """Default number of training steps."""
    save_every: int | None
    """Steps between two checkpoints; None saves only one at the end."""
    limit_s: float
    """Default time limit of a training in seconds."""
    warmup: WarmupSpec
    make: Callable[[Sequence[Sample], Path | None, Progress], Models]
    """Samples of the warm-up, the user's path of the weights, progress function -> the models; torch is seeded."""
    made_of: tuple[str, ...]
    """What determines the models in addition to code and packages."""
    align: AlignSpec | None = None
    """Alignment of a new vision tower before the warm-up; None if there is none."""
    judge_note: str = ""
    """Note shown to the user if the judge model is used."""


@dataclass(frozen=True)
class TinyModels:
    """Our own models, with a tokenizer trained on the samples."""

    policy: Any
    processor: Any

    @staticmethod
    def make(samples: Sequence[Sample], weights: Path | None, say: Progress) -> TinyModels:
        """Create models with random weights."""
        tokenizer = train_tokenizer(text for sample in samples for text in corpus(sample))
        return TinyModels(make_policy(tokenizer), make_processor(tokenizer))

    def save_judge(self, folder: Path, samples: Sequence[Sample], seed: int) -> str:
        """Create a tiny judge, trained on the samples' answers."""
        tokenizer = self.processor.tokenizer
        judge = make_judge(tokenizer)
        right = teach_verdicts(judge, tokenizer, sorted({sample.answer for sample in samples}), seed=seed)
        save_judge(judge, tokenizer, folder)
        return f"{right:.2f} of its last verdicts were right"


@dataclass(frozen=True)
class SmolLM2Models:
    """The pretrained policy; its judge is the published language model."""

    policy: Any
    processor: Any
    language: Any
    original: Any

    @staticmethod
    def make(samples: Sequence[Sample], weights: Path | None, say: Progress) -> SmolLM2Models:
        """Create the policy from the published weights and a random vision tower."""
        language, original = read_gguf(find_weights(weights, say))
        tokenizer = make_smollm2_tokenizer(original)
        policy = make_smollm2(language, original, tokenizer)
        return SmolLM2Models(policy, make_smollm2_processor(tokenizer), language, original)

    def save_judge(self, folder: Path, samples: Sequence[Sample], seed: int) -> str:
        """Save the language model with its own tokenizer as the judge."""
        save_judge(self.language, self.original, folder)
        return "the published language model, not taught to judge"


def corpus(sample: Sample) -> tuple[str, str, str]:
    """Texts for training the tokenizer: prompt, target and judge prompt of a row."""
    return (
        render_prompt(sample, TEMPLATE),
        target_text(sample, sample.answer),
        corpus_line(sample.answer),
    )


POLICIES = {
    "tiny": PolicyKind("medix_cpu", 52, None, 1500.0, WarmupSpec(), TinyModels.make, ()),
    "smollm2": PolicyKind(
        recipe="medix_cpu_135m",
        steps=30,
        save_every=10,
        limit_s=6600.0,
        warmup=WarmupSpec(steps=50, learning_rate=1e-4, right_share=0.25, threads=None),
        align=AlignSpec(),
        make=SmolLM2Models.make,
        made_of=(REQUIREMENT, SHA256),
        judge_note=(
            "SmolLM2-135M-Instruct is useless as a judge: it says YES to every pair of medix-verl audit-judge --pairs "
            "ontology (kappa 0.000 [-0.137, 0.137] of 200); leave out --judge verl to have the rule judge"
        ),
    ),
}

# SPDX-License-Identifier: Apache-2.0
"""One task of a run, ready to be asked: its questions, its protocol, and the cache of finished answers.

Independent of the framework; medix_verl.evaluation.inspect.tasks converts it into a task of inspect_ai.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medix_verl.data.prompts import render_prompt
from medix_verl.data.schema import to_row
from medix_verl.evaluation.grading.protocol import Protocol
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.settings import named
from medix_verl.evaluation.tasks.conversation import as_text, turns_of
from medix_verl.evaluation.tasks.few_shot import answer_shown
from medix_verl.evaluation.tasks.pictures import Item, as_ref
from medix_verl.evaluation.tasks.rotation import ROTATION_OF
from medix_verl.evaluation.tasks.table import TaskSpec
from medix_verl.judge.cache import ReplyCache, key_of
from medix_verl.runtime.dispatch import Breaker
from medix_verl.specs import Count, Natural, Positive, Section, spec
from medix_verl.types import ImageRef, Sample

__all__ = ["Answering", "Limits", "TaskRun", "cluster_of", "facts_of", "prompt_of", "question_key", "question_of"]


@spec("limits", label=named("limits"))
class Limits(Section):
    """Timeouts, retries and concurrency of the requests to the model; all are bounded."""

    timeout_s: Positive = 600.0
    """Seconds for one attempt."""
    retries: Natural = 3
    """Attempts after the first, for transient failures."""
    connections: Count = 64
    """Concurrent questions."""
    down_after: Count = 16
    """Consecutive failures, not counting retries, after which a server counts as permanently down."""


@dataclass(frozen=True, slots=True)
class Answering:
    """The settings that a response depends on, besides the question."""

    model: str
    template: str = "medix"
    generation: GenerationSpec = field(default_factory=GenerationSpec)
    limits: Limits = field(default_factory=Limits)


def own_pictures(item: Item) -> tuple[ImageRef, ...]:
    """A question's pictures as in its set."""
    return tuple(map(as_ref, item.pictures))


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A task with all that is needed to ask and judge its questions."""

    spec: TaskSpec
    items: Mapping[str, Item]
    """Sample id -> question."""
    protocol: Protocol
    answering: Answering
    condition: str = "real"
    examples: tuple[Item, ...] = ()
    """Solved examples before each question (medix_verl.evaluation.tasks.few_shot)."""
    answers: ReplyCache = field(default_factory=lambda: ReplyCache(0))
    """Cache of finished responses, each as the JSON that `ask` records; a cache of size 0 keeps none."""
    model_breaker: Breaker = field(default_factory=lambda: Breaker(Limits().down_after, what="the model"))
    """Counts the failures of the model's server; once it has stopped, no more questions are asked."""
    shown_to_judges: Callable[[Item], tuple[ImageRef, ...]] = own_pictures
    """The pictures for judges: a question's own ones, whatever the model was shown."""
    adapted: set[str] = field(default_factory=set)
    """Filled with the parameters that the model's server refused."""

    judged_before: list[str] = field(default_factory=list)
    """Filled with the questions whose verdicts are from an earlier run."""

    @property
    def stopped(self) -> str:
        """Why no more questions are asked; empty while the run continues."""
        return self.model_breaker.stopped or self.protocol.stopped


def prompt_of(run: TaskRun, item: Item) -> str:
    """The text of the user turn, as in training if the template is the same; a conversation has no template."""
    if turns_of(item.sample):
        return as_text(item.sample)
    return render_prompt(item.sample, run.answering.template)


def question_key(run: TaskRun, item: Item, repeat: int = 1) -> bytes:
    """The cache key of a response: all that it depends on. Server address and judge are not part of it."""
    generation = run.answering.generation
    # The n-th generation does not depend on the number of generations.
    settings = [run.answering.model, {**generation.facts, "generations": 0, "seed": generation.seed_of(repeat)}]
    shown = [[picture.hash, picture.path is None and picture.data is None] for picture in item.shown]
    before = [
        [
            prompt_of(run, one),
            answer_shown(one.sample, run.answering.template),
            [picture.hash for picture in one.pictures],
        ]
        for one in run.examples
    ]
    parts = [
        "answer",
        run.spec.name,
        item.sample.id,
        settings,
        prompt_of(run, item),
        shown,
        *([before] if before else []),
    ]
    return key_of(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode("ascii"))


def cluster_of(sample: Sample) -> str:
    """The cluster of dependent answers: by patient, else by pictures, else by question."""
    patient = sample.meta.get("patient_id")
    if patient:
        return f"patient:{patient}"
    pictures = sample.meta.get("image_id") or [ref.path for ref in sample.images]
    if isinstance(pictures, str):
        pictures = [pictures]
    return f"image:{'+'.join(sorted(map(str, pictures)))}" if pictures else question_of(sample)


def question_of(sample: Sample) -> str:
    """The question's id; the rotations of its options have the same one."""
    return str(sample.meta.get(ROTATION_OF) or sample.id)


def facts_of(run: TaskRun, item: Item) -> dict[str, Any]:
    """What a log stores of a question besides its text: fields of the record, and the sample for re-judging."""
    row = to_row(item.sample)
    row["meta"] = json.loads(row["meta"])
    row["images"] = [picture.hash for picture in item.pictures]
    return {
        "cluster": cluster_of(item.sample),
        "answer_type": answer_type_of(run.spec, item.sample),
        "condition": run.condition,
        "images": [picture.hash for picture in item.pictures],
        "perceptual": [picture.perceptual for picture in item.pictures],
        "sample": row,
    }


def answer_type_of(spec: TaskSpec, sample: Sample) -> str:
    """Open, closed, report or rubric: the task's type if it has only one, else the sample's own."""
    if len(spec.answer_types) == 1:
        return spec.answer_types[0]
    own = sample.meta.get("answer_type")
    return own if own in spec.answer_types else ("closed" if sample.options else "open")

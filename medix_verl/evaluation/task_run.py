# SPDX-License-Identifier: Apache-2.0
"""One task of a run, ready to be asked: its questions, what they are judged with, and where finished answers are kept.

It knows no framework; medix_verl.evaluation.inspect_tasks turns it into a task of inspect_ai.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from medix_verl.data.prompts import render_prompt
from medix_verl.data.schema import to_row
from medix_verl.evaluation.journal import Journal, key_of
from medix_verl.evaluation.pictures import Item
from medix_verl.evaluation.tasks import TaskSpec
from medix_verl.runtime.dispatch import Breaker
from medix_verl.types import Sample

__all__ = ["Answering", "Judging", "Limits", "TaskRun", "cluster_of", "facts_of", "question_key"]


class Judging(Protocol):
    """How answers are judged: medix_verl.evaluation.protocol has the ways there are."""

    @property
    def judge_name(self) -> str:
        """The judges' names."""

    @property
    def stopped(self) -> str:
        """Why a judge is asked no more; empty while there is no reason."""

    async def judge(self, sample: Sample, response: str, metric: str = "binary") -> Any:
        """The outcome of one answer: value, votes, reason, answer."""

    async def close(self) -> None:
        """Close the judges of the running event loop."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often the model is asked; nothing here is unlimited."""

    max_tokens: int = 4096
    """Tokens of an answer; the training's own limit."""
    timeout_s: float = 600.0
    """Seconds that one attempt may take."""
    retries: int = 3
    """Attempts after the first, for failures that may pass."""
    connections: int = 64
    """Questions that are under way at once."""
    down_after: int = 16
    """Failures in a row, retries not counted, after which a server counts as down for good."""


@dataclass(frozen=True, slots=True)
class Answering:
    """What a response depends on besides the question."""

    model: str
    template: str = "medix"
    temperature: float = 0.0
    seed: int = 0
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A task, and everything that its questions meet."""

    spec: TaskSpec
    items: Mapping[str, Item]
    """Sample id -> question."""
    protocol: Judging
    answering: Answering
    condition: str = "real"
    answers: Journal | None = None
    """Where finished responses are kept; None keeps none."""
    model_breaker: Breaker = field(default_factory=lambda: Breaker(Limits().down_after, what="the model"))
    """Counts the failures of the model's server; once it has stopped, nothing is asked any more."""

    @property
    def stopped(self) -> str:
        """Why nothing more is asked; empty while there is no reason."""
        return self.model_breaker.stopped or self.protocol.stopped


def prompt_of(run: TaskRun, item: Item) -> str:
    """The text of the user turn, the same as in training where the template is training's."""
    return render_prompt(item.sample, run.answering.template)


def question_key(run: TaskRun, item: Item) -> str:
    """What a response depends on; the server's address is not in it, and neither is the judge."""
    answering = run.answering
    settings = [answering.model, answering.temperature, answering.seed, answering.limits.max_tokens]
    shown = [[picture.hash, picture.path is None and picture.data is None] for picture in item.shown]
    return key_of("answer", run.spec.name, item.sample.id, settings, prompt_of(run, item), shown)


def cluster_of(sample: Sample) -> str:
    """What a question's answer is dependent by: patient, else pictures, else the question itself."""
    patient = sample.meta.get("patient_id")
    if patient:
        return f"patient:{patient}"
    pictures = sample.meta.get("image_id") or [ref.path for ref in sample.images]
    if isinstance(pictures, str):
        pictures = [pictures]
    return f"image:{'+'.join(sorted(map(str, pictures)))}" if pictures else sample.id


def facts_of(run: TaskRun, item: Item) -> dict[str, Any]:
    """What a log keeps of a question beside its text: the record's own fields, and the sample to judge it anew."""
    row = to_row(item.sample)
    row["meta"] = json.loads(row["meta"])
    row["images"] = [picture.hash for picture in item.pictures]
    return {
        "cluster": cluster_of(item.sample),
        "answer_type": answer_type_of(run.spec, item.sample),
        "condition": run.condition,
        "images": [picture.hash for picture in item.pictures],
        "sample": row,
    }


def answer_type_of(spec: TaskSpec, sample: Sample) -> str:
    """Open, closed, report or rubric: the task's, where it has only one kind, else the sample's own."""
    if len(spec.answer_types) == 1:
        return spec.answer_types[0]
    own = sample.meta.get("answer_type")
    return own if own in spec.answer_types else ("closed" if sample.options else "open")

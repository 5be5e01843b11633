# SPDX-License-Identifier: Apache-2.0
"""Draws few-shot examples for a task, from the train or the validation split of the task's own source.

All questions of a task get the same examples, so that the server's prefix cache applies. They are drawn with the seed
from the first rows of the split. A row is skipped if a question of the task has the same text, one of its pictures or a
modified copy of one (the check of `medix-verl check --against`), or the same patient. An example shows its answer in
the form that the prompt asks for, without reasoning, which the data sets do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from medix_verl.data.prompts import template_text
from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.tasks.conversation import turns_of
from medix_verl.evaluation.tasks.pictures import Item
from medix_verl.evaluation.tasks.table import TaskSpec
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.duplicates.fingerprints import Fingerprint

__all__ = ["POOL", "answer_shown", "draw", "splits_for"]

POOL = 1000
"""Number of rows, from the start of the split, that examples are drawn from."""
SPLITS = ("train", "val")


def splits_for(task: TaskSpec) -> list[TaskSpec]:
    """Copies of the task with the other splits of its source, in the order in which they are tried.

    Raises:
        ConfigError: The task is graded by rubrics and has no answers to show, or its set has no other split.
    """
    from medix_verl.data.converters.registry import find

    what = setting("choices.few_shot")
    if task.metric == "rubric":
        raise ConfigError(f"{what}: {task.name} is graded by rubrics and has no answers to show; leave it out")
    known = find(task.converter).SPEC.splits
    found = [replace(task, split=split) for split in SPLITS if split in known and split != task.split]
    if not found:
        raise ConfigError(f"{what}: the set of {task.name} has no split but {', '.join(known)}; leave the task out")
    return found


def draw(
    task: TaskSpec,
    count: int,
    rows: Sequence[Sample],
    items: Iterable[Item],
    ready: Callable[[Sample], Item | None],
) -> tuple[Item, ...]:
    """Draw examples for a task.

    Args:
        task: The task.
        count: Number of examples.
        rows: Rows of another split, in the order of the draw.
        items: The task's questions.
        ready: Returns a row with its pictures decoded, or None where decoding fails.

    Raises:
        DataError: Too few rows are distinct from the task's questions.
    """
    asked = list(items)
    patients = {item.sample.meta.get("patient_id") for item in asked} - {None, ""}
    known = [(item.sample.id, mark(item)) for item in asked]
    left = (row for row in rows if row.meta.get("patient_id") not in patients and not turns_of(row))
    found: list[Item] = []
    while len(found) < count and (batch := list(islice(left, 4 * count))):
        found += distinct([item for item in map(ready, batch) if item is not None], known)
    if len(found) < count:
        raise DataError(
            f"{task.name}: {len(found)} examples are left of the {len(rows)} rows that were looked at, and "
            f"{setting('choices.few_shot', count)}; the others ask a question of the task, or show one of its pictures"
        )
    return tuple(found[:count])


def distinct(batch: Sequence[Item], known: Sequence[tuple[str, Fingerprint]]) -> Iterator[Item]:
    """The rows of a batch that duplicate neither a question nor an earlier row of the batch."""
    from medix_verl.data.duplicates.collisions import find_duplicates
    from medix_verl.data.prepare.checks import QualitySpec

    marked = [(item.sample.id, mark(item)) for item in batch]
    found = find_duplicates(marked, {"the task": iter(known)}, QualitySpec())
    taken = {finding.row for finding in found}
    return (item for place, item in enumerate(batch) if place not in taken)


def mark(item: Item) -> Fingerprint:
    """The fingerprint of a question or an example, for the search for duplicates."""
    from medix_verl.data.duplicates.fingerprints import fingerprint
    from medix_verl.evaluation.audit.leakage import picture_marks

    return fingerprint(item.sample, [picture_marks(picture.hash, picture.perceptual) for picture in item.pictures])


def answer_shown(sample: Sample, template: str) -> str:
    """An example's answer in the form that the prompt asks for; a choice has its letter before its text."""
    label = sample.meta.get("label")
    text = f"{label}. {sample.answer}" if sample.options and label else sample.answer
    asked = template_text(template)
    if "<answer>" not in asked:
        return text
    tag = f"<{sample.modality}> " if sample.images and sample.modality and "has_images" in asked else ""
    return f"{tag}<answer>{text}</answer>"

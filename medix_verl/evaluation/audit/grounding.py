# SPDX-License-Identifier: Apache-2.0
"""Measures how much of a task's accuracy needs the pictures: the same questions with real, blank and shuffled ones.

After arXiv 2603.03437, which found models that keep their accuracy without the pictures. For each task: the mean under
each condition, the paired gain of the real pictures over the others, the share of right answers that stay right without
the real pictures, and the share of answers that change. Only questions with a score under both conditions are compared.
The share of right answers that stay right is None for tasks with graded scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.stats.intervals import clustered_mean
from medix_verl.evaluation.stats.paired import Pairs, compare_pairs, match
from medix_verl.evaluation.stats.summary import mean_of
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record
from medix_verl.judge.rule.normalise import normalise

__all__ = ["Grounding", "Without", "ground", "ground_task"]


@dataclass(frozen=True, slots=True)
class Without:
    """Figures of a task whose pictures are blank or shuffled."""

    condition: str
    accuracy: Estimate | None
    """The mean over all scored questions under this condition."""
    gain: Estimate | None
    """Real minus this condition, over the questions that are scored under both."""
    p_value: float | None
    """Of the gain, by flipping the signs of clusters."""
    survives: Estimate | None
    """Share of the right answers with real pictures that are right here too; None for graded scores."""
    changed: Estimate | None
    """Share of the questions with another answer than with the real pictures."""
    left_out: int
    """Questions that are not scored under both."""


@dataclass(frozen=True, slots=True)
class Grounding:
    """One task under all its conditions."""

    task: str
    real: Estimate | None
    without: tuple[Without, ...]


def ground(evaluation: Evaluation, seed: int = 0) -> list[Grounding]:
    """Every task of an evaluation that was asked with real pictures and under another condition."""
    real = evaluation.tasks()
    others = {condition: evaluation.tasks(condition) for condition in ("blank", "shuffled")}
    found = []
    for task, records in real.items():
        shown = {condition: tasks[task] for condition, tasks in others.items() if task in tasks}
        if shown:
            found.append(ground_task(task, records, shown, seed))
    return found


def ground_task(task: str, real: Sequence[Record], others: Mapping[str, Sequence[Record]], seed: int = 0) -> Grounding:
    """One task.

    Args:
        task: Its name.
        real: Records with real pictures; questions without a picture are left out under all conditions.
        others: Condition -> records.
        seed: Seed of bootstrap and permutations.

    Raises:
        DataError: One id has two questions.
    """
    pictured = [record for record in real if record.images]
    ids = {record.id for record in pictured}
    kept = {condition: [record for record in records if record.id in ids] for condition, records in others.items()}
    without = tuple(take_away(task, condition, pictured, records, seed) for condition, records in kept.items())
    return Grounding(task, mean_of(pictured), without)


def take_away(task: str, condition: str, real: Sequence[Record], others: Sequence[Record], seed: int) -> Without:
    """Compare one condition with the real pictures."""
    pairs = match(task, others, real)
    compared = compare_pairs(pairs, seed)
    return Without(
        condition=condition,
        accuracy=mean_of(others),
        gain=compared.difference,
        p_value=compared.p_value,
        survives=survivors(pairs),
        changed=clustered_mean(
            [float(differs(other, own)) for other, own in pairs.both], [own.cluster for _, own in pairs.both]
        ),
        left_out=len(pairs.only_a) + len(pairs.only_b) + len(pairs.unscored),
    )


def survivors(pairs: Pairs) -> Estimate | None:
    """Share of the right answers that are also right without the pictures; None if a score is not 0 or 1."""
    if any(record.value not in (0.0, 1.0) for pair in pairs.both for record in pair):
        return None
    right = [(float(other.value == 1.0), own.cluster) for other, own in pairs.both if own.value == 1.0]
    return clustered_mean([value for value, _ in right], [cluster for _, cluster in right])


def differs(other: Record, own: Record) -> bool:
    """Whether two answers differ after normalisation."""
    return normalise(other.answer or "") != normalise(own.answer or "")

# SPDX-License-Identifier: Apache-2.0
"""How much of a task's accuracy needs the pictures: the same questions under real, blank and shuffled ones.

After arXiv 2603.03437, which found models whose accuracy outlives their pictures. For each task: the mean under each
condition, what the real pictures add over the others (paired), which share of the right answers survives without
them, and how often the answer changes at all. Only questions with a score under both conditions are compared; tasks
whose scores are no plain right or wrong have no share of survivors, and say so by having none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medix_verl.evaluation.agreement import Estimate
from medix_verl.evaluation.intervals import clustered_mean
from medix_verl.evaluation.paired import Pairs, compare_pairs, match
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import Evaluation
from medix_verl.evaluation.statistics import mean_of
from medix_verl.judge.rule.normalise import normalise

__all__ = ["Grounding", "Without", "ground", "ground_task"]


@dataclass(frozen=True, slots=True)
class Without:
    """What is left of a task when its pictures are taken away or exchanged."""

    condition: str
    accuracy: Estimate | None
    """The mean over all scored questions under this condition."""
    gain: Estimate | None
    """Real minus this condition, over the questions that are scored under both."""
    p_value: float | None
    """Of the gain, by flipping clusters."""
    survives: Estimate | None
    """Share of the right answers with the real pictures that are right here too; None for graded scores."""
    changed: Estimate | None
    """Share of the questions whose answer is another one than with the real pictures."""
    left_out: int
    """Questions that are not scored under both."""


@dataclass(frozen=True, slots=True)
class Grounding:
    """One task under all conditions that it was asked under."""

    task: str
    real: Estimate | None
    without: tuple[Without, ...]


def ground(evaluation: Evaluation, seed: int = 0) -> list[Grounding]:
    """Every task of an evaluation that was asked under the real pictures and under others."""
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
        real: Records under the real pictures; those without a picture are left out everywhere.
        others: Condition -> records.
        seed: Of bootstrap and permutations.

    Raises:
        DataError: One id stands for two questions.
    """
    pictured = [record for record in real if record.images]
    ids = {record.id for record in pictured}
    kept = {condition: [record for record in records if record.id in ids] for condition, records in others.items()}
    without = tuple(take_away(task, condition, pictured, records, seed) for condition, records in kept.items())
    return Grounding(task, mean_of(pictured), without)


def take_away(task: str, condition: str, real: Sequence[Record], others: Sequence[Record], seed: int) -> Without:
    """One condition beside the real one."""
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
    """Share of the right answers that are right without the pictures too; None where a score is no 0 or 1."""
    if any(record.value not in (0.0, 1.0) for pair in pairs.both for record in pair):
        return None
    right = [(float(other.value == 1.0), own.cluster) for other, own in pairs.both if own.value == 1.0]
    return clustered_mean([value for value, _ in right], [cluster for _, cluster in right])


def differs(other: Record, own: Record) -> bool:
    """Whether two answers are not plainly the same text."""
    return normalise(other.answer or "") != normalise(own.answer or "")

# SPDX-License-Identifier: Apache-2.0
"""What a task's records amount to: a mean with its interval, counts beside it, bounds, splits, and the macro average.

A sample without a score is in no mean. It is counted, by its status, and the bounds say what the mean would be if all
of those were wrong or all were right. A task without a scored sample has no score, and neither has an average over
such a task: a number that leaves it out would answer another question.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from medix_verl.errors import DataError
from medix_verl.evaluation.agreement import Estimate
from medix_verl.evaluation.intervals import CONFIDENCE, clustered_mean
from medix_verl.evaluation.records import Record

__all__ = ["Counts", "Summary", "TaskSummary", "macro_average", "mean_of", "summarise", "summarise_task"]

NO_MODALITY = "none"
"""The modality's name of a sample that has none."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many samples have a score, and why the others have none."""

    scored: int
    unscored: int
    """Answered, but the judge could not be read."""
    errors: int
    """Not answered, or lost."""

    @property
    def total(self) -> int:
        """All samples."""
        return self.scored + self.unscored + self.errors


@dataclass(frozen=True, slots=True)
class Summary:
    """A mean with what it stands on."""

    estimate: Estimate | None
    """None where no sample has a score."""
    counts: Counts
    clusters: int
    """Distinct clusters among the scored samples."""
    worst: float | None
    """The mean if every sample without a score were 0; None without samples."""
    best: float | None
    """The mean if every one of them were 1."""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task's summary and its splits."""

    task: str
    condition: str
    overall: Summary
    by_answer_type: Mapping[str, Summary]
    by_modality: Mapping[str, Summary]


def mean_of(records: Iterable[Record], confidence: float = CONFIDENCE) -> Estimate | None:
    """The mean score of the records that have one, clustered; None where none has."""
    scored = [(record.value, record.cluster) for record in records if record.value is not None]
    return clustered_mean([value for value, _ in scored], [cluster for _, cluster in scored], confidence)


def summarise(records: Sequence[Record], confidence: float = CONFIDENCE) -> Summary:
    """Summarise records, of whatever part of a task."""
    states = Counter(record.status for record in records)
    counts = Counts(states["scored"], states["unscored"], states["error"])
    total = math.fsum(record.value for record in records if record.value is not None)
    clusters = {record.cluster for record in records if record.value is not None}
    return Summary(
        estimate=mean_of(records, confidence),
        counts=counts,
        clusters=len(clusters),
        worst=total / counts.total if counts.total else None,
        best=(total + counts.total - counts.scored) / counts.total if counts.total else None,
    )


def summarise_task(task: str, records: Sequence[Record], confidence: float = CONFIDENCE) -> TaskSummary:
    """Summarise a task's records under one condition.

    Raises:
        DataError: A record belongs to another task, or there are two conditions.
    """
    for record in records:
        if record.task != task or record.condition != records[0].condition:
            got = f"{record.task} ({record.condition})"
            raise DataError(f"record {record.id!r} is of {got}; expected {task} ({records[0].condition})")
    return TaskSummary(
        task=task,
        condition=records[0].condition if records else "real",
        overall=summarise(records, confidence),
        by_answer_type=split(records, lambda record: record.answer_type, confidence),
        by_modality=split(records, lambda record: record.modality or NO_MODALITY, confidence),
    )


def split(records: Sequence[Record], key: Callable[[Record], str], confidence: float) -> dict[str, Summary]:
    """Summaries by a key of the records, in the key's order."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return {name: summarise(groups[name], confidence) for name in sorted(groups)}


def macro_average(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """The unweighted mean over tasks, with an interval that takes the tasks as independent.

    Each task's interval is recovered into its distance below and above, and the distances are added in squares (the
    MOVER of Zou and Donner, Statistics in Medicine 27 (2008) 1693); so one task keeps its own interval, and tasks near
    0 or 1 their skewed ones.

    Args:
        estimates: One a task, all at one confidence; None for a task without a score.

    Returns:
        The average, whose `count` is the number of tasks; None where a task has no score, or there is no task.
    """
    known = [estimate for estimate in estimates if estimate is not None]
    if not known or len(known) < len(estimates):
        return None
    count = len(known)
    mean = math.fsum(estimate.value for estimate in known) / count
    below = math.sqrt(math.fsum((estimate.value - estimate.low) ** 2 for estimate in known)) / count
    above = math.sqrt(math.fsum((estimate.high - estimate.value) ** 2 for estimate in known)) / count
    return Estimate(mean, max(0.0, mean - below), min(1.0, mean + above), count)

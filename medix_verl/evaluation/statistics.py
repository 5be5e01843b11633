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
from medix_verl.evaluation.agreement import Estimate, few, wilson
from medix_verl.evaluation.intervals import CONFIDENCE, Spread, spread_interval, spread_of, student, widening
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
    spread: Spread | None
    """What the scores tell of their mean, for an average over tasks; None where no sample has a score."""
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
    spread = scored_spread(records)
    return None if spread is None else spread_interval(spread, confidence)


def scored_spread(records: Iterable[Record]) -> Spread | None:
    """What the records that have a score tell of their mean."""
    scored = [(record.value, record.cluster) for record in records if record.value is not None]
    return spread_of([value for value, _ in scored], [cluster for _, cluster in scored])


def summarise(records: Sequence[Record], confidence: float = CONFIDENCE) -> Summary:
    """Summarise records, of whatever part of a task."""
    states = Counter(record.status for record in records)
    counts = Counts(states["scored"], states["unscored"], states["error"])
    total = math.fsum(record.value for record in records if record.value is not None)
    spread = scored_spread(records)
    return Summary(
        estimate=None if spread is None else spread_interval(spread, confidence),
        spread=spread,
        counts=counts,
        clusters=0 if spread is None else spread.clusters,
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


def macro_average(spreads: Sequence[Spread | None], confidence: float = CONFIDENCE) -> Estimate | None:
    """The unweighted mean over tasks, with an interval that takes the tasks as independent.

    Each task has its Wilson interval, widened for what all tasks together leave unknown of their design effects
    (Satterthwaite). Half widths add up in squares. How far an interval's middle lies beside its mean is what the score
    test gains from skewness, and that fades as tasks are added: the shifts are averaged by the tasks' shares in the
    variance and divided by the number of tasks, as the score interval of a sum has it. So one task keeps its own
    interval, and many tasks near 0 or 1 have a symmetric one.

    Args:
        spreads: One a task; None for a task without a score.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The average, whose `count` is the number of tasks; None where a task has no score, or there is no task. It is
        approximate where a task has few clusters, or where the tasks have few cases of one kind on average.
    """
    known = [spread for spread in spreads if spread is not None]
    if not known or len(known) < len(spreads):
        return None
    count, z = len(known), student(confidence, None)
    mean = math.fsum(spread.mean for spread in known) / count
    wider = widening(confidence, pooled_freedom(known, z))
    ends = [wilson(spread.mean, spread.sized(wider), z) for spread in known]
    squares = [((high - low) / 2) ** 2 for low, high in ends]
    total = math.fsum(squares)
    beside = math.fsum(
        ((low + high) / 2 - spread.mean) * square
        for spread, (low, high), square in zip(known, ends, squares, strict=True)
    )
    middle, half = mean + beside / total / count, math.sqrt(total) / count
    fewest = min(spread.clusters for spread in known)
    cases = math.fsum(min(spread.mean, 1 - spread.mean) * spread.sized(wider) for spread in known)
    return Estimate(
        mean, min(mean, max(0.0, middle - half)), max(mean, min(1.0, middle + half)), count, few(fewest, cases / count)
    )


def pooled_freedom(spreads: Sequence[Spread], z: float) -> float | None:
    """Degrees of freedom of the variance of a sum, from those of its parts (Satterthwaite); None where it is known."""
    squares = [(high - low) ** 2 for low, high in (wilson(spread.mean, spread.sized(1.0), z) for spread in spreads)]
    parts = math.fsum(
        square**2 / spread.freedom for spread, square in zip(spreads, squares, strict=True) if spread.freedom
    )
    return math.fsum(squares) ** 2 / parts if parts else None

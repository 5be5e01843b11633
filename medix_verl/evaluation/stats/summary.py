# SPDX-License-Identifier: Apache-2.0
"""Summarises a task's records: a mean with its interval, counts, bounds, splits, and the macro average over tasks.

Samples without a score are excluded from means and counted by status. The bounds are the mean if all of them were wrong
or all were right. A task without a scored sample has no score, and an average that includes it has none either, because
an average over fewer tasks is a different quantity.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from medix_verl.errors import DataError
from medix_verl.evaluation.audit.agreement import Estimate, few
from medix_verl.evaluation.stats.choosing import Rotations, YesRate, rotations, yes_rate
from medix_verl.evaluation.stats.intervals import CONFIDENCE, Spread, spread_interval, spread_of, student, widening
from medix_verl.evaluation.store.records import Record, lowest

__all__ = ["Counts", "Summary", "TaskSummary", "macro_average", "mean_of", "summarise", "summarise_task"]

NO_MODALITY = "none"
"""Name for a sample without a modality, and for a row without a facet that other rows have."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many samples have a score, and why the others have none."""

    scored: int
    unscored: int
    """Answered, but without a readable verdict."""
    errors: int
    """Not answered, or lost."""

    @property
    def total(self) -> int:
        """All samples."""
        return self.scored + self.unscored + self.errors


@dataclass(frozen=True, slots=True)
class Summary:
    """A mean with its counts and bounds."""

    estimate: Estimate | None
    """None if no sample has a score."""
    spread: Spread | None
    """The scores' Spread, for an average over tasks; None if no sample has a score."""
    counts: Counts
    clusters: int
    """Distinct clusters among the scored samples."""
    worst: float | None
    """The mean if every sample without a score were 0; None without samples."""
    best: float | None
    """The mean if every sample without a score were 1."""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task's summary and its splits."""

    task: str
    condition: str
    overall: Summary
    by_answer_type: Mapping[str, Summary]
    by_modality: Mapping[str, Summary]
    by_facet: Mapping[str, Mapping[str, Summary]] = field(default_factory=dict)
    """Facet (medix_verl.evaluation.tasks.facets) -> value -> summary; only facets that occur in a row."""
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    """Other metrics, excluded from averages; `count` is the number of records that have the metric."""
    yes: YesRate | None = None
    rotations: Rotations | None = None

    def beside(self, other: TaskSummary, change: Callable[[Summary, Summary], Summary]) -> TaskSummary:
        """A copy with `change(own, other's)` applied to each figure and the same figure of another summary."""

        def parts(mine: Mapping[str, Summary], others: Mapping[str, Summary]) -> dict[str, Summary]:
            return {name: change(part, others[name]) for name, part in mine.items()}

        return replace(
            self,
            overall=change(self.overall, other.overall),
            by_answer_type=parts(self.by_answer_type, other.by_answer_type),
            by_modality=parts(self.by_modality, other.by_modality),
            by_facet={facet: parts(split, other.by_facet[facet]) for facet, split in self.by_facet.items()},
        )


def mean_of(records: Iterable[Record], confidence: float = CONFIDENCE) -> Estimate | None:
    """The clustered mean score of the scored records; None without any."""
    spread = scored_spread(records)
    return None if spread is None else spread_interval(spread, confidence)


def scored_spread(records: Iterable[Record]) -> Spread | None:
    """The Spread of the scored records; None without any."""
    scored = [(record.value, record.cluster, record.answer_type) for record in records if record.value is not None]
    low = min((lowest(kind) for _, _, kind in scored), default=0.0)
    return spread_of([value for value, _, _ in scored], [cluster for _, cluster, _ in scored], low)


def summarise(records: Sequence[Record], confidence: float = CONFIDENCE) -> Summary:
    """Summarise the records of a task or of any part of it."""
    states = Counter(record.status for record in records)
    counts = Counts(states["scored"], states["unscored"], states["error"])
    total = math.fsum(record.value for record in records if record.value is not None)
    spread = scored_spread(records)
    return Summary(
        estimate=None if spread is None else spread_interval(spread, confidence),
        spread=spread,
        counts=counts,
        clusters=0 if spread is None else spread.clusters,
        worst=share(total / counts.total) if counts.total else None,
        best=share((total + counts.total - counts.scored) / counts.total) if counts.total else None,
    )


def share(mean: float) -> float:
    """A mean clipped to [0, 1]; rubric scores are clipped only here."""
    return min(1.0, max(0.0, mean))


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
        by_facet={
            facet: split(records, partial(facet_of, facet), confidence)
            for facet in sorted({facet for record in records for facet in record.facets})
        },
        metrics=metric_means(records, confidence),
        yes=yes_rate(records),
        rotations=rotations(records),
    )


def facet_of(facet: str, record: Record) -> str:
    """The value of a record's facet."""
    return record.facets.get(facet, NO_MODALITY)


def metric_means(records: Sequence[Record], confidence: float) -> dict[str, Estimate]:
    """The clustered mean of each other metric over the records that have it, clipped to [0, 1]."""
    found = {}
    for name in sorted({name for record in records for name in record.metrics}):
        had = [(record.metrics[name], record.cluster) for record in records if name in record.metrics]
        spread = spread_of([value for value, _ in had], [cluster for _, cluster in had], -math.inf)
        if spread is not None:
            found[name] = spread_interval(spread, confidence)
    return found


def split(records: Sequence[Record], key: Callable[[Record], str], confidence: float) -> dict[str, Summary]:
    """Summaries by a key of the records, in the key's order."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return {name: summarise(groups[name], confidence) for name in sorted(groups)}


def macro_average(spreads: Sequence[Spread | None], confidence: float = CONFIDENCE) -> Estimate | None:
    """The unweighted mean over tasks, with an interval that treats the tasks as independent.

    Each task has a Wilson interval, widened for the pooled uncertainty of all design effects (Satterthwaite). Squared
    half widths are summed. The middle of a Wilson interval is shifted from the mean because of skewness, and skewness
    decreases as tasks are added. As in the score interval of a sum, the shifts are therefore averaged, weighted by
    the tasks' shares of the variance, and divided by the number of tasks. So a single task keeps its own interval, and
    many tasks near 0 or 1 have a symmetric one.

    Args:
        spreads: One per task; None for a task without a score.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The average; its `count` is the number of tasks. None if a task has no score, or without tasks. Approximate if a
        task has few effective clusters, or the tasks have few right or few wrong cases on average.
    """
    known = [spread for spread in spreads if spread is not None]
    if not known or len(known) < len(spreads):
        return None
    count, z = len(known), student(confidence, None)
    mean = math.fsum(spread.mean for spread in known) / count
    wider = widening(confidence, pooled_freedom(known, z))
    ends = [spread.ends(wider, z) for spread in known]
    squares = [((high - low) / 2) ** 2 for low, high in ends]
    total = math.fsum(squares)
    beside = math.fsum(
        ((low + high) / 2 - spread.mean) * square
        for spread, (low, high), square in zip(known, ends, squares, strict=True)
    )
    middle, half = mean + beside / total / count, math.sqrt(total) / count
    fewest = min(spread.weighty for spread in known)
    cases = math.fsum(min(spread.mean, 1 - spread.mean) * spread.sized(wider) for spread in known)
    return Estimate(
        mean, min(mean, max(0.0, middle - half)), max(mean, min(1.0, middle + half)), count, few(fewest, cases / count)
    )


def pooled_freedom(spreads: Sequence[Spread], z: float) -> float | None:
    """Degrees of freedom of the variance of a sum, from those of its parts (Satterthwaite); None if it is known."""
    squares = [(high - low) ** 2 for low, high in (spread.ends(1.0, z) for spread in spreads)]
    parts = math.fsum(
        square**2 / spread.freedom for spread, square in zip(spreads, squares, strict=True) if spread.freedom
    )
    return math.fsum(squares) ** 2 / parts if parts else None

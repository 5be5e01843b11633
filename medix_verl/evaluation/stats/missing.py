# SPDX-License-Identifier: Apache-2.0
"""Handles questions without a score: bounds instead of a figure, or counted as wrong.

They are not missing at random. Equality scores right answers without a judge, so if no judge reply can be parsed, only
right answers have a score and their mean is 100 %. A task in which more than `max_unscored` of the questions have no
score therefore gets bounds instead of a figure, and is not finished. `errors: wrong` counts them as wrong instead, as
lm-evaluation-harness does; their number is still reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import fsum
from typing import Annotated, Any

from medix_verl.evaluation.settings import named, setting
from medix_verl.evaluation.stats.summary import Summary, TaskSummary, summarise_task
from medix_verl.evaluation.store.records import Record, most_generations
from medix_verl.evaluation.tasks.facets import AXIS
from medix_verl.specs import Choice, Section, Share, spec

__all__ = [
    "ERRORS",
    "MAX_UNSCORED",
    "Counting",
    "as_wrong",
    "cause_of",
    "counting_of",
    "facts_of_counting",
    "mean_bounds",
    "summary_of",
]

ERRORS = ("bounds", "wrong")
MAX_UNSCORED = 0.02


@spec("counting", label=named("counting"))
class Counting(Section):
    """How questions without a score are counted; it changes figures, not records."""

    max_unscored: Share = MAX_UNSCORED
    """Share of a task's questions that may have no score; above it the task has bounds and no figure."""
    errors: Annotated[str, Choice(ERRORS)] = "bounds"
    """`bounds`: excluded from figures, up to max_unscored. `wrong`: counted as 0 in every figure."""


def counting_of(manifest: Mapping[str, Any]) -> Counting:
    """The counting recorded in a manifest; the default for manifests written before it was recorded."""
    return Counting.from_mapping(manifest.get("counting") or {})


def facts_of_counting(counting: Counting) -> dict[str, Any]:
    """The manifest's entry for it."""
    return {"max_unscored": counting.max_unscored, "errors": counting.errors}


def is_withheld(summary: Summary, counting: Counting) -> bool:
    """Whether too many questions have no score for a figure."""
    counts = summary.counts
    return counting.errors != "wrong" and counts.unscored + counts.errors > counting.max_unscored * counts.total


def summary_of(task: str, records: Sequence[Record], counting: Counting) -> TaskSummary:
    """A task's summary with the figures that may be shown; its counts are those of the records.

    Raises:
        DataError: A record belongs to another task, or there are two conditions.
    """
    plain = summarise_task(task, records)
    if counting.errors == "wrong":
        texts = {name for record in records for name in record.metrics if not name.startswith(AXIS)}
        taken = summarise_task(task, [as_wrong(record, texts) for record in records])
        return taken.beside(plain, lambda part, counted: replace(part, counts=counted.counts))
    # Other metrics need an answer, and those of a rubric also a judge.
    metrics = {} if is_withheld(plain.overall, counting) else plain.metrics
    return replace(plain.beside(plain, lambda part, _: shown(part, counting)), metrics=metrics)


def as_wrong(record: Record, metrics: Iterable[str] = ()) -> Record:
    """The record with its score, or 0 without one; and with each of `metrics` at 0 if there is no answer."""
    lost = dict.fromkeys(metrics, 0.0) if record.status == "error" else {}
    scored = record if record.value is not None else replace(record, value=0.0, status="scored")
    return replace(scored, metrics={**lost, **record.metrics}) if lost else scored


def shown(summary: Summary, counting: Counting) -> Summary:
    """The summary, without its figure if too many questions have no score; it then enters no average."""
    return replace(summary, estimate=None, spread=None) if is_withheld(summary, counting) else summary


def mean_bounds(summaries: Sequence[Summary | None]) -> tuple[float, float] | None:
    """Lower and upper bound of a mean over tasks; None if one of them has no question."""
    known = [(it.worst, it.best) for it in summaries if it is not None and it.worst is not None and it.best is not None]
    if not known or len(known) < len(summaries):
        return None
    return fsum(worst for worst, _ in known) / len(known), fsum(best for _, best in known) / len(known)


def cause_of(records: Sequence[Record], counting: Counting) -> str:
    """Why a task has bounds instead of a figure; empty if it has a figure."""
    summary = summary_of(records[0].task, records, counting).overall
    if not is_withheld(summary, counting) or summary.worst is None or summary.best is None:
        return ""
    counts = summary.counts
    first = next(record.reason for record in records if record.value is None)
    what = "questions" if most_generations(records) == 1 else "answers"
    again = "ask another judge: medix-verl evaluate rejudge DIR --judge ..."
    fix = f"fix it and add {setting('resume', True)}" if counts.errors else again
    return (
        f"{counts.unscored + counts.errors} of {counts.total} {what} have no score, more than "
        f"{counting.max_unscored:.3g} of them ({setting('counting.max_unscored')}), "
        f"so the figure is only known to lie between "
        f"{summary.worst:.1%} and {summary.best:.1%}; the first cause: {first}; {fix}, or count them as wrong with "
        f"{setting('counting.errors', 'wrong')}"
    )

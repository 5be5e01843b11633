# SPDX-License-Identifier: Apache-2.0
"""Renders the part below the table of figures: what is in no average, and details of single tasks.

Metrics of reports, themes and axes of rubrics, body regions and kinds of questions, the share of yes, option rotations,
tokens and their cost; each only if a task has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.stats.choosing import Rotations, YesRate
from medix_verl.evaluation.stats.costs import costs_of
from medix_verl.evaluation.stats.summary import Summary, TaskSummary
from medix_verl.evaluation.tasks.facets import AXIS

__all__ = ["FACET_TITLES", "axes_of", "detail_lines", "rotation_line", "shown_facets", "texts_of", "yes_line"]

MANY = 40
"""Most values of a facet that a table shows."""
FACET_TITLES = {"region": "body region", "question_type": "kind of question", "theme": "theme"}


def detail_lines(summaries: Sequence[TaskSummary], names: Sequence[str], manifest: Mapping[str, Any]) -> list[str]:
    """Everything below the table, as Markdown.

    Args:
        summaries: One for each task and condition.
        names: The name of each.
        manifest: The evaluation's manifest.
    """
    named = list(zip(names, summaries, strict=True))
    lines = report_metrics(named)
    for name, summary in named:
        for facet, split in shown_facets(summary).items():
            title = FACET_TITLES.get(facet, facet)
            lines += [*table(f"{name}, by {title}", title, ((key, part, None) for key, part in split.items())), ""]
        if axes := axes_of(summary):
            lines += [*table(f"{name}, by axis", "axis", ((key, None, it) for key, it in axes.items())), ""]
    for name, summary in named:
        if summary.yes is not None:
            lines += [f"{name}: {yes_line(summary.yes)}", ""]
        if summary.rotations is not None:
            lines += [f"{name}: {rotation_line(summary.rotations)}", ""]
    text = costs_of(manifest).line
    return [*lines, *([text, ""] if text else [])]


def shown_facets(summary: TaskSummary) -> dict[str, Mapping[str, Summary]]:
    """The facets with few values; the others are in summary.json only."""
    return {facet: split for facet, split in summary.by_facet.items() if len(split) <= MANY}


def texts_of(summary: TaskSummary) -> dict[str, Estimate]:
    """The text metrics of a task."""
    return {name: it for name, it in summary.metrics.items() if not name.startswith(AXIS)}


def axes_of(summary: TaskSummary) -> dict[str, Estimate]:
    """A rubric's axes."""
    return {name[len(AXIS) :]: it for name, it in summary.metrics.items() if name.startswith(AXIS)}


def report_metrics(named: Sequence[tuple[str, TaskSummary]]) -> list[str]:
    """The table of report metrics: one row per task, one column per metric."""
    having = [(name, texts_of(summary)) for name, summary in named if texts_of(summary)]
    columns = list(dict.fromkeys(metric for _, found in having for metric in found))
    if not columns:
        return []
    lines = ["Metrics of reports, in no average:", "", f"| task | {' | '.join(columns)} | reports |"]
    lines.append("|---|" + "---|" * (len(columns) + 1))
    for name, found in having:
        cells = [shown(found[metric]) if metric in found else "" for metric in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | {max(it.count for it in found.values())} |")
    return [*lines, ""]


def table(title: str, head: str, rows: Iterable[tuple[str, Summary | None, Estimate | None]]) -> list[str]:
    """A small table: a name, a figure with its interval, and the number of scored questions."""
    lines = [f"{title}:", "", f"| {head} | score [95 %] | scored | of |", "|---|---|---|---|"]
    for key, part, figure in rows:
        known = figure if part is None else part.estimate
        scored, of = (known.count if known else 0, "") if part is None else (part.counts.scored, part.counts.total)
        score = "no figure" if known is None else shown(known)
        lines.append(f"| {key.replace('|', '/')} | {score} | {scored} | {of} |")
    return lines


def yes_line(found: YesRate) -> str:
    """The share of yes in one sentence."""
    said = "no answer says yes or no" if found.said is None else f"yes in {shown(found.said)} of the answers"
    neither = f"; {found.neither} answers say neither" if found.neither else ""
    return f"{said}, right in {found.right:.1%} of {found.questions} questions of yes or no{neither}."


def rotation_line(found: Rotations) -> str:
    """The result of rotating the options, in one sentence."""
    if found.consistency is None:
        return f"options turned: no question was answered in all rotations ({found.incomplete} in some)."
    every = "" if found.every is None else f", right in every rotation in {shown(found.every)}"
    beside = [
        f"{number} {what}"
        for number, what in (
            (found.unread, "answers with no readable choice"),
            (found.incomplete, "questions not answered in all rotations"),
            (found.not_turned, "whose options cannot be turned"),
        )
        if number
    ]
    letters = ", ".join(f"{letter} {share:.1%}" for letter, share in found.letters.items())
    text = f"; {', '.join(beside)}" if beside else ""
    return (
        f"options turned: the same option in all rotations in {shown(found.consistency)} of {found.questions} "
        f"questions{every}; chosen letters: {letters or 'none'}{text}."
    )


def shown(estimate: Estimate) -> str:
    """A figure with its interval."""
    return estimate.shown(".1%")

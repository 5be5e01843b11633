# SPDX-License-Identifier: Apache-2.0
"""Computes the content of an evaluation's page: its table, its averages, and the warnings above them.

Everything is read from the evaluation's folder and from additional inputs (another judge's verdicts, another model,
training files, a clinician's labels). A part without input is left out, and the page says that it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.audit.grounding import Grounding, ground
from medix_verl.evaluation.audit.leakage import Leakage
from medix_verl.evaluation.audit.sheet import Labels
from medix_verl.evaluation.audit.verdicts import Disagreement, LengthBias, consistency, length_bias, verdicts
from medix_verl.evaluation.grading.judge_settings import LOWER_BOUND, is_lower_bound
from medix_verl.evaluation.reports.details import axes_of, shown_facets, texts_of
from medix_verl.evaluation.reports.table import cut_warning
from medix_verl.evaluation.stats.generations import Generations, generations_of
from medix_verl.evaluation.stats.missing import Counting, counting_of, mean_bounds, summary_of
from medix_verl.evaluation.stats.paired import Comparison
from medix_verl.evaluation.stats.summary import Summary, TaskSummary, macro_average
from medix_verl.evaluation.store.manifest import missing
from medix_verl.evaluation.store.read import Evaluation, is_open, spec_of
from medix_verl.evaluation.store.records import cut_off, entry_name
from medix_verl.evaluation.tasks.table import select
from medix_verl.report.published import PublishedTable, published_tables

__all__ = ["Average", "Beside", "Content", "Line", "build", "warnings"]

FEW_CLUSTERS = 30
SURVIVING = 0.5
"""The page warns if more than this share of the right answers stays right without the pictures."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Additional inputs of the page, besides the evaluation; all optional."""

    comparison: Comparison | None = None
    disagreement: Disagreement | None = None
    labels: Labels | None = None
    leaks: Mapping[str, Sequence[Leakage]] = field(default_factory=dict)
    """Name of a training file -> leakage of each task."""


@dataclass(frozen=True, slots=True)
class Line:
    """One task of the table."""

    task: str
    title: str
    group: str
    """llm, vlm, or `other` for a task that is not in the table of tasks."""
    published: bool
    shown: bool
    """Whether its texts and pictures may be on the page."""
    summary: TaskSummary
    refused: Mapping[str, int] = field(default_factory=dict)
    """Reason -> number of refused rows of its source."""
    lower_bound: bool = False
    """Whether its figure is a lower bound, because of the judge."""
    deviations: Sequence[str] = ()
    """How its questions differ from the published ones."""
    generations: Generations | None = None
    """Set for a task with several answers to each question."""
    cut: Mapping[str, int] = field(default_factory=dict)
    """Kind of cut-off (medix_verl.evaluation.store.records.CUT) -> number of answers."""

    @property
    def facets(self) -> Mapping[str, Mapping[str, Summary]]:
        """Its splits by facet, if they may be on the page."""
        return shown_facets(self.summary) if self.shown else {}

    @property
    def texts(self) -> Mapping[str, Estimate]:
        """The metrics of its reports."""
        return texts_of(self.summary)

    @property
    def axes(self) -> Mapping[str, Estimate]:
        """The axes of its rubrics."""
        return axes_of(self.summary)


@dataclass(frozen=True, slots=True)
class Average:
    """A mean over tasks."""

    name: str
    tasks: int
    estimate: Estimate | None
    missing: tuple[str, ...]
    """Tasks without a figure; with any of them there is no average."""
    lower_bound: bool = False
    """Whether the figure of one of its tasks is a lower bound."""
    bounds: tuple[float, float] | None = None
    """The average with every question without a score counted as wrong, and as right."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of the page, without the samples."""

    evaluation: Evaluation
    lines: tuple[Line, ...]
    averages: tuple[Average, ...]
    tables: tuple[PublishedTable, ...]
    grounding: tuple[Grounding, ...]
    votes: Estimate | None
    length: LengthBias | None
    beside: Beside


def build(evaluation: Evaluation, beside: Beside | None = None, seed: int = 0) -> Content:
    """Compute the content of a page.

    Raises:
        DataError: The records are inconsistent.
    """
    lines = tuple(
        line_of(
            summary_of(task, records, counting_of(evaluation.manifest)),
            evaluation.refused(task),
            cut_off(records),
            evaluation.deviations(task),
            evaluation.judge,
            generations_of(records, counting_of(evaluation.manifest)),
            manifest=evaluation.manifest,
        )
        for task, records in evaluation.tasks().items()
    )
    judged = verdicts(evaluation)
    return Content(
        evaluation=evaluation,
        lines=lines,
        averages=averages_of(lines),
        tables=published_tables(),
        grounding=tuple(ground(evaluation, seed)),
        votes=consistency(judged),
        length=length_bias(judged),
        beside=beside or Beside(),
    )


def line_of(
    summary: TaskSummary,
    refused: Mapping[str, int],
    cut: Mapping[str, int],
    deviations: Sequence[str],
    judge: str,
    generations: Generations | None = None,
    *,
    manifest: Mapping[str, Any],
) -> Line:
    """The line of a task, with its entry in the table of tasks."""
    spec = spec_of(summary.task, manifest)
    return Line(
        task=summary.task,
        title=spec.title if spec else summary.task,
        group=spec.group if spec else "other",
        published=spec is not None and spec.published_name is not None,
        shown=is_open(summary.task, manifest),
        summary=summary,
        refused=refused,
        lower_bound=is_lower_bound(judge, summary.by_answer_type),
        generations=generations,
        cut=cut,
        deviations=deviations,
    )


def averages_of(lines: Sequence[Line]) -> tuple[Average, ...]:
    """The averages over the 17 published tasks, over their two groups, and over the tasks of this evaluation."""
    there = {line.task: line.summary.overall.spread for line in lines}
    bounds = {line.task for line in lines if line.lower_bound}
    whole = {line.task: line.summary.overall for line in lines}
    published = [spec for spec in select("published")]
    wanted = {
        "Average of the text tasks": [spec.name for spec in published if spec.group == "llm"],
        "Average of the tasks with pictures": [spec.name for spec in published if spec.group == "vlm"],
        "Average over the 17 published tasks": [spec.name for spec in published],
        "Average over the tasks of this evaluation": list(there),
    }
    return tuple(
        Average(
            name=name,
            tasks=len(tasks),
            estimate=macro_average([there.get(task) for task in tasks]),
            missing=tuple(task for task in tasks if there.get(task) is None),
            lower_bound=not bounds.isdisjoint(tasks),
            bounds=mean_bounds([whole.get(task) for task in tasks]),
        )
        for name, tasks in wanted.items()
    )


def warnings(content: Content) -> list[str]:
    """The warnings of the page, most severe first."""
    return [
        *run_warnings(content.evaluation),
        *(text for line in content.lines for text in task_warnings(line, counting_of(content.evaluation.manifest))),
        *few_warnings(content.lines),
        *(text for found in content.grounding for text in grounding_warnings(found)),
        *leak_warnings(content.beside.leaks),
        *judge_warnings(content),
    ]


def run_warnings(evaluation: Evaluation) -> list[str]:
    """Warnings about the run as a whole, from the manifest."""
    found = []
    manifest = evaluation.manifest
    if not evaluation.finished:
        found.append("This evaluation did not finish: figures are of the part that was done.")
    there = {entry_name(task, condition) for task, condition in evaluation.records}
    lost = missing(dict(manifest)) if "asked" in manifest else dict(manifest.get("failed") or {})
    for name, cause in lost.items():
        found.append(f"{name} {'is not whole' if name in there else 'has no figure'}: {cause}")
    limit = dict(manifest.get("settings") or {}).get("limit")
    if limit:
        found.append(f"Only {limit} questions of each task were asked: these are not figures of the whole sets.")
    return found


def task_warnings(line: Line, counting: Counting) -> list[str]:
    """Warnings about the figure of one task."""
    summary = line.summary.overall
    counts = summary.counts
    found = [f"{line.task}: {text}." for text in line.deviations]
    if line.refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(line.refused.items()))
        found.append(f"{line.task}: {sum(line.refused.values())} rows of its source were refused ({reasons}).")
    if cut := cut_warning(line.cut, counts.total):
        found.append(f"{line.task}: {cut}.")
    if not counts.scored:
        text = f"{counts.unscored} unscored, {counts.errors} errors of {counts.total}"
        return [f"{line.task} has no score: {text}.", *found]
    lost = counts.total - counts.scored
    if lost > counting.max_unscored * counts.total and summary.worst is not None and summary.best is not None:
        bounds = f"the figure could be {summary.worst:.1%} to {summary.best:.1%}"
        bounds += "; they are counted as wrong" if counting.errors == "wrong" else ""
        found.append(f"{line.task}: {lost} of {counts.total} questions have no score; {bounds}.")
    return found


def few_warnings(lines: Sequence[Line]) -> list[str]:
    """One warning that lists the tasks with fewer than FEW_CLUSTERS clusters."""
    found = [(line.task, line.summary.overall) for line in lines]
    few = [f"{task} ({it.clusters})" for task, it in found if it.estimate is not None and it.clusters < FEW_CLUSTERS]
    return [f"Fewer than {FEW_CLUSTERS} independent pictures, patients or questions: {', '.join(few)}."] if few else []


def grounding_warnings(found: Grounding) -> list[str]:
    """Warnings about tasks whose accuracy hardly depends on the pictures."""
    lines = []
    for without in found.without:
        if without.survives is not None and without.survives.value > SURVIVING:
            share = f"{without.survives.value:.0%}"
            lines.append(f"{found.task}: {share} of the right answers are right with {without.condition} pictures too.")
        elif without.gain is not None and without.gain.low <= 0:
            lines.append(f"{found.task}: no proven gain of the real pictures over {without.condition} ones.")
    return lines


def leak_warnings(leaks: Mapping[str, Sequence[Leakage]]) -> list[str]:
    """Warnings about contaminated tasks, or that leakage was not checked."""
    if not leaks:
        return ["Nothing is known of leakage: give the training files with --training FILE.parquet."]
    every = [(name, leak) for name, found in leaks.items() for leak in found]
    return [
        *(
            f"{it.task}: {sum(it.kinds.values())} of {it.total} questions are in {name}."
            for name, it in every
            if it.kinds
        ),
        *(
            f"{it.task}: of {it.exact_only} questions only exact copies of the pictures were looked for in {name}: an "
            "earlier version evaluated them; evaluate again."
            for name, it in every
            if it.exact_only
        ),
    ]


def judge_warnings(content: Content) -> list[str]:
    """Warnings about the judge, or that it was not compared with another one."""
    evaluation, beside = content.evaluation, content.beside
    found = []
    if evaluation.judge == "rule":
        found.append(
            f"Judged by fixed rules, not by a model: free answers in other words count as wrong. {LOWER_BOUND}."
        )
    if evaluation.protocol != "published":
        found.append(f"Judged by the protocol {evaluation.protocol}: published figures were judged by another one.")
    if beside.labels is None and beside.disagreement is None:
        found.append("The judge was compared with no clinician and with no other judge.")
    return found

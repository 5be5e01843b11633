# SPDX-License-Identifier: Apache-2.0
"""Works out what the page of an evaluation says: its table, its averages, and the warnings that come before them.

Everything is read from the evaluation's own folder and from what is given beside it (another judge's verdicts, another
model, training files, a clinician's labels). A part that was not given is not there, and the page says that nothing is
known of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medix_verl.evaluation.agreement import Estimate
from medix_verl.evaluation.grounding import Grounding, ground
from medix_verl.evaluation.judges import Disagreement, LengthBias, consistency, length_bias, verdicts
from medix_verl.evaluation.leakage import Leakage
from medix_verl.evaluation.manifest import entry_name, missing
from medix_verl.evaluation.paired import Comparison
from medix_verl.evaluation.results import Evaluation, is_open, spec_of
from medix_verl.evaluation.sheet import Labels
from medix_verl.evaluation.statistics import TaskSummary, macro_average, summarise_task
from medix_verl.evaluation.tasks import select
from medix_verl.report.published import PublishedTable, published_tables

__all__ = ["Average", "Beside", "Content", "Line", "build", "warnings"]

FEW_CLUSTERS = 30
LOST_SHARE = 0.02
"""Share of questions without a score above which the page warns."""
SURVIVING = 0.5
"""Share of right answers that survive without pictures above which the page warns."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is shown beside the evaluation itself, where it is given."""

    comparison: Comparison | None = None
    disagreement: Disagreement | None = None
    labels: Labels | None = None
    leaks: Mapping[str, Sequence[Leakage]] = field(default_factory=dict)
    """Name of a training file -> every task beside it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One task of the table."""

    task: str
    title: str
    group: str
    """llm, vlm, or `other` for a task that the table of tasks does not know."""
    published: bool
    shown: bool
    """Whether its texts and pictures may be on the page."""
    summary: TaskSummary
    refused: Mapping[str, int] = field(default_factory=dict)
    """Reason -> rows of its source that are none of its questions."""


@dataclass(frozen=True, slots=True)
class Average:
    """A mean over tasks."""

    name: str
    tasks: int
    estimate: Estimate | None
    missing: tuple[str, ...]
    """Tasks without which there is no average."""


@dataclass(frozen=True, slots=True)
class Content:
    """The whole page, but for the samples."""

    evaluation: Evaluation
    lines: tuple[Line, ...]
    averages: tuple[Average, ...]
    tables: tuple[PublishedTable, ...]
    grounding: tuple[Grounding, ...]
    votes: Estimate | None
    length: LengthBias | None
    beside: Beside


def build(evaluation: Evaluation, beside: Beside | None = None, seed: int = 0) -> Content:
    """Work out a page.

    Raises:
        DataError: The records contradict one another.
    """
    lines = tuple(
        line_of(summarise_task(task, records), evaluation.refused(task)) for task, records in evaluation.tasks().items()
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


def line_of(summary: TaskSummary, refused: Mapping[str, int]) -> Line:
    """A task with what the table of tasks says of it."""
    spec = spec_of(summary.task)
    return Line(
        task=summary.task,
        title=spec.title if spec else summary.task,
        group=spec.group if spec else "other",
        published=spec is not None and spec.published_name is not None,
        shown=is_open(summary.task),
        summary=summary,
        refused=refused,
    )


def averages_of(lines: Sequence[Line]) -> tuple[Average, ...]:
    """The published average over its 17 tasks and over its two groups, and the average over what is here."""
    there = {line.task: line.summary.overall.spread for line in lines}
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
        )
        for name, tasks in wanted.items()
    )


def warnings(content: Content) -> list[str]:
    """What must be known before a figure is read, the gravest first."""
    return [
        *run_warnings(content.evaluation),
        *(text for line in content.lines for text in task_warnings(line)),
        *few_warnings(content.lines),
        *(text for found in content.grounding for text in grounding_warnings(found)),
        *leak_warnings(content.beside.leaks),
        *judge_warnings(content),
    ]


def run_warnings(evaluation: Evaluation) -> list[str]:
    """What the manifest says of the run as a whole."""
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
        found.append(f"Only {limit} questions of each task were asked: these are no figures of the whole sets.")
    return found


def task_warnings(line: Line) -> list[str]:
    """What lies behind the figure of one task."""
    summary = line.summary.overall
    counts = summary.counts
    found = []
    if line.refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(line.refused.items()))
        found.append(f"{line.task}: {sum(line.refused.values())} rows of its source were refused ({reasons}).")
    if summary.estimate is None:
        told = f"{counts.unscored} unscored, {counts.errors} errors of {counts.total}"
        return [f"{line.task} has no score: {told}.", *found]
    lost = counts.total - counts.scored
    if lost > LOST_SHARE * counts.total and summary.worst is not None and summary.best is not None:
        bounds = f"the figure could be {summary.worst:.1%} to {summary.best:.1%}"
        found.append(f"{line.task}: {lost} of {counts.total} questions have no score; {bounds}.")
    return found


def few_warnings(lines: Sequence[Line]) -> list[str]:
    """Tasks whose figures stand on next to nothing, in one sentence."""
    found = [(line.task, line.summary.overall) for line in lines]
    few = [f"{task} ({it.clusters})" for task, it in found if it.estimate is not None and it.clusters < FEW_CLUSTERS]
    return [f"Fewer than {FEW_CLUSTERS} independent pictures, patients or questions: {', '.join(few)}."] if few else []


def grounding_warnings(found: Grounding) -> list[str]:
    """Tasks whose accuracy hardly needs the pictures."""
    told = []
    for without in found.without:
        if without.survives is not None and without.survives.value > SURVIVING:
            share = f"{without.survives.value:.0%}"
            told.append(f"{found.task}: {share} of the right answers are right with {without.condition} pictures too.")
        elif without.gain is not None and without.gain.low <= 0:
            told.append(f"{found.task}: no proven gain of the real pictures over {without.condition} ones.")
    return told


def leak_warnings(leaks: Mapping[str, Sequence[Leakage]]) -> list[str]:
    """Contaminated tasks; or that nobody looked."""
    if not leaks:
        return ["Nothing is known of leakage: give the training files with --training FILE.parquet."]
    return [
        f"{leak.task}: {sum(leak.kinds.values())} of {leak.total} questions are in {name}."
        for name, found in leaks.items()
        for leak in found
        if leak.kinds
    ]


def judge_warnings(content: Content) -> list[str]:
    """What is known of the judge, or that nothing is."""
    evaluation, beside = content.evaluation, content.beside
    found = []
    if evaluation.judge == "rule":
        found.append("Judged by fixed rules, not by a model: free answers in other words count as wrong.")
    if evaluation.protocol != "published":
        found.append(f"Judged by the protocol {evaluation.protocol}: published figures were judged by another one.")
    if beside.labels is None and beside.disagreement is None:
        found.append("The judge was compared with no clinician and with no other judge.")
    return found

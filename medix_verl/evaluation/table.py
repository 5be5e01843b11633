# SPDX-License-Identifier: Apache-2.0
"""`summary.json` and `table.md`: the figures of an evaluation, each with its interval, its counts and its bounds.

A task without a score has no figure, and then the average has none either: an average over fewer tasks would be
another quantity under the same name. Rows of a source that its converter refused are in no figure; they are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medix_verl.evaluation.agreement import legend
from medix_verl.evaluation.manifest import entry_name, missing
from medix_verl.evaluation.records import read_records, record_path
from medix_verl.evaluation.statistics import Summary, TaskSummary, macro_average, summarise_task
from medix_verl.runtime.files import write_json, write_text

__all__ = ["read_summaries", "refused_of", "render_table", "told_counts", "write_summary"]

HEAD = (
    "| task | score [95 %] | scored | unscored | errors | refused | worst to best case |\n|---|---|---|---|---|---|---|"
)


def read_summaries(folder: Path, manifest: Mapping[str, Any]) -> list[TaskSummary]:
    """The summary of each task and condition that has records, in the manifest's order."""
    found = []
    for task in manifest["tasks"]:
        for condition in manifest["conditions"]:
            path = record_path(folder, task, condition)
            if path.is_file():
                found.append(summarise_task(task, read_records(path)))
    return found


def write_summary(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write both files anew from the records."""
    summaries = read_summaries(folder, manifest)
    average = average_of(summaries, manifest)
    content = {
        "finished": manifest["finished"],
        "average": None if average is None else asdict(average),
        "tasks": [
            {**asdict(summary), "refused": refused_of(manifest, summary.task, summary.condition)}
            for summary in summaries
        ],
    }
    write_json(folder / "summary.json", content, allow_nan=False)
    write_text(folder / "table.md", render_table(summaries, manifest))


def average_of(summaries: list[TaskSummary], manifest: Mapping[str, Any]) -> Any:
    """The macro average over all tasks of the evaluation with real pictures; None where one has no score."""
    real = {summary.task: summary.overall.spread for summary in summaries if summary.condition == "real"}
    return macro_average([real.get(task) for task in manifest["tasks"]])


def render_table(summaries: list[TaskSummary], manifest: Mapping[str, Any]) -> str:
    """The table in Markdown."""
    judge = manifest["judge"]
    who = ", ".join(judge["model"]) if judge["model"] else judge["kind"]
    lines = [f"# {manifest['model']}", "", f"Judge: {who}, protocol {manifest['protocol']['name']}.", "", HEAD]
    for summary in summaries:
        suffix = "" if summary.condition == "real" else f" ({summary.condition} pictures)"
        refused = sum(refused_of(manifest, summary.task, summary.condition).values())
        lines.append(row(f"{summary.task}{suffix}", summary.overall, refused))
    average = average_of(summaries, manifest)
    told = "no average: a task has no score" if average is None else shown(average)
    lines += [f"| **average over {len(manifest['tasks'])} tasks** | {told} | | | | | |", ""]
    lines += [f"{line}\n" for line in legend(lines)]
    if not manifest["finished"]:
        lines += ["**Not finished**: some questions were not asked; they are counted as errors.", ""]
    lines += [f"{name}: {cause}" for name, cause in missing(dict(manifest)).items()]
    return "\n".join(lines).rstrip() + "\n"


def refused_of(manifest: Mapping[str, Any], task: str, condition: str) -> dict[str, int]:
    """Rows of a task's source that are none of its questions, by reason."""
    return dict((manifest["done"].get(entry_name(task, condition)) or {}).get("refused") or {})


def row(name: str, summary: Summary, refused: int = 0) -> str:
    """One line of the table."""
    counts = summary.counts
    score = "no score" if summary.estimate is None else shown(summary.estimate)
    bounds = "" if summary.worst is None or summary.best is None else f"{summary.worst:.1%} to {summary.best:.1%}"
    return f"| {name} | {score} | {counts.scored} | {counts.unscored} | {counts.errors} | {refused} | {bounds} |"


def shown(estimate: Any) -> str:
    """A figure with its interval."""
    return str(estimate.shown(".1%"))


def told_counts(name: str, counts: Mapping[str, int], refused: Mapping[str, int]) -> str:
    """What became of a task's questions, and which rows of its source are none of them."""
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
    return f"{name}: {told}" + (f"; {sum(refused.values())} rows of its source refused ({reasons})" if refused else "")

# SPDX-License-Identifier: Apache-2.0
"""Writes `summary.json` and `table.md`: the figures of an evaluation with intervals, counts and bounds.

A task without a score has no figure, and the average then has none either, because an average over fewer tasks is a
different quantity. If too many questions of a task have no score, bounds replace its figure and the average
(medix_verl.evaluation.stats.missing). Rows of a source that its converter refused are excluded from figures and
counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medix_verl.evaluation.audit.agreement import Estimate, legend
from medix_verl.evaluation.grading.judge_settings import LOWER_BOUND, is_lower_bound
from medix_verl.evaluation.reports.details import detail_lines
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.stats.generations import Generations, generations_of
from medix_verl.evaluation.stats.missing import counting_of, facts_of_counting, mean_bounds, summary_of
from medix_verl.evaluation.stats.summary import Summary, TaskSummary, macro_average
from medix_verl.evaluation.store.manifest import done_of, missing
from medix_verl.evaluation.store.records import entry_name, read_records, record_path
from medix_verl.runtime.files import write_json, write_text
from medix_verl.secrets import scrub_text

__all__ = [
    "between",
    "bound_mark",
    "count_line",
    "cut_warning",
    "figures_of",
    "read_summaries",
    "refused_of",
    "render_table",
    "write_summary",
]

CUT_SHARE = 0.01
"""Share of cut-off answers from which a warning is given."""
CUT_WORDS = {"length": "cut at the limit of tokens", "content_filter": "refused or filtered", "empty": "without a text"}
HEAD = (
    "| task | score [95 %] | scored | unscored | errors | refused | cut off | worst to best case |\n"
    "|---|---|---|---|---|---|---|---|"
)


def read_summaries(folder: Path, manifest: Mapping[str, Any]) -> list[tuple[TaskSummary, Generations | None]]:
    """Summary and generations of each task and condition with records, in the manifest's order."""
    found = []
    for task in manifest["tasks"]:
        for condition in manifest["conditions"]:
            path = record_path(folder, task, condition)
            if path.is_file():
                records, counting = read_records(path), counting_of(manifest)
                found.append((summary_of(task, records, counting), generations_of(records, counting)))
    return found


def write_summary(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write both files from the records, replacing earlier ones."""
    read = read_summaries(folder, manifest)
    summaries = [summary for summary, _ in read]
    average = average_of(summaries, manifest)
    content = {
        "finished": manifest["finished"],
        "average": None if average is None else asdict(average),
        "average_bounds": bounds_of(summaries, manifest),
        "counting": facts_of_counting(counting_of(manifest)),
        "tasks": [
            {
                **asdict(summary),
                "refused": refused_of(manifest, summary.task, summary.condition),
                "deviations": deviations_of(manifest, summary.task, summary.condition),
                "cut_off": cut_of(manifest, summary.task, summary.condition),
                "generations": None if generations is None else asdict(generations),
            }
            for summary, generations in read
        ],
    }
    write_json(folder / "summary.json", content, allow_nan=False)
    by_entry = {entry_name(summary.task, summary.condition): generations for summary, generations in read}
    write_text(folder / "table.md", scrub_text(render_table(summaries, manifest, by_entry)))


def average_of(summaries: list[TaskSummary], manifest: Mapping[str, Any]) -> Any:
    """The macro average over all tasks under the condition `real`; None if one has no score."""
    real = {summary.task: summary.overall.spread for summary in summaries if summary.condition == "real"}
    return macro_average([real.get(task) for task in manifest["tasks"]])


def bounds_of(summaries: list[TaskSummary], manifest: Mapping[str, Any]) -> tuple[float, float] | None:
    """Bounds of the macro average: every question without a score counted as wrong, and as right."""
    real = {summary.task: summary.overall for summary in summaries if summary.condition == "real"}
    return mean_bounds([real.get(task) for task in manifest["tasks"]])


def render_table(
    summaries: list[TaskSummary],
    manifest: Mapping[str, Any],
    generations: Mapping[str, Generations | None] | None = None,
) -> str:
    """The table in Markdown; `generations` is keyed by entry name."""
    judge = manifest["judge"]
    who = ", ".join(judge["model"]) if judge["model"] else judge["kind"]
    lines = [f"# {manifest['model']}", "", f"Judge: {who}, protocol {manifest['protocol']['name']}.", "", HEAD]
    for summary in summaries:
        suffix = "" if summary.condition == "real" else f" ({summary.condition} pictures)"
        refused = sum(refused_of(manifest, summary.task, summary.condition).values())
        cut = sum(cut_of(manifest, summary.task, summary.condition).values())
        lines.append(row(f"{summary.task}{suffix}", summary.overall, refused, cut, bound_mark(judge, summary)))
    average, ends = average_of(summaries, manifest), bounds_of(summaries, manifest)
    mark = max((bound_mark(judge, summary) for summary in summaries if summary.condition == "real"), default="")
    text = "no average: a task has no score" if ends is None else f"{between(*ends)} (bounds)"
    text = text if average is None else mark + shown(average)
    lines += [f"| **average over {len(manifest['tasks'])} tasks** | {text} | | | | | | |", ""]
    names = [entry_name(summary.task, summary.condition) for summary in summaries]
    lines += detail_lines(summaries, names, manifest)
    lines += generation_lines(generations or {})
    lines += [f"{line}\n" for line in legend(lines)]
    if any(bound_mark(judge, summary) for summary in summaries):
        lines += [f"{LOWER_BOUND}.", ""]
    for summary in summaries:
        name = entry_name(summary.task, summary.condition)
        lines += [f"**{name}: {text}**\n" for text in deviations_of(manifest, summary.task, summary.condition)]
        ended = cut_of(manifest, summary.task, summary.condition)
        if warned := cut_warning(ended, summary.overall.counts.total):
            lines += [f"**{name}: {warned}**", ""]
    if not manifest["finished"]:
        lines += ["**Not finished**: some questions have no score, or were not asked.", ""]
    if counting_of(manifest).errors == "wrong":
        lines += [f"Questions without a score are counted as wrong ({setting('counting.errors', 'wrong')}).", ""]
    lines += [f"{name}: {cause}" for name, cause in missing(dict(manifest)).items()]
    return "\n".join(lines).rstrip() + "\n"


def figures_of(found: Generations) -> list[tuple[str, Estimate | None]]:
    """Names and figures of a task with several generations."""
    majority = [(f"maj@{found.k}", found.majority)] if found.passes else []
    passes = [(f"pass@{step}", value) for step, value in found.passes.items()]
    return [(f"avg@{found.k}", found.average), *passes, *majority]


def generation_lines(generations: Mapping[str, Generations | None]) -> list[str]:
    """The figures of tasks with several generations, in Markdown."""
    known = {name: found for name, found in generations.items() if found is not None}
    if not known:
        return []
    head = "Several generations, each question with all its answers in one cluster; pass@k by the unbiased estimator:"
    lines = [head, "", "| task | questions | left out | figures [95 %] |", "|---|---|---|---|"]
    for name, found in known.items():
        cells = ", ".join(f"{n} {'no figure' if it is None else shown(it)}" for n, it in figures_of(found))
        lines.append(f"| {name} | {found.questions} | {found.left_out} | {cells} |")
    return [*lines, ""]


def refused_of(manifest: Mapping[str, Any], task: str, condition: str) -> dict[str, int]:
    """Refused rows of a task's source: reason -> number."""
    return dict(done_of(manifest, task, condition).get("refused") or {})


def bound_mark(judge: Mapping[str, Any], summary: TaskSummary) -> str:
    """The mark before a figure that is a lower bound; empty for others."""
    return "≥ " if is_lower_bound(judge["kind"], summary.by_answer_type) else ""


def deviations_of(manifest: Mapping[str, Any], task: str, condition: str) -> list[str]:
    """How a task's questions differ from the published ones (medix_verl.evaluation.tasks.expected)."""
    return list(done_of(manifest, task, condition).get("deviations") or ())


def cut_of(manifest: Mapping[str, Any], task: str, condition: str) -> dict[str, int]:
    """Cut-off answers: kind (medix_verl.evaluation.store.records.CUT) -> number."""
    return dict(done_of(manifest, task, condition).get("cut_off") or {})


def cut_warning(cut: Mapping[str, int], total: int) -> str:
    """The warning if at least CUT_SHARE of a task's answers were cut off; empty otherwise."""
    count = sum(cut.values())
    if not count or count < CUT_SHARE * total:
        return ""
    text = ", ".join(f"{number} {CUT_WORDS[kind]}" for kind, number in cut.items())
    hint = f"; raise {setting('generation.max_tokens')}" if "length" in cut else ""
    return f"{count} of {total} answers are not what the model would have said: {text}{hint}"


def row(name: str, summary: Summary, refused: int = 0, cut: int = 0, mark: str = "") -> str:
    """One line of the table."""
    counts = summary.counts
    ends = None if summary.worst is None or summary.best is None else (summary.worst, summary.best)
    bounds = "" if ends is None else between(*ends)
    score = "no score" if ends is None or not counts.scored else f"{bounds} (bounds)"
    score = score if summary.estimate is None else mark + shown(summary.estimate)
    return (
        f"| {name} | {score} | {counts.scored} | {counts.unscored} | {counts.errors} | {refused} | {cut} | {bounds} |"
    )


def between(low: float, high: float) -> str:
    """The interval between two bounds."""
    return f"{low:.1%} to {high:.1%}"


def shown(estimate: Any) -> str:
    """A figure with its interval."""
    return str(estimate.shown(".1%"))


def count_line(
    name: str, counts: Mapping[str, int], refused: Mapping[str, int], cut: Mapping[str, int] | None = None
) -> str:
    """One line with the counts of a task's answers by status, its refused rows and its cut-off answers."""
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
    text += f"; {sum(refused.values())} rows of its source refused ({reasons})" if refused else ""
    warned = cut_warning(cut or {}, sum(counts.values()))
    return f"{name}: {text}; {warned}" if warned else f"{name}: {text}"

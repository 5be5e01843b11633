# SPDX-License-Identifier: Apache-2.0
"""`medix-verl evaluate compare A B`: paired comparison of two evaluations; the difference is B minus A.

Only questions with a score in both are compared; the number of others is shown. The p-value is from a sign-flip test
on whole clusters; in brackets it is corrected for the number of tasks (Holm). A ~ marks an approximate p-value.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.cli.lines import say, waiting
from medix_verl.evaluation.audit.agreement import legend
from medix_verl.runtime.files import write_json

if TYPE_CHECKING:
    from medix_verl.evaluation.stats.paired import Comparison, TaskComparison

__all__ = ["compare_folders", "lines_of"]


def compare_folders(a: Path, b: Path, args: argparse.Namespace) -> int:
    """Compare two folders, print the table, and write JSON if --out is given."""
    from medix_verl.evaluation.stats.paired import compare
    from medix_verl.evaluation.store.read import read_evaluation

    with waiting("comparing the answers of both"):
        both = {"A": read_evaluation(a), "B": read_evaluation(b)}
        found = compare(both["A"], both["B"], seed=args.seed)
    print(json.dumps(content_of(found)) if args.json else "\n".join(lines_of(found)))
    for name, evaluation in both.items():
        if not evaluation.finished:
            say(f"{name} is not finished: what has a score in it may be no sample of what has none")
    if args.out is not None:
        write_json(args.out, content_of(found))
    return 0


def lines_of(found: Comparison) -> list[str]:
    """The table."""
    lines = [f"A: {found.a}", f"B: {found.b}", ""]
    head = f"{'task':34} {'A':>7} {'B':>7}  {'B - A [95 %]':28} {'p (Holm)':18} better/worse  not compared"
    lines += [head, *(line_of(task, item) for task, item in found.tasks.items())]
    if found.macro is None:
        lines.append("average difference: none, because a task has no pair")
    else:
        difference, p_value = found.macro.difference, found.macro.p_value
        averaged = f"{interval(difference)}, p {shown_p(p_value, difference.approximate)}"
        lines.append(f"average difference over tasks: {averaged}")
    lines += generation_lines(found)
    for name, only in (("A", found.only_a), ("B", found.only_b)):
        if only:
            lines.append(f"only in {name}: {', '.join(only)}")
    if found.settings:
        lines.append(f"the two were not run alike, they differ in: {', '.join(found.settings)}")
    return [*lines, *legend(lines)]


def generation_lines(found: Comparison) -> list[str]:
    """pass@1 (acc@1) to pass@k and maj@k of the tasks with several generations in both evaluations."""
    if not found.generations:
        return []
    lines = ["", "several generations: pass@1 is acc@1; p-values are not corrected"]
    for task, figures in found.generations.items():
        lines += [line_of(f"{task} {name}", item) for name, item in figures.items()]
    return [*lines, ""]


def line_of(task: str, item: TaskComparison) -> str:
    """The line of one task."""
    pairs = item.pairs
    left = len(pairs.only_a) + len(pairs.only_b) + len(pairs.unscored)
    if item.difference is None or item.mean_a is None or item.mean_b is None:
        return f"{task:34} no question has a score in both; not compared: {left}"
    p_value = shown_p(item.p_value, item.p_approximate)
    p_value += f" ({shown_p(item.p_holm, item.p_holm_approximate)})" if item.p_holm is not None else ""
    shares = f"{item.mean_a:7.1%} {item.mean_b:7.1%}"
    return f"{task:34} {shares}  {interval(item.difference):28} {p_value:18} {item.better:>6}/{item.worse:<6} {left}"


def shown_p(value: float | None, approximate: bool) -> str:
    """A p-value, marked with ~ if it is approximate."""
    return "-" if value is None else f"{'~' if approximate else ''}{value:.4f}"


def interval(estimate: Any) -> str:
    """A difference with its interval."""
    return str(estimate.shown("+.1%"))


def content_of(found: Comparison) -> dict[str, Any]:
    """The comparison for JSON, with the records replaced by their ids."""
    content = asdict(found)
    parts = [figure for figures in content["generations"].values() for figure in figures.values()]
    for item in (*content["tasks"].values(), *parts):
        item["pairs"]["both"] = [pair[0]["id"] for pair in item["pairs"]["both"]]
    return content

# SPDX-License-Identifier: Apache-2.0
"""`medix-verl evaluate compare A B`: two evaluations of the same questions, paired; the difference is B minus A.

Only questions with a score in both are compared; how many are not is said. A p-value is that of flipping the signs of
whole clusters, and in brackets corrected for the number of tasks (Holm).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.cli.lines import waiting
from medix_verl.evaluation.agreement import legend
from medix_verl.runtime.files import write_json

if TYPE_CHECKING:
    from medix_verl.evaluation.paired import Comparison, TaskComparison

__all__ = ["compare_folders", "lines_of"]


def compare_folders(a: Path, b: Path, args: argparse.Namespace) -> int:
    """Compare two folders, print the table, and write JSON where --out says so."""
    from medix_verl.evaluation.paired import compare
    from medix_verl.evaluation.results import read_evaluation

    with waiting("comparing the answers of both"):
        found = compare(read_evaluation(a), read_evaluation(b), seed=args.seed)
    print("\n".join(lines_of(found)))
    if args.out is not None:
        write(args.out, found)
    return 0


def lines_of(found: Comparison) -> list[str]:
    """The table."""
    lines = [f"A: {found.a}", f"B: {found.b}", ""]
    head = f"{'task':34} {'A':>7} {'B':>7}  {'B - A [95 %]':28} {'p (Holm)':18} better/worse  not compared"
    lines += [head, *(line_of(task, item) for task, item in found.tasks.items())]
    if found.macro is None:
        lines.append("average difference: none, because a task has no pair")
    else:
        lines.append(f"average difference over tasks: {interval(found.macro.difference)}, p {found.macro.p_value:.4f}")
    for name, only in (("A", found.only_a), ("B", found.only_b)):
        if only:
            lines.append(f"only in {name}: {', '.join(only)}")
    if found.settings:
        lines.append(f"the two were not run alike, they differ in: {', '.join(found.settings)}")
    return [*lines, *legend(lines)]


def line_of(task: str, item: TaskComparison) -> str:
    """One task."""
    pairs = item.pairs
    left = len(pairs.only_a) + len(pairs.only_b) + len(pairs.unscored)
    if item.difference is None or item.mean_a is None or item.mean_b is None:
        return f"{task:34} no question has a score in both; not compared: {left}"
    p_value = "-" if item.p_value is None else f"{item.p_value:.4f} ({item.p_holm:.4f})"
    shares = f"{item.mean_a:7.1%} {item.mean_b:7.1%}"
    return f"{task:34} {shares}  {interval(item.difference):28} {p_value:18} {item.better:>6}/{item.worse:<6} {left}"


def interval(estimate: Any) -> str:
    """A difference with its interval."""
    return str(estimate.shown("+.1%"))


def write(out: Path, found: Comparison) -> None:
    """Write the comparison as JSON; the records themselves stay where they are."""
    content = asdict(found)
    for item in content["tasks"].values():
        item["pairs"]["both"] = [pair[0]["id"] for pair in item["pairs"]["both"]]
    write_json(out, content)

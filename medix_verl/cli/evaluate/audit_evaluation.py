# SPDX-License-Identifier: Apache-2.0
"""`medix-verl audit-judge` on a finished evaluation: statistics of its records, and the labelling sheet.

No judge is called here. Credentialed texts are never put on a sheet; a served judge sees them only in an evaluation.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.audit.agreement import Estimate, legend
from medix_verl.evaluation.audit.pairs import Case
from medix_verl.evaluation.audit.sheet import Labels, key_path, read_labels, write_sheet
from medix_verl.evaluation.audit.verdicts import (
    Disagreement,
    LengthBias,
    cases_of,
    consistency,
    disagreement,
    length_bias,
    verdicts,
)
from medix_verl.evaluation.store.read import is_open, read_evaluation

__all__ = ["add_evaluation_flags", "cases_to_ask", "check_evaluation_flags", "number", "percent", "show", "starts"]

NEEDS_FROM = ("against", "sheet", "ask")


def add_evaluation_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    group = parser.add_argument_group("from a finished evaluation")
    group.add_argument("--from", dest="evaluation", metavar="EVAL_DIR", type=Path, help="read what was judged there")
    group.add_argument("--against", metavar="EVAL_DIR", type=Path, help="the same responses, judged by another judge")
    group.add_argument("--ask", metavar="N", type=int, help="ask the judge N of the answers again, and exchanged")
    group.add_argument("--sheet", metavar="OUT.csv", type=Path, help="write a blinded sheet for a clinician to label")
    group.add_argument("--cases", metavar="N", type=int, default=100, help="cases on the sheet (default: 100)")
    group.add_argument(
        "--seed", type=int, default=0, help="of the choice of cases or pairs, and their order (default: 0)"
    )
    group.add_argument("--labels", metavar="FILLED.csv", type=Path, help="read a filled sheet: judge against clinician")
    group.add_argument("--key", metavar="KEY.json", type=Path, help="its key (default: FILLED.key.json)")


def check_evaluation_flags(args: argparse.Namespace) -> None:
    """Refuse flags that cannot be combined.

    Raises:
        ConfigError: Two flags conflict, or a flag or value is missing.
    """
    for name in NEEDS_FROM:
        if getattr(args, name) is not None and args.evaluation is None:
            raise ConfigError(f"--{name} was given without --from; type --from EVAL_DIR")
    if args.evaluation is not None and args.pairs is not None:
        raise ConfigError(f"got {args.pairs} and --from {args.evaluation}; give one of the two")
    if args.evaluation is not None and args.installed is not None:
        raise ConfigError(f"got --pairs {args.installed} and --from {args.evaluation}; give one of the two")
    if args.ask is not None and args.ask < 1:
        raise ConfigError(f"--ask is {args.ask}; give 1 or more")
    if args.key is not None and args.labels is None:
        raise ConfigError("--key was given without --labels; type --labels FILLED.csv")


def starts(args: argparse.Namespace) -> bool:
    """Whether the command is about an evaluation or a sheet."""
    return args.evaluation is not None or args.labels is not None


def show(args: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    """The requested results, as lines for the terminal and as JSON types.

    Raises:
        ConfigError: Nothing can be compared or put on a sheet.
        DataError: A folder or a file cannot be read.
    """
    lines: list[str] = []
    content: dict[str, Any] = {}
    if args.evaluation is not None:
        evaluation = read_evaluation(args.evaluation)
        judged = verdicts(evaluation)
        votes, length = consistency(judged), length_bias(judged)
        lines += [f"evaluation             {evaluation.model}, judged by {evaluation.judge}"]
        lines += [
            f"  verdicts             {len(judged)}",
            f"  votes agree          {percent(votes)}",
            *length_lines(length),
        ]
        content |= {"votes": votes and asdict(votes), "length": length and asdict(length), "verdicts": len(judged)}
        if args.against is not None:
            found = disagreement(evaluation, read_evaluation(args.against))
            lines += disagreement_lines(found)
            content["disagreement"] = asdict(found)
        if args.sheet is not None:
            written = write_sheet(evaluation, args.sheet, args.cases, args.seed)
            lines += [f"sheet                  {written[0]} and {written[1]}", f"  its key, to keep     {written[2]}"]
    if args.labels is not None:
        labels = read_labels(args.labels, args.key or key_path(args.labels))
        lines += label_lines(labels)
        content["labels"] = asdict(labels)
    return [*lines, *legend(lines)], content


def cases_to_ask(args: argparse.Namespace) -> list[Case]:
    """The judged answers that a judge is asked again; only of open tasks if the judge is served."""
    if args.evaluation is None or args.ask is None:
        return []
    evaluation = read_evaluation(args.evaluation)
    judged = verdicts(evaluation)
    kept = [record for record in judged if args.judge == "rule" or is_open(record.task, evaluation.manifest)]
    if not kept:
        raise ConfigError("--ask has no answer that this judge may see; evaluate a task that is not credentialed")
    return cases_of(kept, args.ask, args.seed)


def length_lines(found: LengthBias | None) -> list[str]:
    """The lines about length bias."""
    if found is None:
        return ["  length and verdict   - (too few answers that are not the reference's words)"]
    medians = f"median {found.accepted:g} characters accepted, {found.rejected:g} rejected"
    return [f"  length and verdict   {number(found.correlation)} ({medians})"]


def disagreement_lines(found: Disagreement) -> list[str]:
    """The lines about two judges."""
    counts = ", ".join(f"{n} {name}" for name, n in found.table.items())
    left_out = f"{found.other_response} other responses, {found.unscored} unscored"
    return [
        f"two judges             {found.a} and {found.b} ({left_out})",
        f"  verdicts             {counts}",
        f"  agreement            {percent(found.agreement)}",
        f"  Cohen's kappa        {number(found.kappa)}",
        f"  second minus first   {number(found.shift)}",
    ]


def label_lines(found: Labels) -> list[str]:
    """The lines about judge and clinician."""
    counts = ", ".join(f"{n} {name}" for name, n in found.table.items())
    return [
        f"labels                 {found.labelled} ({found.unsure} unsure, {found.blank} blank)",
        f"  sheet                {found.sheet}",
        f"  judge and clinician  {counts}",
        f"  agreement            {percent(found.agreement)}",
        f"  Cohen's kappa        {number(found.kappa)}",
        *(f"  {task:20} {same} of {count}" for task, (same, count) in found.by_task.items()),
    ]


def percent(value: Estimate | None) -> str:
    """A share with its interval."""
    return "-" if value is None else f"{value.shown('.1%')} of {value.count}"


def number(value: Estimate | None) -> str:
    """A number with its interval."""
    return "-" if value is None else f"{value.shown('.3f')} of {value.count}"

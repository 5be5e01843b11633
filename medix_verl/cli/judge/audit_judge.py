# SPDX-License-Identifier: Apache-2.0
"""`medix-verl audit-judge [PAIRS.jsonl]`: measure how reliable a judge is.

Each line of PAIRS.jsonl has `reference`, `candidate` and `label` (true or false: do they mean the same?), and may have
`question`, `options`, `synonyms` and `images`; a line with `"credentialed": true` is sent to a local judge only. The
judge is also given a set of attacks, none of which may pass; those that pass are listed. Every case is asked several
times without a cache, and each pair once with its two sides exchanged. Unscored cases are excluded and counted, with
the cause.

`--pairs ontology` takes pairs of the installed Human Phenotype Ontology instead of a file: a term with an exact
synonym (label true), or with a near sibling (label false).

With `--from EVAL_DIR` a finished evaluation is analysed instead, and the judge is asked only with `--ask N`: how
often votes agree, whether long answers pass more easily, how far another judge (`--against EVAL_DIR`) agrees.
`--sheet OUT.csv` writes a blinded sheet for a clinician; `--labels FILLED.csv` reads it back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medix_verl.cli.evaluate.audit_evaluation import (
    add_evaluation_flags,
    cases_to_ask,
    check_evaluation_flags,
    number,
    percent,
    show,
    starts,
)
from medix_verl.cli.judge.installed_pairs import add_pairs_flags, find_pairs
from medix_verl.cli.judge.judge_flags import (
    add_credentialed_flags,
    add_judge_flags,
    credentialed_settings,
    judge_settings,
)
from medix_verl.errors import ConfigError
from medix_verl.evaluation.audit.agreement import legend
from medix_verl.evaluation.audit.judge_audit import AuditReport, run_audit
from medix_verl.evaluation.audit.pairs import BUILTIN, Case, read_attacks
from medix_verl.judge.judge import build_judge
from medix_verl.judge.panel import agreement_lines, agreement_of
from medix_verl.judge.spec import JudgeSpec
from medix_verl.runtime.files import write_json

__all__ = ["add_arguments", "run"]

SHOWN = 60
"""Characters of an attack shown in the table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("pairs", metavar="PAIRS.jsonl", type=Path, nargs="?", help="labelled pairs")
    add_pairs_flags(parser)
    # Flags that allow credentialed data to be sent elsewhere must be typed in full.
    parser.allow_abbrev = False
    add_judge_flags(parser)
    add_credentialed_flags(parser)
    add_evaluation_flags(parser)
    parser.add_argument("--attacks", metavar="FILE", default="builtin", help="`builtin` (default), `none`, or a file")
    parser.add_argument("--repeats", type=int, default=3, metavar="K", help="askings of each case (default: 3)")
    parser.add_argument("--limit-concurrency", type=int, default=64, metavar="N", help="cases at once (default: 64)")
    parser.add_argument("--out", metavar="OUT.json", type=Path, help="write the numbers into a file, besides the table")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Audit the judge.

    Raises:
        ConfigError: The flags cannot be combined, or the output cannot be written there.
        DataError: A line of the pairs or of the attacks cannot be used; the judge was not asked.
        JudgeError: The judge cannot be used.
    """
    spec = read_spec(args)
    if args.out is not None and not args.out.absolute().parent.is_dir():
        raise ConfigError(f"--out {args.out}: its folder does not exist; type: mkdir -p {args.out.parent}")
    check_evaluation_flags(args)
    lines, details = show(args)
    if lines and not args.json:
        print("\n".join(lines))
    if starts(args) and args.ask is None:
        tell(args, [], details)
        return 0
    pairs = cases_to_ask(args) if args.evaluation is not None else find_pairs(args)
    attacks = [] if args.ask is not None else find_attacks(args.attacks)
    if not pairs and not attacks:
        raise ConfigError("there is nothing to ask: give PAIRS.jsonl or --pairs ontology, or leave out --attacks none")
    report, agreement = asyncio.run(audit(spec, pairs, attacks, args.repeats))
    panel = {} if agreement is None else {"panel": agreement}
    content = {**details, "judge": describe(spec), **as_json(report), **panel}
    tell(args, [*table(report), *agreement_lines(agreement)], content)
    return 0


def tell(args: argparse.Namespace, lines: Sequence[str], content: Mapping[str, Any]) -> None:
    """Print the lines, or the JSON with --json; write the JSON to --out if given."""
    for line in [json.dumps(content, allow_nan=False)] if args.json else lines:
        print(line)
    if args.out is not None:
        write_json(args.out, content, allow_nan=False)


def read_spec(args: argparse.Namespace) -> JudgeSpec:
    """Turn the flags into the judge's spec, without a cache: repeats must reach the judge."""
    if args.repeats < 1:
        raise ConfigError(f"--repeats is {args.repeats}; give 1 or more")
    limits = {"max_concurrent": args.limit_concurrency, "cache": "none"}
    return JudgeSpec.from_mapping({**judge_settings(args), **credentialed_settings(args), **limits})


def find_attacks(choice: str) -> list[Case]:
    """The attacks that the flag selects."""
    if choice == "none":
        return []
    return read_attacks(BUILTIN if choice == "builtin" else Path(choice))


async def audit(
    spec: JudgeSpec, pairs: Sequence[Case], attacks: Sequence[Case], repeats: int
) -> tuple[AuditReport, dict[str, Any] | None]:
    """Build, audit and always close the judge; also returns a panel's agreement, None for other judges."""
    from tqdm import tqdm

    total = (len(pairs) + len(attacks)) * repeats + len(pairs)
    judge = build_judge(spec)
    try:
        for case in pairs:
            judge.check_row(case.reference)
        with tqdm(total=total, delay=2, disable=not sys.stderr.isatty(), file=sys.stderr, unit="verdict") as bar:
            report = await run_audit(judge, pairs, attacks, repeats, spec.max_concurrent, bar.update)
            return report, agreement_of(judge)
    finally:
        await judge.close()


def table(report: AuditReport) -> list[str]:
    """The lines of the report: figures with their 95 % intervals, then the attacks that passed."""
    unscored = report.unscored
    lines = [
        f"pairs                  {report.pairs} ({unscored['pairs']} unscored)",
        f"  accuracy             {percent(report.accuracy)}",
        f"  Cohen's kappa        {number(report.kappa)}",
        f"  same when exchanged  {percent(report.swap)} ({unscored['swap']} unscored)",
        f"attacks                {report.attacks} ({unscored['attacks']} unscored)",
        f"  passed               {percent(report.false_positives)}",
        f"same in {report.repeats} askings      {percent(report.repeat)} ({unscored['repeats']} unscored)",
        f"latency                {seconds(report)}",
    ]
    if sum(report.confusion.values()):
        lines.insert(1, "  verdicts             " + ", ".join(f"{n} {name}" for name, n in report.confusion.items()))
    lines += legend(lines)
    lines += [f"unscored, {count} times: {cause}" for cause, count in report.causes.items()]
    if report.passed:
        lines.append("attacks that passed:")
        lines += [f"  {case.name:28} {json.dumps(shorten(case.candidate))}" for case in report.passed]
    return lines


def seconds(report: AuditReport) -> str:
    """The latency of the report."""
    p50, p95 = report.latency_s["p50"], report.latency_s["p95"]
    if p50 is None or p95 is None:
        return "- (no case needed the judge)"
    return f"p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms of {report.asked}"


def shorten(text: str) -> str:
    """The beginning of an attack."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def describe(spec: JudgeSpec) -> dict[str, Any]:
    """The judge's entry in the JSON file."""
    details: dict[str, Any] = {"kind": spec.kind, "url": spec.url, "model": spec.model, "prompt": spec.prompt}
    details |= {"images": True} if spec.images else {}
    return details | ({"panel": [describe(member) for member in spec.members]} if spec.panel else {})


def as_json(report: AuditReport) -> dict[str, Any]:
    """The report as JSON types."""
    plain = asdict(report)
    plain["by_kind"] = {kind: {"passed": n, "judged": of} for kind, (n, of) in report.by_kind.items()}
    plain["passed"] = [
        {"attack": case.name, "kind": case.kind, "candidate": case.candidate, "reference": case.reference.answer}
        for case in report.passed
    ]
    return plain

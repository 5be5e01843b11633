# SPDX-License-Identifier: Apache-2.0
"""`medix-verl audit-judge [PAIRS.jsonl]`: how far a judge can be trusted.

Each line of PAIRS.jsonl has `reference`, `candidate` and `label` (true or false: do they say the same?), and perhaps
`question`, `options` and `synonyms`; one with `"credentialed": true` goes to no judge that is not local. The judge
also meets a set of attacks, none of which may pass; each one that passed is listed. Every case is asked several times
without a cache, and each pair once with its two sides exchanged. A case that could not be judged is in no share; it is
counted, with its cause.

With `--from EVAL_DIR` a finished evaluation is looked at instead, and nothing is asked unless `--ask N` is there: how
often votes agree, whether long answers pass more easily, how far another judge (`--against EVAL_DIR`) agrees.
`--sheet OUT.csv` writes a blinded sheet for a clinician, `--labels FILLED.csv` reads it back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medix_verl.cli.audit_evaluation import (
    add_evaluation_flags,
    cases_to_ask,
    check_evaluation_flags,
    number,
    percent,
    show,
    starts,
)
from medix_verl.cli.judge_flags import add_credentialed_flags, add_judge_flags, credentialed_settings, judge_settings
from medix_verl.errors import ConfigError
from medix_verl.evaluation.agreement import legend
from medix_verl.evaluation.audit import AuditReport, run_audit
from medix_verl.evaluation.pairs import BUILTIN, Case, read_attacks, read_pairs
from medix_verl.judge.judge import build_judge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.runtime.files import write_json

__all__ = ["add_arguments", "run"]

SHOWN = 60
"""Characters of an attack that the table shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("pairs", metavar="PAIRS.jsonl", type=Path, nargs="?", help="labelled pairs")
    # What lets credentialed data out must be typed in full.
    parser.allow_abbrev = False
    add_judge_flags(parser)
    add_credentialed_flags(parser)
    add_evaluation_flags(parser)
    parser.add_argument("--attacks", metavar="FILE", default="builtin", help="`builtin` (default), `none`, or a file")
    parser.add_argument("--repeats", type=int, default=3, metavar="K", help="askings of each case (default: 3)")
    parser.add_argument("--limit-concurrency", type=int, default=64, metavar="N", help="cases at once (default: 64)")
    parser.add_argument("--json", metavar="OUT.json", type=Path, help="where the numbers go, besides the table")


def run(args: argparse.Namespace) -> int:
    """Audit the judge.

    Raises:
        ConfigError: The flags do not fit together, or the output cannot go where it should.
        DataError: A line of the pairs or of the attacks cannot be used; nothing has been asked then.
        JudgeError: The judge cannot be asked at all.
    """
    spec = read_spec(args)
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise ConfigError(f"--json {args.json}: its folder does not exist; type: mkdir -p {args.json.parent}")
    check_evaluation_flags(args)
    lines, told = show(args)
    print("\n".join(lines), end="\n" if lines else "")
    if starts(args) and args.ask is None:
        if args.json is not None:
            write_json(args.json, told, allow_nan=False)
        return 0
    pairs = cases_to_ask(args) if args.pairs is None else read_pairs(args.pairs)
    attacks = [] if args.ask is not None else find_attacks(args.attacks)
    if not pairs and not attacks:
        raise ConfigError("there is nothing to ask: give PAIRS.jsonl, or leave out --attacks none")
    report = asyncio.run(audit(spec, pairs, attacks, args.repeats))
    print("\n".join(table(report)))
    if args.json is not None:
        write_json(args.json, {**told, "judge": describe(spec), **as_json(report)}, allow_nan=False)
    return 0


def read_spec(args: argparse.Namespace) -> JudgeSpec:
    """Turn the flags into the judge's spec, without a cache: a repeat must be asked."""
    if args.repeats < 1:
        raise ConfigError(f"--repeats is {args.repeats}; give 1 or more")
    limits = {"max_concurrent": args.limit_concurrency, "cache": "none"}
    return JudgeSpec.from_mapping({**judge_settings(args), **credentialed_settings(args), **limits})


def find_attacks(choice: str) -> list[Case]:
    """The attacks that the flag names."""
    if choice == "none":
        return []
    return read_attacks(BUILTIN if choice == "builtin" else Path(choice))


async def audit(spec: JudgeSpec, pairs: Sequence[Case], attacks: Sequence[Case], repeats: int) -> AuditReport:
    """Build the judge, audit it, and close it whatever happens."""
    from tqdm import tqdm

    total = (len(pairs) + len(attacks)) * repeats + len(pairs)
    judge = build_judge(spec)
    try:
        for case in pairs:
            judge.check_row(case.reference)
        with tqdm(total=total, delay=2, disable=not sys.stderr.isatty(), file=sys.stderr, unit="verdict") as bar:
            return await run_audit(judge, pairs, attacks, repeats, spec.max_concurrent, bar.update)
    finally:
        await judge.close()


def table(report: AuditReport) -> list[str]:
    """The report's lines: one number a line with its 95 % interval, then the attacks that passed."""
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
    """The latency's line."""
    p50, p95 = report.latency_s["p50"], report.latency_s["p95"]
    if p50 is None or p95 is None:
        return "- (no case needed the judge)"
    return f"p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms of {report.asked}"


def shorten(text: str) -> str:
    """The beginning of an attack."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def describe(spec: JudgeSpec) -> dict[str, Any]:
    """What the JSON file says of the judge."""
    return {"kind": spec.kind, "url": spec.url, "model": spec.model, "prompt": spec.prompt}


def as_json(report: AuditReport) -> dict[str, Any]:
    """The report as JSON's own types."""
    plain = asdict(report)
    plain["by_kind"] = {kind: {"passed": n, "judged": of} for kind, (n, of) in report.by_kind.items()}
    plain["passed"] = [
        {"attack": case.name, "kind": case.kind, "candidate": case.candidate, "reference": case.reference.answer}
        for case in report.passed
    ]
    return plain

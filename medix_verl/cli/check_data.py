# SPDX-License-Identifier: Apache-2.0
"""Check a finished parquet file: rows that cannot be used, odd answers and pictures, duplicates, leaks.

    medix-verl check train.parquet --against test.parquet --card train.html --report train.check.json

Nothing is changed. The exit status is 0 only where no row would be refused or dropped. With --quality FILE.yaml other
limits hold: see QualitySpec in medix_verl/data/checks.py for its keys.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl check`."""
    parser.add_argument("file", type=Path, metavar="FILE.parquet", help="what to check")
    parser.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="FILE", help="evaluation files that it must not hold"
    )
    parser.add_argument("--quality", type=Path, metavar="FILE.yaml", help="limits and policies; default: the built-in")
    parser.add_argument("--card", type=Path, metavar="FILE.html", help="write a data set card")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write everything that was found")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that decode pictures; default: the cores")


def run(args: argparse.Namespace) -> int:
    """Check one file; 1 where a row would be refused or dropped."""
    from medix_verl.data.check_file import check_parquet
    from medix_verl.data.checks import read_quality
    from medix_verl.specs import Integer, check

    workers = min(8, len(os.sched_getaffinity(0))) if args.workers is None else args.workers
    check("--workers", workers, Integer(1))
    spec = None if args.quality is None else read_quality(args.quality.expanduser())
    path = args.file.expanduser()
    report = check_parquet(path, spec, [file.expanduser() for file in args.against], workers)
    if args.report is not None:
        args.report.expanduser().write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show(path, report)
    if args.card is not None:
        from medix_verl.data.card import write_card

        write_card(args.card.expanduser(), path, report)
        print(f"  card: {args.card}")
    return 0 if report["rows"]["written"] == report["rows"]["read"] else 1


def show(path: Path, report: Mapping[str, Any]) -> None:
    """The report in a few lines."""
    rows = report["rows"]
    print(f"{path}: {rows['read']} rows, {rows['refused']} cannot be used, {rows['dropped']} are there twice or leak")
    for reason, count in report["reasons"].items():
        example = report["examples"][reason][0]
        print(f"  {count} {reason}, for example {example['id']}: {example['detail']}")
    for flag, count in report["flags"].items():
        print(f"  flagged: {count} {flag}")
    for found in report["collisions"]:
        if not found["dropped"]:
            print(f"  to look at: {found['rows']} {found['kind']} in {found['file'] or 'the file itself'}")
    if not report["against"]:
        print("  not compared with any evaluation file: give --against FILE... to look for leaks")

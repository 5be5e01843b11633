# SPDX-License-Identifier: Apache-2.0
"""Check a finished parquet file: unusable rows, suspicious answers and pictures, duplicates, leaks.

    medix-verl check train.parquet --against test.parquet --card train.html --report train.check.json

The file is not changed. The exit status is 0 only if no row would be refused or dropped. --quality FILE.yaml sets other
limits: see QualitySpec in medix_verl/data/prepare/checks.py for its keys. Without --against, the text of the rows is
compared with files of other splits in the same folder, and shared rows are reported as a warning.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.cli.lines import say
from medix_verl.cli.lists import list_flag

if TYPE_CHECKING:
    from medix_verl.data.duplicates.split_overlap import Overlap

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl check`."""
    parser.add_argument("file", type=Path, metavar="FILE.parquet", help="what to check")
    list_flag(parser, "--against", of=Path, metavar="A,B", help="evaluation files that it must not hold")
    parser.add_argument("--quality", type=Path, metavar="FILE.yaml", help="limits and policies; default: the built-in")
    parser.add_argument("--card", type=Path, metavar="FILE.html", help="write a data set card")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write everything that was found")
    parser.add_argument("--json", action="store_true", help="print one JSON object, that of --report")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that decode pictures; default: the cores")


def run(args: argparse.Namespace) -> int:
    """Check one file; returns 1 if a row would be refused or dropped."""
    from medix_verl.data.prepare.check_file import check_parquet
    from medix_verl.data.prepare.checks import read_quality
    from medix_verl.specs import Integer, check

    workers = min(8, len(os.sched_getaffinity(0))) if args.workers is None else args.workers
    check("--workers", workers, Integer(1))
    spec = None if args.quality is None else read_quality(args.quality.expanduser())
    path = args.file.expanduser()
    report = check_parquet(path, spec, [file.expanduser() for file in args.against], workers, True)
    if args.report is not None:
        args.report.expanduser().write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        show(path, report)
    if args.card is not None:
        from medix_verl.data.prepare.card import write_card

        write_card(args.card.expanduser(), path, report)
        say(f"  card: {args.card}")
    return 0 if report["rows"]["written"] == report["rows"]["read"] else 1


def show(path: Path, report: Mapping[str, Any]) -> None:
    """Print the report in a few lines."""
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
        print("  not compared with any evaluation file: give --against FILE,FILE to look for leaks")
        for other, found in neighbours(path):
            print(f"  warning: {path.name} and {other.name} beside it: {found}; type --against {other} to see which")


def neighbours(path: Path) -> Iterator[tuple[Path, Overlap]]:
    """Files of another split in the same folder that share rows with a file, compared by text without pictures."""
    from medix_verl.data.duplicates.split_overlap import find_overlap
    from medix_verl.data.io.parquet import read_splits
    from medix_verl.errors import MedixError

    ours = read_splits(path)
    for other in sorted(path.parent.glob("*.parquet")):
        try:
            is_other = other != path and not other.name.startswith(".") and read_splits(other).isdisjoint(ours)
            found = find_overlap([path], [other]) if is_other else None
        except MedixError:  # a parquet file that does not contain samples
            continue
        if found:
            yield other, found

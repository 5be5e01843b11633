# SPDX-License-Identifier: Apache-2.0
"""Show what a mixture file gives: each source's rows in an epoch, their modalities, and what limited them.

Nothing is written and no picture is read. Training uses the same file: `data.train_files=MIXTURE.yaml`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.cli.lines import waiting

if TYPE_CHECKING:
    from medix_verl.data.mixture.plan import Plan

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl mix`."""
    parser.add_argument(
        "file", type=Path, help="the mixture file (YAML); its keys: see medix_verl/data/mixture/spec.py"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(args: argparse.Namespace) -> int:
    """Build the plan and print the rows of each source."""
    from medix_verl.data.mixture.plan import build
    from medix_verl.data.mixture.spec import read_mixture

    with waiting("reading the sources"):
        plan = build(read_mixture(args.file))
    print(as_json(plan) if args.json else "\n".join(table(plan)))
    return 0


def as_json(plan: Plan) -> str:
    """One object: `rows` of an epoch, whether it is `ordered`, and for each of the `sources` the table's columns."""
    sources = [{**asdict(item), "share": item.given / len(plan.table)} for item in plan.report]
    return json.dumps({"rows": len(plan.table), "ordered": plan.ordered, "sources": sources}, default=str)


def table(plan: Plan) -> list[str]:
    """The lines of the report."""
    total = len(plan.table)
    lines = [f"{'rows':>9} {'usable':>9} {'given':>9} {'share':>7} {'wanted':>7}  source"]
    for item in plan.report:
        note = f"  (less than its share: {item.limited_by})" if item.limited_by else ""
        counts = f"{item.rows:>9} {item.usable:>9} {item.given:>9}"
        lines.append(f"{counts} {item.given / total:>7.1%} {item.wanted:>7.1%}  {item.path}{note}")
    modalities: Counter[str] = Counter()
    for item in plan.report:
        modalities.update(item.modalities)
    lines.append(f"an epoch has {total} rows: " + ", ".join(f"{tag} {n}" for tag, n in modalities.most_common()))
    if plan.ordered:
        lines.append("the order is a curriculum: train with data.shuffle=false")
    return lines

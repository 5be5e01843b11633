# SPDX-License-Identifier: Apache-2.0
"""`medix-verl report EVAL_DIR --out report.html`: a finished evaluation as one page that stands alone.

The page has the table with intervals, published figures beside it, what is known of the judge, of grounding and of
leakage, and samples with their pictures; its warnings come first. Texts and pictures of credentialed tasks are never on
it. Nothing is fetched, and nothing is asked.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.cli.lines import say
from medix_verl.errors import ConfigError

if TYPE_CHECKING:
    from medix_verl.report.content import Beside

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", metavar="EVAL_DIR", type=Path, help="what `medix-verl evaluate --out` wrote")
    parser.add_argument("--out", metavar="FILE.html", type=Path, required=True, help="the page")
    parser.add_argument("--compare", metavar="EVAL_DIR", type=Path, help="another model on the same tasks, as A")
    parser.add_argument(
        "--other-judge", metavar="EVAL_DIR", type=Path, help="the same answers, judged by another judge"
    )
    parser.add_argument(
        "--training", metavar="FILE.parquet", type=Path, nargs="+", default=[], help="leakage from these"
    )
    parser.add_argument("--labels", metavar="FILLED.csv", type=Path, help="a clinician's sheet")
    parser.add_argument("--key", metavar="KEY.json", type=Path, help="its key (default: FILLED.key.json)")
    parser.add_argument("--samples", metavar="N", type=int, default=60, help="samples of each task (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of their choice, and of resampling (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        ConfigError: A flag has a value that is not accepted.
        DataError: A folder or a file cannot be read.
    """
    from medix_verl.report.content import warnings
    from medix_verl.report.page import write_page

    if args.samples < 0 or args.out.suffix not in (".html", ".htm"):
        raise ConfigError(f"got --samples {args.samples} --out {args.out}; give 0 or more, and a name ending in .html")
    if args.key is not None and args.labels is None:
        raise ConfigError("--key was given without --labels; type --labels FILLED.csv")
    content = write_page(args.folder, args.out, read_beside(args), args.samples, args.seed)
    for text in warnings(content):
        say(f"warning: {text}")
    size = args.out.stat().st_size / 1e6
    print(f"{args.out}: {len(content.lines)} tasks, {size:.1f} MB")
    return 0


def read_beside(args: argparse.Namespace) -> Beside:
    """What the flags put beside the evaluation."""
    from medix_verl.evaluation.judges import disagreement
    from medix_verl.evaluation.leakage import find_leaks, read_marks
    from medix_verl.evaluation.paired import compare
    from medix_verl.evaluation.results import read_evaluation
    from medix_verl.evaluation.sheet import key_path, read_labels
    from medix_verl.report.content import Beside

    evaluation = read_evaluation(args.folder)
    return Beside(
        comparison=args.compare and compare(read_evaluation(args.compare), evaluation, args.seed),
        disagreement=args.other_judge and disagreement(evaluation, read_evaluation(args.other_judge)),
        labels=args.labels and read_labels(args.labels, args.key or key_path(args.labels)),
        leaks={path.name: find_leaks(evaluation, read_marks(path)) for path in args.training},
    )

# SPDX-License-Identifier: Apache-2.0
"""`medix-verl report DIR --out report.html`: a training run, or a finished evaluation, as one self-contained page.

The kind is detected from the folder. A run's page has warnings, curves, validations and answers, read from verl's own
files, for a run in progress or finished; answers are shown with their pictures if the run's data files are found, by
its medix_run.json or by --data, and are marked as not credentialed. An evaluation's page has the table with intervals,
published figures for comparison, results on the judge, grounding and leakage, and samples with their pictures.
Warnings come first. Texts and pictures of credentialed tasks are never shown. No request is sent.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.cli.lines import say, waiting
from medix_verl.cli.lists import list_flag
from medix_verl.errors import ConfigError

if TYPE_CHECKING:
    from medix_verl.report.content import Beside

RUN_ONLY = ("data", "metrics", "rollouts", "validation")
EVALUATION_ONLY = ("compare", "other_judge", "training", "labels", "key")

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="what `evaluate --out` or a training run wrote")
    parser.add_argument("--out", metavar="FILE.html", type=Path, required=True, help="the page")
    parser.add_argument("--compare", metavar="EVAL_DIR", type=Path, help="another model on the same tasks, as A")
    parser.add_argument(
        "--other-judge", metavar="EVAL_DIR", type=Path, help="the same answers, judged by another judge"
    )
    leaks = "leakage from these, with near copies"
    list_flag(parser, "--training", of=Path, metavar="A.parquet,B.parquet", help=leaks)
    parser.add_argument("--labels", metavar="FILLED.csv", type=Path, help="a clinician's sheet")
    parser.add_argument("--key", metavar="KEY.json", type=Path, help="its key (default: FILLED.key.json)")
    parser.add_argument("--samples", metavar="N", type=int, default=60, help="answers shown of each task (default: 60)")
    group = parser.add_argument_group("a training run")
    list_flag(group, "--data", of=Path, metavar="A.parquet,B.parquet", help="its data, if moved")
    group.add_argument("--metrics", metavar="FILE", type=Path, help="verl's `file` log, or TensorBoard's folder")
    group.add_argument("--rollouts", metavar="DIR", type=Path, help="trainer.rollout_data_dir, where it is elsewhere")
    group.add_argument("--validation", metavar="DIR", type=Path, help="trainer.validation_data_dir, likewise")
    parser.add_argument("--seed", type=int, default=0, help="of their choice, and of resampling (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        ConfigError: A flag has a value that is not accepted.
        DataError: A folder or a file cannot be read.
    """
    if args.samples < 0 or args.out.suffix not in (".html", ".htm"):
        raise ConfigError(f"got --samples {args.samples} --out {args.out}; give 0 or more, and a name ending in .html")
    if args.key is not None and args.labels is None:
        raise ConfigError("--key was given without --labels; type --labels FILLED.csv")
    evaluation = (args.folder / "eval.json").exists()
    wrong = [name for name in (RUN_ONLY if evaluation else EVALUATION_ONLY) if getattr(args, name)]
    if wrong:
        kind = "an evaluation" if evaluation else "not an evaluation"
        names = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise ConfigError(
            f"{args.folder} is {kind}, which {names} {'do' if len(wrong) > 1 else 'does'} not fit; leave it out"
        )
    return report_evaluation(args) if evaluation else report_run(args)


def report_run(args: argparse.Namespace) -> int:
    """Write the page of a training run."""
    from medix_verl.report.run.files import find_run
    from medix_verl.report.run.page import write_run_page

    files = find_run(args.folder, args.metrics, args.rollouts, args.validation)
    with waiting("reading the run and writing its page"):
        made = write_run_page(files, args.out, args.data, args.samples)
    for text in made.signs:
        say(f"warning: {text}")
    answers, size = made.training.answers + made.validation.answers, args.out.stat().st_size / 1e6
    print(f"{args.out}: {len(made.metrics.training)} steps, {answers:,} answers, {size:.1f} MB")
    return 0


def report_evaluation(args: argparse.Namespace) -> int:
    """Write the page of an evaluation."""
    from medix_verl.report.content import warnings
    from medix_verl.report.page import write_page

    with waiting("reading the evaluation and writing its page"):
        content = write_page(args.folder, args.out, read_beside(args), args.samples, args.seed)
    for text in warnings(content):
        say(f"warning: {text}")
    size = args.out.stat().st_size / 1e6
    print(f"{args.out}: {len(content.lines)} tasks, {size:.1f} MB")
    return 0


def read_beside(args: argparse.Namespace) -> Beside:
    """The additional results that the flags ask for."""
    from medix_verl.evaluation.audit.leakage import find_leaks
    from medix_verl.evaluation.audit.sheet import key_path, read_labels
    from medix_verl.evaluation.audit.verdicts import disagreement
    from medix_verl.evaluation.stats.paired import compare
    from medix_verl.evaluation.store.read import read_evaluation
    from medix_verl.report.content import Beside

    evaluation = read_evaluation(args.folder)
    names = [path.name for path in args.training]
    return Beside(
        comparison=args.compare and compare(read_evaluation(args.compare), evaluation, args.seed),
        disagreement=args.other_judge and disagreement(evaluation, read_evaluation(args.other_judge)),
        labels=args.labels and read_labels(args.labels, args.key or key_path(args.labels)),
        leaks={
            path.name if names.count(path.name) == 1 else str(path): find_leaks(evaluation, path)
            for path in args.training
        },
    )

# SPDX-License-Identifier: Apache-2.0
"""`medix-verl calibrate PAIRS.jsonl`: fit the soft semantic curve of an encoder to labelled pairs.

The lines are those of `medix-verl audit-judge`: `reference`, `candidate` and `label` (true or false: do they say the
same?). Printed are the lines of a recipe that use the curve, and how well it fits: the Brier score (mean squared error
of its probabilities, 0 is perfect) beside that of a curve which knows nothing but the share of right pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from medix_verl.cli.lines import waiting
from medix_verl.cli.score_spec import substitute_encoder
from medix_verl.embedding.curve import Calibration, Labelled, calibrate
from medix_verl.embedding.encoder import build_encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.evaluation.pairs import read_pairs

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("pairs", metavar="PAIRS.jsonl", type=Path, help="labelled pairs, 20 or more")
    parser.add_argument("--model", metavar="NAME", help="hub id, folder, or package:NAME of the encoder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Fit and print.

    Raises:
        DataError: A line cannot be used, or the pairs admit no curve.
        EncoderError: The embedding model is not on this machine.
    """
    pairs = [Labelled(case.candidate, case.reference.answer, int(case.label)) for case in read_pairs(args.pairs)]
    model = args.model or substitute_encoder() or SemanticSpec().model
    with waiting(f"embedding with {model}"):
        found = asyncio.run(compare_and_fit(SemanticSpec(model=model), pairs))
    if args.json:
        print(json.dumps({"model": model, **asdict(found)}))
    else:
        print("\n".join(lines(model, found)))
    return 0


async def compare_and_fit(spec: SemanticSpec, pairs: Sequence[Labelled]) -> Calibration:
    """Load the encoder, fit, and release it whatever happens."""
    encoder = build_encoder(spec)
    try:
        return await calibrate(pairs, encoder)
    finally:
        await encoder.close()


def lines(model: str, found: Calibration) -> list[str]:
    """The recipe's lines, and the fit's quality as a comment."""
    return [
        f"# {found.pairs} pairs: Brier score {found.brier:.4f}, of the mere share of right ones "
        f"{found.brier_of_share:.4f}",
        "semantic:",
        f"  model: {model}",
        "  mode: soft",
        "  curve: logistic",
        f"  low: {found.low:.4f}",
        f"  high: {found.high:.4f}",
    ]

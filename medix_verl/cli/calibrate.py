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

from medix_verl.cli.judge_flags import add_credentialed_flags
from medix_verl.cli.lines import waiting
from medix_verl.cli.score_spec import substitute_encoder
from medix_verl.embedding.curve import Calibration, Labelled, calibrate
from medix_verl.embedding.encoder import build_encoder, check_encoder_row
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.evaluation.pairs import Case, read_pairs

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.allow_abbrev = False  # what lets credentialed data out must be typed in full
    parser.add_argument("pairs", metavar="PAIRS.jsonl", type=Path, help="labelled pairs, 20 or more")
    parser.add_argument("--model", metavar="NAME", help="hub id, folder, or package:NAME; of --url the server's name")
    parser.add_argument("--url", metavar="URL", help="embed by a server, as http://host:port/v1")
    parser.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the server's key")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_credentialed_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Fit and print.

    Raises:
        ConfigError: The server cannot be asked, or may not see a credentialed pair.
        DataError: A line cannot be used, or the pairs admit no curve.
        EncoderError: The embedding model is not on this machine.
    """
    cases = read_pairs(args.pairs)
    if args.url is None:
        spec = SemanticSpec(model=args.model or substitute_encoder() or SemanticSpec().model)
    elif args.model is None:
        raise ConfigError("--url is given without --model; add the name under which the server knows the model")
    else:
        spec = SemanticSpec(kind="openai", model=args.model, url=args.url, api_key_env=args.api_key_env)
    with waiting(f"embedding with {spec.model}"):
        found = asyncio.run(compare_and_fit(spec, cases, args.local_network, args.allow_remote_credentialed))
    if args.json:
        print(json.dumps({"model": spec.model, **asdict(found)}))
    else:
        print("\n".join(lines(spec, found)))
    return 0


async def compare_and_fit(
    spec: SemanticSpec, cases: Sequence[Case], local_networks: Sequence[str], allow_credentialed: bool
) -> Calibration:
    """Load the encoder, fit, and release it whatever happens."""
    encoder = build_encoder(spec, local_networks)
    try:
        pairs = []
        for case in cases:
            check_encoder_row(encoder, case.reference, local_networks, allow_credentialed)
            restricted = case.reference.credentialed_row is not None and not allow_credentialed
            pairs.append(Labelled(case.candidate, case.reference.answer, int(case.label), restricted))
        return await calibrate(pairs, encoder)
    finally:
        await encoder.close()


def lines(spec: SemanticSpec, found: Calibration) -> list[str]:
    """The recipe's lines, and the fit's quality as a comment."""
    served = [] if spec.kind == "sentence_transformers" else [f"  kind: {spec.kind}", f"  url: {spec.url}"]
    return [
        f"# {found.pairs} pairs: Brier score {found.brier:.4f}, of the mere share of right ones "
        f"{found.brier_of_share:.4f}",
        "semantic:",
        *served,
        f"  model: {spec.model}",
        "  mode: soft",
        "  curve: logistic",
        f"  low: {found.low:.4f}",
        f"  high: {found.high:.4f}",
    ]

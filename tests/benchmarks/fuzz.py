# SPDX-License-Identifier: Apache-2.0
"""Random strings through the parser and the composite reward: no exception, and every score in [0, 1].

    python tests/benchmarks/fuzz.py --count 10000000 --minutes 60

The strings are pieces of the answer grammar in any order, cut, doubled and spliced with any Unicode (lone surrogates
too), short and long; the judge is the rule judge and the encoder the hashing one, so that nothing but our own code
runs. It ends at the first of the two limits, or at the first failure, whose input it prints as JSON; --seed repeats it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from medix_verl.embedding.spec import SemanticSpec
from medix_verl.judge.spec import JudgeSpec
from medix_verl.response import parse_response
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.keys import to_row, to_verl
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import MODALITIES, Reference, RewardBreakdown

PIECES = (
    "<think>", "</think>", "<thinking>", "</thinking>", "<answer>", "</answer>", "<X_RAY>", "<CT_SCAN>", "<FOO>",
    "<", ">", "</", "/>", "< answer >", "<ANSWER>", "<answer", "answer>", "<|im_end|>", "\n", "\r\n", "\t", " ",
    "  ", "\x00", "\x0b", "\u2028", "\u200b", "\u202e", "\ufeff", "\xa0", "\ud800", "\udfff", "e\u0301", "\xb5",
    "\u03bc", "\u00b2", "\u2212", "\u0130", "\u1e9e", "\ufb01", "\U0001f600", "\u0665", "\uff15", "\u00bd", "mass",
    "a mass", "no mass", "left", "yes", "no", "B", "(B)", "B.", "option b", "The answer is", "it is ", "3 cm",
    "30 mm", "3.0cm", "1e5", "1e999", "-0", "inf", "nan", "1/2", "2:1", "5-10 mg", "10^9/L", "37.5 \u00b0C", "90 %",
    ",", ".", ":", ";", "?", "**", "__", "[", "]", "{", "}", '"', "'", "\\", "`", "```json", "Reference answer:",
    "9" * 400, "0." + "0" * 300 + "1",
)  # fmt: skip
ANSWERS = (
    "mass",
    "3 cm",
    "B",
    "2:1",
    "HER2-",
    "no",
    "10^9/L",
    "5-10 mg",
    "\ufb01brosis",
    "1e300 mg",
    "\xb5",
    "caf\xe9",
)
OPTIONS = (None, ("cyst", "mass", "3 cm"), ("A. cyst", "B. mass"), ("a", "b", "ab", "o"))
BATCH = 500


@dataclass
class Tally:
    """What one process has done."""

    strings: int = 0
    scores: Counter[float] = field(default_factory=Counter)
    answered: int = 0


def make_string(chance: random.Random) -> str:
    """One random response."""
    shape = chance.random()
    if shape < 0.1:
        return "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randrange(40)))
    length = int(chance.expovariate(1 / 10)) if shape < 0.997 else chance.randrange(2000)
    text = "".join(chance.choices(PIECES, k=length))
    if shape < 0.5:
        inner = text if chance.random() < 0.7 else mutate(chance, chance.choice(ANSWERS))
        tag = chance.choice(("think", "thinking"))
        text = f"<{chance.choice(MODALITIES)}><{tag}>t</{tag}><answer>{inner}</answer>"
    return mutate(chance, text) if chance.random() < 0.6 else text


def mutate(chance: random.Random, text: str) -> str:
    """Cut, double or splice a text in one place."""
    place, width = chance.randrange(len(text) + 1), chance.randrange(1, 6)
    kind = chance.randrange(4)
    if kind == 0:
        return text[:place] + text[place + width :]
    if kind == 1:
        return text[:place] + text[place : place + width] * 2 + text[place + width :]
    if kind == 2:
        return text[:place] + chr(chance.randrange(0x110000)) + text[place:]
    return text[:place] + chance.choice(PIECES) + text[place:]


def make_reference(chance: random.Random) -> Reference:
    """One random reference."""
    answer = chance.choice(ANSWERS) if chance.random() < 0.8 else make_string(chance)[:50] or "x"
    return Reference(
        answer,
        modality=chance.choice((None, "X_RAY", "CT_SCAN")),
        question=chance.choice((None, "What is seen?")),
        synonyms=chance.choice(((), ("tumour", "\ud800"))),
        options=chance.choice(OPTIONS),
        tolerance=chance.choice((None, 0.0, 0.1)),
    )


def check(text: str, breakdown: RewardBreakdown) -> float:
    """Hold one result to its promises.

    Raises:
        AssertionError: A promise is broken.
    """
    parsed = parse_response(text)
    assert parsed.modality is None or isinstance(parsed.modality, str)
    assert breakdown.score is not None and math.isfinite(breakdown.score) and 0 <= breakdown.score <= 1
    terms = (breakdown.acc, breakdown.judge, breakdown.semantic, breakdown.modality, breakdown.format)
    assert all(term is None or 0 <= term <= 1 for term in terms)
    assert breakdown.judge_ok and breakdown.semantic_ok and not breakdown.reason
    assert all(isinstance(value, (int, float)) for value in to_verl(breakdown).values())
    json.dumps(to_row(breakdown), allow_nan=False)
    return breakdown.score


def work(seed: int, count: int, until: float, reports: Any) -> None:
    """Fuzz in this process; puts a Tally now and then, and a failure as (input, what broke)."""
    chance = random.Random(seed)
    judge = JudgeSpec.from_mapping({"kind": "rule", "tolerance": 0.05})
    reward = CompositeReward(RewardSpec(judge=judge, semantic=SemanticSpec.from_mapping({"kind": "hashing"})))

    async def run() -> None:
        done = 0
        while done < count and time.time() < until:
            tally = Tally()
            for _ in range(min(BATCH, count - done)):
                text, reference = make_string(chance), make_reference(chance)
                try:
                    score = check(text, await reward.score(text, reference))
                except Exception as error:  # noqa: BLE001 - whatever escapes is what we are looking for
                    reports.put((text, repr(reference), f"{type(error).__name__}: {error}"))
                    return
                tally.strings += 1
                tally.scores[round(score, 4)] += 1
                tally.answered += "<answer>" in text
            done += tally.strings
            reports.put(tally)

    asyncio.run(run())
    reports.put(None)


def collect(reports: Any, processes: int, start: float) -> tuple[Tally, tuple[str, str, str] | None]:
    """Add up what the processes report, until all have ended or one has failed."""
    total, running, shown = Tally(), processes, start
    while running:
        report = reports.get()
        if isinstance(report, tuple):
            return total, report
        if report is None:
            running -= 1
            continue
        total.strings += report.strings
        total.answered += report.answered
        total.scores.update(report.scores)
        if time.time() - shown > 10:
            shown = time.time()
            print(f"{total.strings:,} strings, {total.strings / (shown - start):,.0f} a second", flush=True)
    return total, None


def main() -> int:
    """Fuzz on all processes, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.time()
    reports: Any = multiprocessing.Queue(maxsize=1000)
    shares = [args.count // args.processes + (index < args.count % args.processes) for index in range(args.processes)]
    workers = [
        multiprocessing.Process(
            target=work, args=(args.seed * 1000 + index, share, start + args.minutes * 60, reports), daemon=True
        )
        for index, share in enumerate(shares)
    ]
    for worker in workers:
        worker.start()
    total, failure = collect(reports, len(workers), start)
    seconds = time.time() - start
    print(f"{total.strings:,} strings in {seconds:.0f} s: {total.strings / seconds:,.0f} a second")
    print(f"{total.answered:,} with an answer block; scores {dict(total.scores.most_common(12))}")
    if failure is not None:
        print(f"FAILED: {json.dumps(failure)}")
        return 1
    print("no exception, every score in [0, 1]")
    return 0


if __name__ == "__main__":
    sys.exit(main())

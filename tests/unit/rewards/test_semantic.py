# SPDX-License-Identifier: Apache-2.0
"""The semantic term: what a contradiction leaves of it, and when the encoder is not asked."""

import asyncio
import json

import pytest

from helpers.places import GOLDEN
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.spec import RewardSpec
from medix_verl.rewards.term import Answer
from medix_verl.rewards.terms.semantic import SemanticTerm, contradiction
from medix_verl.types import Reference, Response, Similarity, Verdict

CASES = GOLDEN / "cases"
LUNGS = ("Left lung", "Right lung", "Both lungs", "Neither")


class Encoder:
    """Finds everything alike, and remembers what it was asked."""

    endpoints = ()

    def __init__(self, cosine: float = 0.95) -> None:
        self.cosine = cosine
        self.asked: list[tuple[str, str]] = []

    async def compare(self, candidate: str, reference: str, restricted: bool = False) -> Similarity:
        self.asked.append((candidate, reference))
        return Similarity(self.cosine)

    async def close(self) -> None: ...


def term(text: str, reference: Reference, encoder: Encoder, decided: Verdict | None = None, **spec: object) -> object:
    found = SemanticTerm(SemanticSpec(**spec), lambda: encoder)
    return asyncio.run(found.score(Answer(Response(None, None, text, True), reference, decided)))


def test_a_contradiction_gets_nothing_and_asks_no_encoder() -> None:
    encoder = Encoder()
    assert term("stage II", Reference("stage III"), encoder) == 0.0
    assert encoder.asked == []
    assert term("stage III cancer", Reference("stage III"), encoder) == 1.0
    assert encoder.asked == [("stage III cancer", "stage III")]


def test_without_contrast_the_encoder_alone_decides() -> None:
    encoder = Encoder()
    assert term("stage II", Reference("stage III"), encoder, contrast=False) == 1.0
    assert encoder.asked == [("stage II", "stage III")]


@pytest.mark.parametrize(("mode", "expected"), [("hard", 0.3), ("soft", 0.225)])
def test_a_contradiction_may_keep_a_share(mode: str, expected: float) -> None:
    """0.3 of 1, and 0.3 of (0.8 - 0.5) / (0.9 - 0.5)."""
    found = term("stage II", Reference("stage III"), Encoder(0.8), mode=mode, contrast_worth=0.3)
    assert found == pytest.approx(expected)


def test_what_is_decided_asks_nobody() -> None:
    encoder = Encoder()
    assert term("left", Reference("right"), encoder, Verdict(True, "equality")) == 1.0
    assert term("Answer:", Reference("right"), encoder, Verdict(False, "guard", "an opener"), contrast=False) == 0.0
    assert encoder.asked == []


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("left lung", Reference("right lung", synonyms=("left lung, mirrored",)), None),
        ("left lung", Reference("right lung", synonyms=("lung on the right",)), "side: left, reference right"),
        (
            "Aspirin and heparin",
            Reference("A", options=("Aspirin", "Heparin", "Aspirin and heparin")),
            "another option",
        ),
        ("B", Reference("A", options=("Aspirin", "Heparin", "Warfarin")), "another option"),
        ("left lung", Reference("B", options=LUNGS), "another option"),
        ("the left one of the lungs", Reference("B", options=LUNGS), "side: left, reference right"),
        ("the right one of the lungs", Reference("B", options=LUNGS), None),
        ("pneumonia", Reference("glioma", options=("cyst", "pneumonia")), None),
        ("10.4 cm", Reference("10 cm", tolerance=0.05), None),
        ("12 cm", Reference("10 cm", tolerance=0.05), "number: 120 length [mm], reference 100 length [mm]"),
    ],
)
def test_synonyms_options_and_tolerance(text: str, reference: Reference, expected: str | None) -> None:
    """The seventh: which option is right cannot be told from a reference that is none of them."""
    assert contradiction(text, reference) == expected


def test_no_right_answer_of_the_cases_contradicts_its_reference() -> None:
    """And more than 80 of 100 wrong ones do, whatever the encoder would say."""
    rows = [
        json.loads(line)
        for name in ("answers", "odd_right_answers")
        for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    stopped = {"yes": [], "no": []}
    for row in rows:
        reference = Reference(row["reference"], question=row["question"], options=tuple(row["options"] or ()) or None)
        stopped.setdefault(row["expect"], []).append(contradiction(row["candidate"], reference))
    assert [why for why in stopped["yes"] if why] == []
    assert sum(why is not None for why in stopped["no"]) / len(stopped["no"]) > 0.8


@pytest.mark.parametrize(("contrast", "semantic"), [(True, 0.0), (False, 1.0)])
def test_the_whole_reward_goes_through_it(contrast: bool, semantic: float) -> None:
    spec = RewardSpec(semantic=SemanticSpec(contrast=contrast))
    reward = CompositeReward(spec, RuleJudge(), Encoder())
    found = reward.score_sync("<think>t</think><answer>left effusion</answer>", Reference("right effusion"))
    assert (found.semantic, found.semantic_ok, found.acc) == (semantic, True, 0.0)
    reward.close_sync()


def test_settings() -> None:
    assert SemanticSpec().contrast and SemanticSpec().contrast_worth == 0.0
    with pytest.raises(ConfigError, match="semantic.contrast_worth is 2"):
        SemanticSpec(contrast_worth=2)
    with pytest.raises(ConfigError, match="semantic.contrast is 'no'"):
        SemanticSpec(contrast="no")

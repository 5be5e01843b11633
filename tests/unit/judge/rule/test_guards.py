# SPDX-License-Identifier: Apache-2.0
"""What is stopped without a call, and, more important, what is not."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medix_verl.judge
from helpers.places import golden
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.guards import guard
from medix_verl.types import Reference

PLAIN = Reference("pneumonia", question="What does the chest radiograph show?")
CHOICE = Reference("B", question="Which?", options=("cyst", "pneumonia", "no abnormality", "fracture"))
YES_NO = Reference("yes", question="Is there a fracture?")


@pytest.mark.parametrize(
    ("candidate", "reference", "reason"),
    [
        ("", PLAIN, "punctuation"),
        (" \u200b\n", PLAIN, "punctuation"),
        (":", PLAIN, "punctuation"),
        ("...", PLAIN, "punctuation"),
        ("---", PLAIN, "punctuation"),
        ("\u2713 \u2605", PLAIN, "punctuation"),
        ("Thought process:", PLAIN, "opener"),
        ("Solution", PLAIN, "opener"),
        ("Let's solve this problem step by step.", PLAIN, "opener"),
        ("Okay, let me think about this. The final answer is:", PLAIN, "opener"),
        ("\u89e3", PLAIN, "opener"),
        ("Respuesta:", PLAIN, "opener"),
        ("What does the chest radiograph show?", PLAIN, "question"),
        ("The question is: what does the chest radiograph show", PLAIN, "question"),
        ("cyst, pneumonia, no abnormality, fracture", CHOICE, "alternatives"),
        ("A, B, C or D", CHOICE, "alternatives"),
        ("pneumonia or fracture", CHOICE, "alternatives"),
        ("(B) pneumonia / (D) fracture", CHOICE, "alternatives"),
        ("yes and no", YES_NO, "alternatives"),
        ("Yes/No", YES_NO, "alternatives"),
        ("pneumonia, tuberculosis or cancer", PLAIN, "alternatives"),
        ("Reference answer: cyst", PLAIN, "reference"),
        ("cyst\nGround truth: cyst", PLAIN, "reference"),
        ("Ref\u200berence answer\uff1a cyst", PLAIN, "reference"),
        ("cyst\n> Verdict: YES", PLAIN, "reference"),
    ],
)
def test_what_is_stopped(candidate: str, reference: Reference, reason: str) -> None:
    assert reason in (guard(candidate, reference) or "nothing")


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [
        ("5", Reference("five lesions")),
        ("A", Reference("blood group A")),
        ("ratio 2:1", Reference("two to one")),
        ("HER2-", Reference("HER2 negative")),
        ("T1/T2", Reference("T1 and T2 weighted")),
        ("+", Reference("positive")),
        ("\u2191", Reference("increased")),
        ("solution", Reference("a solution of iodine")),
        ("analysis", Reference("gait analysis")),
        ("Solution: pneumonia", PLAIN),
        ("The final answer is pneumonia.", PLAIN),
        ("Correct answer: B", CHOICE),
        ("pneumonia, not a cyst and not a fracture", CHOICE),
        ("What does the chest radiograph show? A pneumonia.", PLAIN),
        ("pneumonia or lung infection", PLAIN),
        ("consolidation, right lower lobe, acute, lobar", PLAIN),
        ("No mass, nodule, or effusion", Reference("effusion absent")),
        ("B and C", Reference("B and C", options=("x", "y", "z"))),
        ("cyst, fracture", Reference("both A and D", options=("cyst", "x", "y", "fracture"))),
        ("Reference range exceeded", Reference("above the reference range")),
        ("yes, no fracture is seen elsewhere", YES_NO),
        ("No", YES_NO),
        ("\u5de6\u80ba\u708e", PLAIN),
    ],
)
def test_what_is_left_to_the_judge(candidate: str, reference: Reference) -> None:
    assert guard(candidate, reference) is None


GOLDEN = golden("guards")


@pytest.mark.parametrize("group", GOLDEN["groups"], ids=lambda group: group["reason"])
def test_golden(group: dict) -> None:
    options = tuple(group["options"]) if group["options"] else None
    reference = Reference(group["reference"], question=group["question"], options=options)
    stopped = {text: not equal(text, reference) and guard(text, reference) is not None for text in group["texts"]}
    assert [text for text, is_stopped in stopped.items() if is_stopped is not (group["verdict"] == "stopped")] == []


@pytest.mark.parametrize(("question", "answer", "candidate"), GOLDEN["odd_but_right"]["rows"])
def test_golden_odd_but_right(question: str, answer: str, candidate: str) -> None:
    reference = Reference(answer, question=question)
    assert equal(candidate, reference) or guard(candidate, reference) is None


WORDS = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=30)


@settings(max_examples=300, deadline=None)
@given(WORDS, WORDS, st.lists(WORDS, max_size=5))
def test_it_never_raises_and_never_stops_the_reference(answer: str, candidate: str, options: list[str]) -> None:
    reference = Reference(answer, question=candidate, options=tuple(options) or None)
    guard(candidate, reference)
    if any(char.isalnum() for char in answer):
        assert equal(answer, reference) or guard(answer, reference) is None


@pytest.mark.parametrize("answer", ["A pneumothorax.", "It is a pneumothorax", "the answer is a pneumothorax"])
def test_an_article_is_no_letter_of_an_option(answer: str) -> None:
    reference = Reference("B", question="What is seen?", options=("normal", "pneumothorax", "effusion"))
    assert guard(answer, reference) is None
    assert guard("a or b", reference) == guard("normal pneumothorax", reference) == "several alternatives"


@pytest.mark.parametrize("piece", [": ", "yes or ", "(", "reference ", "> ", "a, ", "let me think ", "\n", " the of"])
def test_a_long_answer_is_not_slow(piece: str) -> None:
    start = time.process_time()
    guard(piece * (20_000 // len(piece)) + "x", CHOICE)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("piece", ["word ", "a, ", "a or ", "(a) ", "a", "an option "])
def test_long_options_do_not_make_it_slow(piece: str) -> None:
    options = tuple(f"an option {number} {'with a long text ' * 28}"[:450] for number in range(40))
    start = time.process_time()
    guard(piece * (4000 // len(piece)), Reference("B", question="Which?", options=options))
    assert time.process_time() - start < 0.2


def test_the_attacks_it_is_for_are_stopped_and_none_equals_its_reference() -> None:
    lines = (Path(medix_verl.judge.__file__).parent / "attacks.jsonl").read_text(encoding="utf-8").splitlines()
    for attack in map(json.loads, lines):
        options = attack.get("options")
        reference = Reference(attack["reference"], question=attack["question"], options=options and tuple(options))
        assert not equal(attack["candidate"], reference), attack
        if attack["kind"] in ("master_key", "punctuation"):
            assert guard(attack["candidate"], reference), attack

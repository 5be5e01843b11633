# SPDX-License-Identifier: Apache-2.0
"""Equality: spellings of one answer, and answers that differ by a sign, a unit's case or a zero; labels; codes."""

import pytest

from helpers.places import golden
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.types import Reference

GOLDEN = golden("equality")


def both_ways(kind: str) -> list[tuple[str, str]]:
    return [pair for one, other in GOLDEN[kind]["pairs"] for pair in ((one, other), (other, one))]


@pytest.mark.parametrize(("candidate", "answer"), both_ways("same"))
def test_one_answer_in_two_spellings(candidate: str, answer: str) -> None:
    assert equal(candidate, Reference(answer))


@pytest.mark.parametrize(("candidate", "answer"), both_ways("different"))
def test_two_answers_that_look_alike(candidate: str, answer: str) -> None:
    for question in (None, "What is it?"):
        reference = Reference(answer, question=question)
        assert not equal(candidate, reference)
        assert not RuleJudge().follows(candidate, reference)


@pytest.mark.parametrize("question", ["ICD-9 code?", "Which CPT code is billed?", "Which version?"])
def test_a_code_is_no_number(question: str) -> None:
    assert not equal("250.1", Reference("250.10", question=question))
    assert not equal("five", Reference("5", question=question))
    assert equal("250.10", Reference("250.10", question=question))
    assert equal("5.0", Reference("5", question="How many?"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("5.0", "5", True),
        ("0.50", ".5", True),
        ("250.0", "250", False),
        ("36.10", "36.1", False),
        ("5.0 mg", "5 mg", True),
    ],
)
def test_zeros_of_a_number_without_a_unit_may_be_a_code(one: str, other: str, same: bool) -> None:
    assert equal(one, Reference(other)) is equal(other, Reference(one)) is same


def test_a_label_decides_between_options_with_one_text() -> None:
    options = ("cyst", "mass", "cyst", "normal")
    labelled = Reference("cyst", question="Which?", options=options, label="C")
    assert equal("C", labelled)
    assert equal("The answer is (C).", labelled)
    assert equal("cyst", labelled)
    assert not equal("A", labelled)
    assert not equal("A", Reference("cyst", question="Which?", options=options))
    assert not equal("C", Reference("cyst", question="Which?", options=options))


def test_a_label_outside_the_options_is_not_used() -> None:
    assert equal("cyst", Reference("cyst", options=("cyst", "mass"), label="F"))


def test_yes_and_no_are_equal_in_words_of_the_question_only() -> None:
    no = Reference("no", question="Is there a pneumothorax?")
    assert equal("No, there is no pneumothorax.", no)
    assert equal("There is no evidence of pneumothorax", no)
    assert not equal("There is a pneumothorax", no)
    assert not equal("No, there is a pneumothorax", no)
    assert not equal("Nope", Reference("NO", question="Which gas relaxes vessels?"))

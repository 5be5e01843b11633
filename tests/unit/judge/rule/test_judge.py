# SPDX-License-Identifier: Apache-2.0
"""The rule judge and the equality that it stands on: golden cases with a reason each."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.places import golden
from medix_verl.judge.judge import GuardedJudge
from medix_verl.judge.rule.equality import equal, meaning
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference, Verdict

CASES = golden("rule_judge")


def ask(candidate: str, reference: Reference, spec: JudgeSpec | None = None) -> Verdict:
    return asyncio.run(GuardedJudge(RuleJudge(spec), spec).ask(candidate, reference))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["reason"])
def test_golden(case: dict) -> None:
    options = tuple(case["options"]) if "options" in case else None
    reference = Reference(
        case["answer"],
        question=case.get("question"),
        synonyms=tuple(case.get("synonyms", ())),
        options=options,
        tolerance=case.get("tolerance"),
    )
    assert ask(case["candidate"], reference).correct is case["right"]


def test_sources() -> None:
    assert ask("Pneumonia", Reference("pneumonia")) == Verdict(True, "equality")
    assert ask("it is pneumonia", Reference("pneumonia")) == Verdict(True, "rule")
    assert ask("fracture", Reference("pneumonia")) == Verdict(False, "rule")


def test_the_specs_tolerance_is_for_measures_only() -> None:
    spec = JudgeSpec(tolerance=0.1)
    assert ask("3.1 cm", Reference("3 cm"), spec).correct
    assert not ask("101", Reference("100"), spec).correct
    assert ask("5.4", Reference("5.5"), spec).correct
    assert not ask("3.1 cm", Reference("3 cm", tolerance=0.0), spec).correct


def test_closing_is_nothing() -> None:
    asyncio.run(RuleJudge().close())


@pytest.mark.parametrize(
    ("answer", "options", "words"),
    [
        ("B", ("a cyst", "a mass"), "a mass"),
        ("B. a mass", ("A. a cyst", "B. a mass"), "a mass"),
        ("mass", ("a cyst", "a mass"), "mass"),
        ("mass", None, "mass"),
        ("x", ("x", "X"), "x"),
    ],
)
def test_meaning(answer: str, options: tuple[str, ...] | None, words: str) -> None:
    assert meaning(Reference(answer, options=options)) == words


@given(st.text(max_size=60), st.text(min_size=1, max_size=30))
def test_there_is_always_a_verdict(candidate: str, answer: str) -> None:
    assert ask(candidate, Reference(answer)).ok


@given(st.text(st.sampled_from("abXZ59 .-:%"), min_size=1, max_size=20))
def test_every_answer_with_something_in_it_equals_itself(answer: str) -> None:
    assert equal(answer, Reference(answer)) or not answer.strip(" .,;!")


def test_a_huge_candidate_is_refused_at_once() -> None:
    start = time.process_time()
    assert ask("a " * 1_000_000, Reference("a")).correct is False
    assert time.process_time() - start < 1.0

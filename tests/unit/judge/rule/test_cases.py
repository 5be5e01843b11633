# SPDX-License-Identifier: Apache-2.0
"""Answers, attacks and odd but right answers with what is clinically right: what equality and guards may say of them.

`expect` is yes, no, or ask: only a judge can say. The files blind_* were written without a look at the rules.
"""

import json
from collections import Counter

import pytest

from helpers.places import GOLDEN
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.guards import guard
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.types import Reference

FOLDER = GOLDEN / "cases"
CASES = [json.loads(line) for path in sorted(FOLDER.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]


def reference_of(case: dict) -> Reference:
    options = tuple(case["options"]) if case["options"] else None
    return Reference(case["reference"], question=case["question"], options=options)


def verdict(case: dict) -> str:
    """What is said without a model: yes, no (a guard), or ask."""
    reference = reference_of(case)
    if equal(case["candidate"], reference):
        return "yes"
    return "ask" if guard(case["candidate"], reference) is None else "no"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_what_is_said_without_a_model_is_right(case: dict) -> None:
    assert verdict(case) in (case["expect"], "ask")
    if case["expect"] != "yes":
        assert not RuleJudge().follows(case["candidate"], reference_of(case))


def test_much_is_said_without_a_model() -> None:
    """A reader that says nothing would pass the test above."""
    said = Counter((case["expect"], verdict(case)) for case in CASES)
    assert said["yes", "yes"] >= 170
    assert said["no", "no"] >= 180

# SPDX-License-Identifier: Apache-2.0
"""What verl and the command line get: uniform numbers for one, honest nulls for the other."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.rewards.composite import shares_of
from medix_verl.rewards.keys import acc_of, failed_in, number_of, terms_in, to_row, to_verl, values_of
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Failed, Failure, RewardBreakdown, TermKeys

PART = st.none() | st.floats(0, 1)
FAILED = Failed(Failure.INTERNAL, "gone")
KEYS = shares_of(RewardSpec()).keys


@st.composite
def breakdowns(draw: st.DrawFn) -> RewardBreakdown:
    terms = {name: draw(PART) for name in ("judge", "semantic")} | {
        "format": draw(st.floats(0, 1)),
        "modality": draw(PART),
    }
    failures = {"judge": FAILED} if terms["judge"] is None else {}
    if terms["semantic"] is None and draw(st.booleans()):
        failures["semantic"] = FAILED
    return RewardBreakdown(draw(PART), draw(PART), terms, draw(st.none() | st.text()), failures, KEYS)


BREAKDOWNS = breakdowns()
VERL_KEYS = ["score", "acc", "judge", "semantic", "format", "modality"]
FLAG_KEYS = ["judge_ok", "semantic_ok", "modality_applies", "semantic_applies"]


@given(BREAKDOWNS)
def test_verl_always_gets_the_same_numbers(breakdown: RewardBreakdown) -> None:
    row = to_verl(breakdown)
    assert list(row) == VERL_KEYS + FLAG_KEYS
    assert all(type(value) is float and 0 <= value <= 1 for value in row.values())


@given(BREAKDOWNS)
def test_a_row_keeps_what_could_not_be_had(breakdown: RewardBreakdown) -> None:
    row = to_row(breakdown)
    assert list(row) == [*VERL_KEYS, "judge_ok", "semantic_ok", "answer"]
    assert all(row[name] == getattr(breakdown, name) for name in row)
    assert type(row["judge_ok"]) is int


OWN = TermKeys("brevity")


@given(BREAKDOWNS, st.none() | st.floats(0, 1), st.booleans())
def test_what_is_written_is_found_again(found: RewardBreakdown, brevity: float | None, fails: bool) -> None:
    failures = {**found.failures, **({"brevity": FAILED} if fails and brevity is None else {})}
    found = replace(found, terms={**found.terms, "brevity": brevity}, failures=failures, keys=(*KEYS, OWN))
    row, plain = to_verl(found), to_row(found)
    assert list(row) == [*VERL_KEYS, "brevity", "judge_ok", "semantic_ok", "brevity_ok", "modality_applies",
                         "semantic_applies", "brevity_applies"]  # fmt: skip
    assert list(plain) == [*VERL_KEYS, "brevity", "judge_ok", "semantic_ok", "brevity_ok", "answer"]
    assert all(type(value) is float and 0 <= value <= 1 for value in row.values())
    assert terms_in(row) == [*KEYS, OWN]
    for flat in (row, plain):
        message = values_of(flat)
        assert {name: message[name] for name in found.terms} == found.terms
        verdict = found.acc or 0.0 if flat is row else found.acc
        assert message["acc"] == (None if found.terms["judge"] is None else verdict)
    assert {keys.name for keys in terms_in(row) if failed_in(row, keys)} == set(failures)


def test_terms_are_found_by_their_flags() -> None:
    found = terms_in(["score", "score_ok", "z", "z_ok", "acc", "a", "a_applies", "lonely", "format", "gone_ok"])
    assert found == [TermKeys("format", False, False), TermKeys("z", True, False), TermKeys("a", False, True)]
    assert terms_in({"judge": 1.0, "modality": "CT"}) == [
        TermKeys("judge", False, False),
        TermKeys("modality", False, False),
    ]
    assert values_of({"judge": 1.0, "acc": 1.0}) == {"acc": 1.0, "judge": 1.0}, "a flag that is not there says nothing"
    assert values_of({"judge": 0.0, "acc": 0.0, "judge_ok": None}) == {"acc": None, "judge": None}


def test_acc_is_of_the_term_that_decides() -> None:
    row = {"acc": 0.0, "judge_ok": 1.0, "rubric_ok": 0.0, "rubric_applies": 1.0}
    assert acc_of(row) == 0.0 and acc_of(row, "rubric") is None and acc_of({"acc": 1.0}, "rubric") == 1.0


@pytest.mark.parametrize("value", [None, "1", [], math.nan, math.inf, 10**400], ids=repr)
def test_what_is_no_number(value: object) -> None:
    assert number_of(value) is None

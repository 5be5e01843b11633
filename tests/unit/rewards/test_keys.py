# SPDX-License-Identifier: Apache-2.0
"""What verl and the command line get: uniform numbers for one, honest nulls for the other."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import ConfigError
from medix_verl.rewards.keys import (
    BUILT_IN,
    TermKeys,
    acc_of,
    check_term_name,
    flat_numbers,
    flat_row,
    keys_of,
    number_of,
    terms_in,
    to_row,
    to_verl,
    values_of,
)
from medix_verl.types import RewardBreakdown

PART = st.none() | st.floats(0, 1)
BREAKDOWNS = st.builds(
    RewardBreakdown,
    **dict.fromkeys(("score", "acc", "judge", "semantic", "modality"), PART),
    format=st.floats(0, 1),
    **dict.fromkeys(("judge_ok", "semantic_ok", "modality_applies", "semantic_applies"), st.booleans()),
    answer=st.none() | st.text(),
)
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


TERMS = st.fixed_dictionaries(
    {**dict.fromkeys(("judge", "semantic", "modality", "brevity"), PART), "format": st.floats(0, 1)}
)


@given(PART, PART, TERMS, st.sets(st.sampled_from(["judge", "semantic", "brevity"])))
def test_what_is_written_is_found_again(
    score: float | None, acc: float | None, terms: dict[str, float | None], failed: set[str]
) -> None:
    terms = {name: None if name in failed else value for name, value in terms.items()}
    row, plain = flat_numbers(score, acc, terms, failed), flat_row(score, acc, terms, failed)
    assert list(row) == [*VERL_KEYS, "brevity", "judge_ok", "semantic_ok", "brevity_ok", "modality_applies",
                         "semantic_applies", "brevity_applies"]  # fmt: skip
    assert list(plain) == [*VERL_KEYS, "brevity", "judge_ok", "semantic_ok", "brevity_ok", "brevity_applies"]
    assert all(type(value) is float and 0 <= value <= 1 for value in row.values())
    assert [term.name for term in terms_in(row)] == ["judge", "semantic", "format", "modality", "brevity"]
    assert terms_in(row) == [keys_of(term) for term in ("judge", "semantic", "format", "modality", "brevity")]
    for flat in (row, plain):
        told = values_of(flat)
        assert {name: told[name] for name in terms} == terms
        assert told["acc"] == (None if terms["judge"] is None else acc or 0.0 if flat is row else acc)
    assert {term.name for term in terms_in(row) if term.failed(row)} == failed | (
        {"judge"} if terms["judge"] is None else set()
    )


def test_the_four_have_the_keys_of_version_1() -> None:
    row = flat_numbers(0.5, 1.0, {"semantic": 0.5, "judge": 1.0, "modality": None, "format": 1.0}, ())
    assert list(row) == VERL_KEYS + FLAG_KEYS
    assert (row["modality_applies"], row["semantic_applies"], row["judge_ok"]) == (0.0, 1.0, 1.0)
    assert [term.name for term in BUILT_IN] == VERL_KEYS[2:]


def test_terms_are_found_by_their_flags() -> None:
    found = terms_in(["score", "score_ok", "z", "z_ok", "acc", "a", "a_applies", "lonely", "format", "gone_ok"])
    assert found == [TermKeys("format"), TermKeys("z", can_fail=True), TermKeys("a", can_not_apply=True)]
    assert terms_in({"judge": 1.0, "modality": "CT"}) == [TermKeys("judge"), TermKeys("modality")]
    assert values_of({"judge": 1.0, "acc": 1.0}) == {"acc": 1.0, "judge": 1.0}, "a flag that is not there says nothing"
    assert values_of({"judge": 0.0, "acc": 0.0, "judge_ok": None}) == {"acc": None, "judge": None}


def test_acc_is_of_the_term_that_decides() -> None:
    row = {"acc": 0.0, "judge_ok": 1.0, "rubric_ok": 0.0, "rubric_applies": 1.0}
    assert acc_of(row) == 0.0 and acc_of(row, "rubric") is None and acc_of({"acc": 1.0}, "rubric") == 1.0


@pytest.mark.parametrize("value", [None, "1", [], math.nan, math.inf, 10**400], ids=repr)
def test_what_is_no_number(value: object) -> None:
    assert number_of(value) is None


@pytest.mark.parametrize("name", ["brevity", "b2", "has_okra"])
def test_a_name_of_a_term(name: str) -> None:
    assert check_term_name(name) == name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("acc", "give a name of small letters"),
        ("val", "give a name of small letters"),
        ("brevity_ok", "does not end in _ok"),
        ("a/b", "give a name of small letters"),
        ("Brevity", "give a name of small letters"),
        ("", "give a name of small letters"),
        ("terminology", "verl would log the min of a metric"),
        ("summary", "verl would log the sum of a metric"),
    ],
)
def test_a_name_that_no_term_can_have(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_term_name(name)

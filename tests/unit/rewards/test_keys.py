# SPDX-License-Identifier: Apache-2.0
"""What verl and the command line get: uniform numbers for one, honest nulls for the other."""

from hypothesis import given
from hypothesis import strategies as st

from medix_verl.rewards.keys import to_row, to_verl
from medix_verl.rewards.composite import shares_of
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Failed, Failure, RewardBreakdown

PART = st.none() | st.floats(0, 1)
FAILED = Failed(Failure.INTERNAL, "gone")
KEYS = shares_of(RewardSpec()).keys


@st.composite
def breakdowns(draw: st.DrawFn) -> RewardBreakdown:
    terms = {name: draw(PART) for name in ("judge", "semantic")} | {"format": draw(st.floats(0, 1)), "modality": draw(PART)}
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

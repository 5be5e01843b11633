# SPDX-License-Identifier: Apache-2.0
"""Which texts contradict each other, and in what: cases written for it, and what holds for any texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.places import golden
from medix_verl.embedding import opposites
from medix_verl.embedding.contrast import aspects, contrast
from medix_verl.embedding.statements import read

CASES = golden("contrast")
WORDS = sorted({word for case in CASES for word in f"{case['candidate']} {case['reference']}".split()})
TEXTS = st.lists(st.sampled_from([*WORDS, ",", ".", ";", "-", "/", "<", "3", "mm", "III", "\n"]), max_size=10).map(
    " ".join
)


def found(case: dict) -> str | None:
    return contrast(case["candidate"], case["reference"], case.get("question"))


def test_every_case_has_a_reason_and_there_are_enough() -> None:
    assert all(case["reason"] for case in CASES)
    assert sum(case["right"] for case in CASES) > 200 and sum(not case["right"] for case in CASES) > 180


def test_no_right_answer_is_stopped() -> None:
    assert [(case, why) for case in CASES if case["right"] and (why := found(case)) is not None] == []


def test_wrong_answers_are_stopped_but_for_those_that_say_why_not() -> None:
    wrong = [case for case in CASES if not case["right"]]
    assert [case for case in wrong if (found(case) is None) is not ("unread" in case)] == []
    assert sum("unread" in case for case in wrong) / len(wrong) < 0.08


@pytest.mark.parametrize(
    ("candidate", "reference", "reason"),
    [
        ("left lung", "right lung", "side: left, reference right"),
        ("bilateral", "left", "side: left and right, reference left"),
        ("stage II", "stage III", "number: 2, reference 3"),
        ("2 cm", "2 mm", "number: 20 length [mm], reference 2 length [mm]"),
        ("> 5 mm", "< 5 mm", "number: >5 length [mm], reference <5 length [mm]"),
        ("5 mM", "5 mm", "number: 0.005 amount [mmol]/volume [ml], reference 5 length [mm]"),
        ("L4", "L5", "l number: 4, reference 5"),
        ("T2", "T1", "sequence: T2, reference T1"),
        ("no effusion", "effusion", "negation: effusion"),
        ("asymptomatic", "symptomatic", "word: asymptomatic and symptomatic"),
        ("hyperkalemia", "hypokalemia", "amount: more, reference less"),
        ("hyponychium", "hypernychium", "amount: less, reference more"),
        ("brachycephaly", "dolichocephaly", "word: brachycephaly, reference dolichocephaly"),
    ],
)
def test_it_is_said_what_differs(candidate: str, reference: str, reason: str) -> None:
    assert contrast(candidate, reference) == reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("upper left lobe", {"side": {"left"}, "height": {"upper"}}),
        ("left and right", {"side": {"left", "right"}, "laterality": {"two"}}),
        ("stage IIIB", {"number": {"3"}, "letter after 3": {"b"}}),
        ("no malignancy", {"nature": {"benign"}, "negation": {"malignancy"}}),
        ("no increase", {"not amount": {"more"}, "negation": {"increase"}}),
        ("T2-FLAIR", {"sequence": {"FLAIR"}}),
        ("IV fluids", {}),
        ("vitamin D", {"letter": {"d"}}),
        ("", {}),
        ("...", {}),
    ],
)
def test_what_is_read(text: str, expected: dict) -> None:
    assert {name: set(values) for name, values in aspects(text).items()} == expected


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [
        ("pneumonia", "left pneumonia"),
        ("left pneumonia", "pneumonia"),
        ("", "left"),
        ("left", ""),
        ("consolidation in the right lower lobe, small left effusion, no cavity", "right lower lobe consolidation"),
        ("The left lung is clear. Right lower lobe pneumonia.", "right lower lobe pneumonia"),
        ("right", " and ".join(f"left finding {number}" for number in range(40))),
    ],
)
def test_silence_is_no_contrast(candidate: str, reference: str) -> None:
    """Nor is a part of a long answer that speaks of something else, nor anything of a reference that says much."""
    assert contrast(candidate, reference) is None


@pytest.mark.parametrize(
    ("candidate", "tolerance", "stopped"), [("10.4 cm", 0.05, False), ("10.4 cm", 0.0, True), ("12 cm", 0.05, True)]
)
def test_a_rows_tolerance_holds(candidate: str, tolerance: float, stopped: bool) -> None:
    assert (contrast(candidate, "10 cm", tolerance=tolerance) is not None) is stopped


@given(TEXTS)
def test_a_text_does_not_contradict_itself(text: str) -> None:
    assert contrast(text, text) is None


@given(TEXTS, TEXTS)
def test_neither_side_is_special(one: str, other: str) -> None:
    assert (contrast(one, other) is None) is (contrast(other, one) is None)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_read(one: str, other: str, question: str) -> None:
    assert contrast(one, other, question) is None or isinstance(contrast(one, other, question), str)


@pytest.mark.parametrize(
    "text", ["٣ cm", "1e999", "9" * 500, "10^99", "3/0", "½ cm", "\ufdfa" * 300, "-", "°", "5 °", "5/", "L4/"]
)
def test_odd_numbers_are_no_error(text: str) -> None:
    contrast(text, "3 cm")
    contrast("3 cm", text)


def test_the_tables_are_sound() -> None:
    """No entry is empty, no aspect has one value, and the other tables speak of aspects and values that there are."""
    for aspect, values in opposites.OPPOSITES.items():
        entries = [entry for line in values.values() for entry in line.split(", ")]
        assert all(entry.strip("*") == entry.strip("*").strip() != "" for entry in entries), aspect
        assert len(values) > 1, aspect
        assert all(read(entry).parts or "*" in entry for entry in entries), aspect
    known = {aspect: set(values) for aspect, values in opposites.OPPOSITES.items()}
    assert set(known) >= opposites.STRICT
    for table in (opposites.COMPLEMENTS, opposites.LACK):
        assert all(set(values) <= known[aspect] for aspect, values in table.items())


def test_every_entry_is_read_as_its_own_value() -> None:
    """So that no entry is hidden by a longer one, by a negation or by EXCEPT."""
    lost = []
    for aspect, values in opposites.OPPOSITES.items():
        for value, line in values.items():
            for entry in line.split(", "):
                text = entry.replace("*", "")
                seen = aspects(text)
                if (
                    "*" not in entry
                    and value not in seen.get(aspect, ())
                    and value not in seen.get(f"not {aspect}", ())
                ):
                    lost.append((aspect, value, entry, dict(seen)))
    assert lost == []

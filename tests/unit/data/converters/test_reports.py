# SPDX-License-Identifier: Apache-2.0
"""Parts of a report: found by the closed list of headings, and composed as the question asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.converters.reports import PART, QUESTIONS, compose, parts_of

REPORT = """ INDICATION:  cough

 FINDINGS:
 The lungs are clear.
 NG TUBE: none. Findings: quoted.

 IMPRESSION:  No acute process.
 RECOMMENDATION: none
"""


def test_the_parts_end_at_known_headings_only() -> None:
    assert parts_of(REPORT) == ("The lungs are clear. NG TUBE: none. Findings: quoted.", "No acute process.")


@pytest.mark.parametrize(
    ("report", "parts"),
    [
        ("", ("", "")),
        ("The lungs are clear.", ("", "")),
        ("FINDINGS AND IMPRESSION: Clear.", ("Clear.", "")),
        ("CONCLUSION : Clear.", ("", "Clear.")),
        ("FINDINGS:\n\nIMPRESSION: Clear.", ("", "Clear.")),
        ("FINDINGS: One.\nADDENDUM: x\nFINDINGS: Two.", ("One. Two.", "")),
    ],
)
def test_other_reports(report: str, parts: tuple[str, str]) -> None:
    assert parts_of(report) == parts


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("both", "Findings: Clear.\nImpression: Normal."),
        ("findings", "Clear."),
        ("impression", "Normal."),
    ],
)
def test_the_answer_is_the_part_that_is_asked_for(part: str, text: str) -> None:
    assert compose("Clear.", "Normal.", part) == text


def test_a_part_that_is_not_there_is_no_answer() -> None:
    assert compose("", "Normal.", "both") == "Impression: Normal."
    assert compose("", "Normal.", "findings") == compose("", "", "both") == ""


def test_every_part_has_its_question() -> None:
    assert set(QUESTIONS) == set(PART.accepted)


@given(st.text())
def test_any_text_has_parts_of_its_own_words(report: str) -> None:
    assert all(word in report for part in parts_of(report) for word in part.split())

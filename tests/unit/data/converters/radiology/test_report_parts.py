# SPDX-License-Identifier: Apache-2.0
"""Parts of a report: found by the closed list of headings, and composed as the question asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.converters.radiology.report_parts import PART, QUESTIONS, compose, parts_of

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
        # Was findings; the official parser and so all published results have it as the impression.
        ("FINDINGS AND IMPRESSION: Clear.", ("", "Clear.")),
        ("CONCLUSION : Clear.", ("", "Clear.")),
        ("FINDINGS:\n\nIMPRESSION: Clear.", ("", "Clear.")),
        ("FINDINGS: One.\nADDENDUM: x\nFINDINGS: Two.", ("One. Two.", "")),
    ],
)
def test_other_reports(report: str, parts: tuple[str, str]) -> None:
    assert parts_of(report) == parts


LONG = """                                 FINAL REPORT
 TYPE OF EXAMINATION:  Chest, AP portable.

 PATIENT HISTORY:  Pneumonia.

 REFERENCE EXAM:  ___.

 {heading}:  Bibasilar opacities.

 {then}:  Worsening.

 {last}:  Follow-up CT in three months.
"""
BEHIND = (
    *("RECOMMENDATION(S)", "RECOMMENDATIONS", "RECOMMENDATION", "Recommendation(s)", "COMMENT", "NOTIFICATION"),
    *("ADDENDUM", "WET READ", "WETREAD", "DATE", "COMPARISON FILM", "CLINICAL HISTORY AND INDICATION", "PFI"),
    *("TYPE OF EXAMINATION", "REFERENCE EXAM", "PATIENT HISTORY", "RECOMMENDATION (S)", "COMPARRISON"),
)
"""Headings that end the impression."""


@pytest.mark.parametrize(
    "heading",
    [
        *("FINDINGS", "FINDING", "REFERENCE FINDINGS", "ADDITIONAL FINDINGS", "FINIDNGS", "CHEST", "CHEST, TWO VIEWS"),
        *("PA AND LATERAL VIEWS OF THE CHEST", "PORTABLE CHEST", "CHEST (PORTABLE AP)", "ONE VIEW", "FRONTAL UPRIGHT"),
        *("FRONTAL AND LATERAL CHEST RADIOGRAPHS", "CHEST, 2 VIEWS", "PA & LAT", "BONE WINDOW", "RIBS, THREE VIEWS"),
    ],
)
@pytest.mark.parametrize(
    "then", ["IMPRESSION", "CONCLUSION", "IMPRESSON", "FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION"]
)
def test_the_official_parsers_headings(heading: str, then: str) -> None:
    """What txt/section_parser.py of MIT-LCP/mimic-cxr finds, written down from a run of it; it lacks a few of these."""
    for last in BEHIND:
        report = LONG.format(heading=heading, then=then, last=last)
        assert parts_of(report) == ("Bibasilar opacities.", "Worsening."), last


@pytest.mark.parametrize(
    ("report", "parts"),
    [
        ("CHEST, TWO VIEWS:  ___\n\nHISTORY: Pain.\n\nCHEST, TWO VIEWS: Clear.\n", ("Clear.", "")),
        ("TECHNIQUE: AP\nCHEST TUBE: in place.\nFINDINGS: Clear.", ("CHEST TUBE: in place. Clear.", "")),
        (
            "FINDINGS: Clear.\nCHEST TUBE: in place.\nLEFT RIBS: broken.",
            ("Clear. CHEST TUBE: in place. LEFT RIBS: broken.", ""),
        ),
        ("IMPRESSION: Nodule.\nPORT A CATH: in place.\nRECOMMENDATION(S): CT", ("", "Nodule. PORT A CATH: in place.")),
        ("IMPRESSION AND RECOMMENDATION(S): Nodule.\nFURTHER RECOMMENDATIONS: CT.", ("", "Nodule.")),
        ("INDICATION: Cough.\nThe FINDINGS: none of them.", ("", "")),
    ],
)
def test_headings_of_views_and_words_that_are_none(report: str, parts: tuple[str, str]) -> None:
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

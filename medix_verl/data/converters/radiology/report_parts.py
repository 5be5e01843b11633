# SPDX-License-Identifier: Apache-2.0
"""Turn radiology reports into questions: select the requested part and find it in the free text.

A report's parts are found by their upper-case headings. The list of headings is closed (`FINDINGS:`, `IMPRESSION:` and
the sections around them), so that other upper-case words inside a part do not end it. Text under a heading that names
views (`CHEST, TWO VIEWS:`) counts as findings. The answer contains only text of the report; if the requested part is
missing, the answer is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from medix_verl.data.converters.base import Option

__all__ = ["PART", "QUESTIONS", "compose", "parts_of"]

PART = Option("both", "findings, impression, or both as far as they are there", ("both", "findings", "impression"))
QUESTIONS: Mapping[str, str] = {
    "both": "Write the findings and the impression of the radiology report for this chest X-ray study.",
    "findings": "Write the findings of the radiology report for this chest X-ray study.",
    "impression": "Write the impression of the radiology report for this chest X-ray study.",
}
"""Value of PART -> the question."""

_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "findings": ("FINDINGS", "FINDING", "REFERENCE FINDINGS"),
    # As in the official parser, although such a section contains both.
    "impression": (
        *("IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS"),
        *("FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION", "FINDINGS/ IMPRESSION"),
    ),
    "recommendations": ("RECOMMENDATION", "RECOMMENDATIONS", "RECOMMENDATION(S)", "RECOMMENDATION (S)"),
    "comparison": (
        *("COMPARISON", "COMPARISONS", "COMPARISON EXAM", "COMPARISON FILM", "REFERENCE EXAM"),
        *("COMPARISION", "COMPARSION", "COMPARRISON", "COMPARISIONS"),
    ),
    "indication": (
        *("INDICATION", "INDICATIONS", "CLINICAL INDICATION", "REASON FOR EXAM", "REASON FOR EXAMINATION"),
        *("REASON FOR THIS EXAMINATION", "IDICATION", "NDICATION"),
    ),
    "history": ("HISTORY", "CLINICAL HISTORY", "CLINICAL INFORMATION", "PATIENT HISTORY", "PFI"),
    "examination": ("EXAM", "EXAMINATION", "TYPE OF EXAMINATION", "STUDY", "PROCEDURE"),
    "technique": ("TECHNIQUE",),
    "notification": ("NOTIFICATION", "NOTIFICATIONS"),
    "addendum": ("ADDENDUM",),
    "comment": ("COMMENT", "COMMENTS"),
    "wet read": ("WET READ", "WETREAD"),
    "date": ("DATE",),
    "preamble": ("FINAL REPORT",),
}
"""Section -> its headings, including misspelled ones: those of the official parser (txt/section_parser.py of
MIT-LCP/mimic-cxr, MIT licence), and some more."""
_MISSPELLED: Mapping[str, str] = {
    "impression": "IMPRESSON IMPRRESSION IMORESSION IMPRESSOIN IMPRSSION IMPRESION IMPERSSION MPRESSION IMPESSION",
    "findings": "FINDINS FINDINDGS FINDGINGS FINDNGS FINDNINGS FINIDNGS",
}
_SECTION_OF = {
    heading: section
    for table in (_SECTIONS, {section: words.split() for section, words in _MISSPELLED.items()})
    for section, headings in table.items()
    for heading in headings
}
_INSIDE = ("IMPRESSION", "FINDINGS", "HISTORY", "COMPARISON", "ADDENDUM", "RECOMMENDATION")
"""Words that decide the section of a longer heading (`HISTORY AND INDICATION`); the first one found in it applies."""
_VIEWS = re.compile(
    "CHEST|PORTABLE|PA AND LAT|LATERAL AND [PA][PA]|AP AND LATERAL|FRONTAL (?:AND|VIEW|UPRIGHT|SEMI-UPRIGHT)"
    "|(?:TWO|PA|AP|ONE|LATERAL) VIEW|BONE WINDOW|RIBS|PA & LAT"
)
"""Matches headings that describe the acquisition of the pictures; the text after such a heading is findings."""
_ANCHORS = frozenset(
    {"CHEST", "PORTABLE", "VIEW", "VIEWS", "RIBS", "LATERAL", "FRONTAL", "PA", "AP", "RADIOGRAPH", "WINDOW"}
)
_VIEW_WORDS = _ANCHORS | {
    *("BONE", "WINDOWS", "UPRIGHT", "SEMI", "SUPINE", "ERECT", "OBLIQUE", "DECUBITUS", "LORDOTIC", "LAT"),
    *("AND", "OF", "THE", "WITH", "ONE", "TWO", "THREE", "FOUR", "SINGLE", "MULTIPLE", "X", "RAY", "RADIOGRAPHS"),
    *("FILM", "FILMS", "IMAGE", "IMAGES", "PROJECTION", "PROJECTIONS", "EXAM", "STUDY"),
}
"""A heading of only these words contains no finding; words for a side (left, right) are not included."""
_HEADING = re.compile(r"^[ \t]*((?:[A-Z]|[Rr]ecommendation)[A-Z0-9 \t()/,&_.s-]{0,78}):", re.MULTILINE)
_WORD = re.compile("[A-Z]+")


def parts_of(report: str) -> tuple[str, str]:
    """Return findings and impression of a report, each on one line; empty if it has none."""
    parts: dict[str, list[str]] = {"findings": [], "impression": []}
    current, start = "", 0
    for found in _HEADING.finditer(report):
        section, whole = section_of(" ".join(found[1].split()), current)
        if section:
            parts.get(current, []).append(report[start : found.start()])
            current, start = section, found.end() if whole else found.start()
    parts.get(current, []).append(report[start:])
    # "CHEST, TWO VIEWS: ___" is a title with its date removed, not a finding.
    joined = {part: " ".join(" ".join(filter(says, texts)).split()) for part, texts in parts.items()}
    return joined["findings"], joined["impression"]


def says(text: str) -> bool:
    return any(char.isalnum() for char in text)


def section_of(heading: str, current: str) -> tuple[str, bool]:
    """Return the section that an upper-case heading starts, and whether the heading is not part of the section's text.

    The section is empty if the line belongs to the current section.
    """
    if heading.lower().startswith("recommendation"):
        return "recommendations", True
    if heading != heading.upper():
        return "", True
    section = _SECTION_OF.get(heading) or next((word.lower() for word in _INSIDE if word in heading), "")
    if section:
        return section, True
    words = set(_WORD.findall(heading))
    if words <= _VIEW_WORDS and words & _ANCHORS:
        return "findings", True
    # "CHEST TUBE: in place" inside the findings is a finding; after the technique it starts the findings.
    begins = _VIEWS.search(heading) is not None and current not in ("findings", "impression")
    return "findings" if begins else "", False


def compose(findings: str, impression: str, part: str) -> str:
    """Return the reference answer for one value of PART; empty if the report does not contain it."""
    if part != "both":
        return findings if part == "findings" else impression
    named = (("Findings", findings), ("Impression", impression))
    return "\n".join(f"{name}: {text}" for name, text in named if text)

# SPDX-License-Identifier: Apache-2.0
"""Radiology reports as questions: which part is asked for, and where it stands in a free text.

A report's parts are found by their headings in capitals, of a closed list (`FINDINGS:`, `IMPRESSION:` and those that
come before, between and behind them), so that a word in capitals inside a part does not end it. Nothing is written
that the report does not say; where the wanted part is missing there is no answer.
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
"""What is asked for each value of PART."""

_FINDINGS = ("FINDINGS", "FINDING", "FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION")
_IMPRESSION = ("IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS")
_OTHERS = (
    "ADDENDUM",
    "CLINICAL HISTORY",
    "CLINICAL INDICATION",
    "CLINICAL INFORMATION",
    "COMPARISON",
    "COMPARISONS",
    "EXAM",
    "EXAMINATION",
    "FINAL REPORT",
    "HISTORY",
    "INDICATION",
    "INDICATIONS",
    "NOTIFICATION",
    "PROCEDURE",
    "REASON FOR EXAM",
    "REASON FOR EXAMINATION",
    "RECOMMENDATION",
    "RECOMMENDATIONS",
    "STUDY",
    "TECHNIQUE",
    "WET READ",
)
_HEADING = re.compile(
    rf"^[ \t]*({'|'.join(sorted(map(re.escape, (*_FINDINGS, *_IMPRESSION, *_OTHERS)), key=len, reverse=True))})[ \t]*:",
    re.MULTILINE,
)


def parts_of(report: str) -> tuple[str, str]:
    """Findings and impression of a report, each on one line; empty where it has none."""
    found = list(_HEADING.finditer(report))
    ends = [match.start() for match in found[1:]] + [len(report)] * bool(found)
    parts: dict[str, list[str]] = {"findings": [], "impression": []}
    for match, end in zip(found, ends, strict=True):
        text = " ".join(report[match.end() : end].split())
        part = "findings" if match[1] in _FINDINGS else "impression" if match[1] in _IMPRESSION else ""
        if part and text:
            parts[part].append(text)
    return " ".join(parts["findings"]), " ".join(parts["impression"])


def compose(findings: str, impression: str, part: str) -> str:
    """The reference answer for one value of PART; empty where the report does not have it."""
    if part != "both":
        return findings if part == "findings" else impression
    named = (("Findings", findings), ("Impression", impression))
    return "\n".join(f"{name}: {text}" for name, text in named if text)

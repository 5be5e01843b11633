# SPDX-License-Identifier: Apache-2.0
"""Characters that nobody sees are folded alike: in fingerprints, equality, choices, and the check for no answer."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from medix_verl.choices import unwrap
from medix_verl.data.duplicates.fingerprints import fingerprint, fold
from medix_verl.data.prepare.checks import answer_flags
from medix_verl.invisible import visible
from medix_verl.judge.rule.normalise import normalise
from medix_verl.types import Sample

HIDDEN = [
    *("\u200b", "\ufeff", "\u00ad", "\u200d", "\u2060", "\u200e", "\u202e", "\u2066", "\ufe0f", "\u034f"),
    *("\u115f", "\u3164", "\uffa0", "\u180e", "\u2800", "\U000e0041", "\u061c"),
]


def test_every_format_character_of_this_python_is_known() -> None:
    hidden = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"]
    assert len(hidden) > 150 and visible("".join(hidden)) == ""


def test_what_can_be_seen_stays() -> None:
    seen = "HER2- 5 \u00b5m \u2265 37 \u00b0C, \u03b1-\u4e2d\u6587 a\u0301 \u0627\u0644\u0639\n\t\u00a0\u2028"
    assert visible(seen) == seen
    marks = [chr(code) for code in range(0x300, 0x34F)]
    assert visible("".join(marks)) == "".join(marks)


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda char: f"{ord(char):04x}")
def test_it_is_folded_alike_everywhere(hidden: str) -> None:
    odd, plain = f"{hidden}Left{hidden} lun{hidden}g.{hidden}", "Left lung."
    assert fold(odd) == fold(plain)
    assert normalise(odd) == normalise(plain)
    assert unwrap(odd) == unwrap(plain)


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda char: f"{ord(char):04x}")
def test_an_answer_of_nothing_else_is_empty(hidden: str) -> None:
    """The rule judge makes nothing of it, so that it would equal nothing."""
    answer = f" {hidden}.{hidden}{hidden} "
    assert normalise(answer) == ""
    assert "answer-empty" in answer_flags(Sample("a", "s", "What?", answer), 1000)


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda char: f"{ord(char):04x}")
def test_it_hides_no_leak(hidden: str) -> None:
    first = Sample("a", "s", "What is this?", "a cyst", options=("a cyst", "a stone"))
    second = Sample(
        "b", "s", f"{hidden}What is th{hidden}is?", f"a cyst{hidden}", options=(f"a cyst{hidden}", "a stone")
    )
    assert fingerprint(first, []).text == fingerprint(second, []).text
    assert fingerprint(first, []).question == fingerprint(second, []).question

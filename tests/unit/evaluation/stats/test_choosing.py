# SPDX-License-Identifier: Apache-2.0
"""The share of yes, and what becomes of choices when the options are turned, on records worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medix_verl.evaluation.stats.choosing import rotations, yes_rate
from medix_verl.evaluation.store.records import Record

ASKED = "Is there an effusion?"


def yes_no(number: int, reference: str, answer: str | None, options: tuple[str, ...] | None = None) -> Record:
    value = float(answer == reference)
    return Record(
        *("t", str(number), str(number), ASKED, reference, answer or "", answer, value, "scored"),
        answer_type="closed", options=options,
    )  # fmt: skip


def turned(question: str, by: int, answer: str | None, status: str = "scored") -> Record:
    options = ("aa", "bb", "cc")
    options = options[by:] + options[:by]
    value = None if status != "scored" else float(answer is not None and answer.endswith("aa"))
    return Record(
        *("t", f"{question}#r{by}", question, "Which?", "aa", answer or "", answer, value, status, "r"),
        answer_type="closed", options=options, rotation_of=question, rotation=by,
    )  # fmt: skip


def test_yes_is_counted_among_the_answers_that_say_yes_or_no() -> None:
    found = yes_rate(
        [
            yes_no(1, "yes", "Yes, there is."),
            yes_no(2, "no", "yes"),
            yes_no(3, "no", "No."),
            yes_no(4, "no", "a small one, perhaps"),
            yes_no(5, "yes", None),
            yes_no(6, "yes", "A", ("yes", "no", "maybe")),
            yes_no(7, "maybe", "yes", ("yes", "no", "maybe")),
            yes_no(8, "pneumonia", "yes"),
            replace(yes_no(9, "yes", ""), value=None, status="error", reason="down"),
        ]
    )
    assert found is not None and found.said is not None
    # 1, 2, 3 and 6 say something; 4 and 5 do not; 7 and 8 are no questions of yes or no; 9 has no answer.
    assert (found.questions, found.neither, found.said.value) == (6, 2, 3 / 4)
    assert found.right == pytest.approx(3 / 6)


def test_no_question_of_yes_or_no_has_no_share() -> None:
    assert yes_rate([yes_no(1, "pneumonia", "yes")]) is None and yes_rate([]) is None
    report = replace(yes_no(1, "no", "yes"), answer_type="report")
    assert yes_rate([report]) is None, "a report that begins with no is no such question"


def test_a_choice_stays_where_its_option_does() -> None:
    found = rotations(
        [
            *(turned("stays", by, "aa") for by in range(3)),
            # Always the first letter: another option each time.
            *(turned("letter", by, "A") for by in range(3)),
            # The same option by its letter, which moves.
            *(turned("moves", by, letter) for by, letter in enumerate(("B", "A", "C"))),
            *(turned("unread", by, "aa" if by else "hard to say") for by in range(3)),
            *(turned("lost", by, "aa", "error" if by == 2 else "scored") for by in range(3)),
            replace(turned("alone", 0, "aa"), rotation_of=None),
        ]
    )
    assert found is not None and found.consistency is not None and found.every is not None
    assert (found.questions, found.incomplete, found.not_turned, found.unread) == (4, 1, 1, 1)
    assert found.consistency.value == 2 / 4
    assert found.every.value == pytest.approx(1 / 4), "only `stays` is right in each; `unread` lacks one"
    assert sum(found.letters.values()) == pytest.approx(1) and set(found.letters) == {"A", "B", "C"}


def test_nothing_turned_has_no_figure() -> None:
    assert rotations([yes_no(1, "yes", "yes")]) is None
    assert rotations([turned("one", 0, "aa")]) is None

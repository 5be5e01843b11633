# SPDX-License-Identifier: Apache-2.0
"""Flags of answers and questions: what each catches, and the good rows that it must leave alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medix_verl.data.prepare.checks import ANSWER_FLAGS, QUESTION_FLAGS, answer_flags, question_flags
from medix_verl.types import ImageRef, Sample

PLAIN = Sample("a", "s", "Which organ is shown?", "liver")
PICTURE = (ImageRef(path="p.png"),)


@pytest.mark.parametrize(
    ("answer", "flag"),
    [
        (" . ", "answer-empty"),
        ("?!", "answer-empty"),
        ("---", "answer-punctuation"),
        ("+", "answer-punctuation"),
        ("which organ is shown", "answer-is-question"),
        ("x" * 101, "answer-too-long"),
        ("B", "answer-letter-only"),
        ("(c)", "answer-letter-only"),
        ("Option D.", "answer-letter-only"),
        ("see image", "answer-refers-to-picture"),
        ("As shown in the figure above", "answer-refers-to-picture"),
        ("Refer to Fig 2", "answer-refers-to-picture"),
        ("N/A", "answer-unknown"),
        ("Cannot be determined.", "answer-unknown"),
        ("I don\u2019t know", "answer-unknown"),
        ("未知", "answer-unknown"),
    ],
)
def test_what_cannot_be_scored_is_flagged(answer: str, flag: str) -> None:
    assert flag in ANSWER_FLAGS
    assert answer_flags(replace(PLAIN, answer=answer), 100) == (flag,)


@pytest.mark.parametrize(
    "answer",
    [
        "no",
        "yes",
        "0",
        "-3",
        "5 x 4 mm",
        "vitamin A",
        "T2",
        "HER2+",
        "image-guided biopsy",
        "left",
        "is",
        "unknown primary",
    ],
)
def test_a_good_answer_has_no_flag(answer: str) -> None:
    assert answer_flags(replace(PLAIN, answer=answer), 100) == ()


def test_an_answer_that_names_every_option_is_flagged() -> None:
    options = ("lung", "liver", "heart", "lung, liver and heart")
    assert answer_flags(replace(PLAIN, answer=options[3], options=options), 100) == ("answer-lists-options",)
    assert answer_flags(replace(PLAIN, answer="liver", options=options), 100) == ()
    assert answer_flags(replace(PLAIN, answer="a and b", options=("a", "a and b")), 100) == ()
    assert answer_flags(replace(PLAIN, answer="hearty lunges", options=("heart", "lung", "hearty lunges")), 100) == ()


@pytest.mark.parametrize(
    "question", ["What does this image show?", "What is shown in the figure?", "这张图显示什么？", "<image> Why?"]
)
def test_a_question_without_its_picture(question: str) -> None:
    assert question_flags(replace(PLAIN, question=question)) == ("picture-mentioned-but-missing",)
    assert question_flags(replace(PLAIN, question=question, images=PICTURE)) in ((), ("picture-not-mentioned",))
    assert "picture-mentioned-but-missing" in QUESTION_FLAGS


@pytest.mark.parametrize(
    "question", ["When is image-guided biopsy indicated?", "What does an X-ray cost?", "Which figures matter?"]
)
def test_speaking_of_pictures_in_general_needs_none(question: str) -> None:
    assert question_flags(replace(PLAIN, question=question)) == ()


def test_a_picture_that_the_question_does_not_speak_of() -> None:
    assert question_flags(replace(PLAIN, question="Is there an effusion?", images=PICTURE)) == (
        "picture-not-mentioned",
    )
    assert question_flags(replace(PLAIN, question="What is wrong on this CT?", images=PICTURE)) == ()

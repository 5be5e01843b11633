# SPDX-License-Identifier: Apache-2.0
"""Answers and questions that will not make a fair score: each is named by a flag, none is changed.

A reference such as "see image", "B" or the question itself can be written to a file, but whatever a model answers to
it is scored by chance. Flags are short stable words that the report counts; which of them refuse a row is the spec's
choice.
"""

from __future__ import annotations

import re

from medix_verl.data.fingerprints import fold
from medix_verl.types import Sample

__all__ = ["ANSWER_FLAGS", "QUESTION_FLAGS", "answer_flags", "question_flags"]

ANSWER_FLAGS = {
    "answer-empty": "nothing but white space and closing marks: it equals nothing",
    "answer-punctuation": "no letter and no digit",
    "answer-is-question": "the question itself",
    "answer-too-long": "longer than the spec's max_answer_chars",
    "answer-letter-only": "an option's letter instead of its text",
    "answer-refers-to-picture": "points at the picture or the text instead of answering",
    "answer-unknown": "says that there is no answer",
    "answer-lists-options": "names every option",
}
"""Flag -> what it means."""
QUESTION_FLAGS = {
    "picture-mentioned-but-missing": "the question speaks of a picture and the row has none",
    "picture-not-mentioned": "the row has a picture of which the question does not speak (usual in VQA sets)",
}

LETTER = re.compile(r"[(\[]?(?:option |choice |answer )?[a-j][)\].:]?|option [1-9]", re.ASCII)
REFERS = re.compile(
    r"(?:please )?(?:see|refer to|as shown in|shown in|look at|check)"
    r" (?:the )?(?:above |below |attached )?(?:image|picture|figure|fig|photo|text|report|table|explanation)s?"
    r"(?: (?:above|below|attached|\w{1,3}))?"
)
UNKNOWN = re.compile(
    r"n/?a|nan|null|nil|tbd|todo|undefined|undetermined|unknown|unanswerable|unsure|not sure|no answer|none given"
    r"|not (?:known|available|applicable)|can(?:no|'| no)t (?:be determined|tell|say)|i do(?:n't| not) know"
    r"|未知|不知道|无法确定"
)
PICTURE = re.compile(
    r"\b(?:image|picture|figure|photo|photograph|photomicrograph|radiograph|scan shown|slide shown|x-?ray shown)s?\b"
    r"|\b(?:this|the|shown|following|given|above) (?:x-?ray|ct|mri|scan|film|slide|ultrasound|mammogram)s?\b"
    r"|图像|图片|图中|影像"
)
NEEDS_PICTURE = re.compile(
    r"\b(?:this|the|shown|following|given|above|attached|provided) (?:image|picture|photo|photograph)s?\b"
    r"|\b(?:image|picture|figure|photo|photograph|radiograph)s? (?:shown|above|below|attached|provided)\b"
    r"|\bshown in (?:the |this )?(?:image|picture|figure|photo|photograph)\b"
    r"|<image>|这张图|图中|图片中|图像中"
)
"""Narrower than PICTURE: a text question may well speak of "image-guided biopsy"."""


def answer_flags(sample: Sample, max_chars: int) -> tuple[str, ...]:
    """Why the reference cannot be scored fairly, as keys of ANSWER_FLAGS; empty for a good one.

    Args:
        sample: The row.
        max_chars: Longest accepted answer, in characters.
    """
    answer = fold(sample.answer)
    found = {
        "answer-empty": not answer,
        "answer-punctuation": bool(answer) and not any(char.isalnum() for char in answer),
        "answer-is-question": bool(answer) and answer == fold(sample.question),
        "answer-too-long": len(sample.answer) > max_chars,
        "answer-letter-only": LETTER.fullmatch(answer) is not None,
        "answer-refers-to-picture": REFERS.fullmatch(answer) is not None,
        "answer-unknown": UNKNOWN.fullmatch(answer) is not None,
        "answer-lists-options": lists_options(answer, sample),
    }
    return tuple(name for name, hit in found.items() if hit)


def lists_options(answer: str, sample: Sample) -> bool:
    """Whether an answer names all of three or more options; "A and B" may be right where there are two."""
    others = [fold(option) for option in sample.options or () if fold(option) and fold(option) != answer]
    return len(others) >= 2 and all(contains(answer, option) for option in others)


def contains(text: str, part: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def question_flags(sample: Sample) -> tuple[str, ...]:
    """What is odd between the question and the pictures, as keys of QUESTION_FLAGS."""
    asked = sample.question.casefold()
    if sample.images:
        return () if PICTURE.search(asked) else ("picture-not-mentioned",)
    return ("picture-mentioned-but-missing",) if NEEDS_PICTURE.search(asked) else ()

# SPDX-License-Identifier: Apache-2.0
"""When an answer is right without asking anybody: it equals the reference, a synonym, or the right option.

Equality is of normalised texts or of quantities. It never says that an answer is wrong, only that it is plainly right;
what is not equal is for a judge to decide.
"""

from __future__ import annotations

import re
from string import ascii_lowercase

from medix_verl.judge.rule.normalise import normalise
from medix_verl.judge.rule.quantity import read_quantity, same_quantity
from medix_verl.types import Reference

__all__ = ["equal", "meaning", "right_texts"]

LETTER = re.compile(r"(?:option )?([a-z])[.)]?")
LABELLED = re.compile(r"(?:option )?(?:\(([a-z])\)|([a-z])[.):]|([a-z]) -(?= )) ?(.+)", re.DOTALL)
MAX_CHARS = 20_000
"""A longer candidate equals nothing, so that no text can make the comparison slow."""


def equal(candidate: str, reference: Reference) -> bool:
    """Whether a candidate is plainly the reference answer.

    Args:
        candidate: The content of the answer block.
        reference: The right answer, its synonyms, and the options of a multiple-choice question.

    Returns:
        True for equality with the answer, a synonym, or the right option by its letter, its text or both.
    """
    if len(candidate) > MAX_CHARS:
        return False
    if any(same_text(candidate, text) for text in right_texts(reference)):
        return True
    right = right_option(reference)
    return right is not None and names_option(candidate, right, option_texts(reference))


def right_texts(reference: Reference) -> list[str]:
    """Every text that is right by itself: the answer, the synonyms, and the text of the right option."""
    texts = [reference.answer, *reference.synonyms]
    right = right_option(reference)
    if right is not None:
        texts.append(option_texts(reference)[right])
    return texts


def meaning(reference: Reference) -> str:
    """The reference's answer in words: the text of the right option where the answer may be only its letter."""
    right = right_option(reference)
    return reference.answer if right is None else option_texts(reference)[right]


def same_text(left: str, right: str) -> bool:
    """Equal when normalised, or the same quantity; a text that says nothing equals nothing."""
    form = normalise(left)
    if not form:
        return False
    if form == normalise(right):
        return True
    first, second = read_quantity(left), read_quantity(right)
    return first is not None and second is not None and same_quantity(first, second)


def option_texts(reference: Reference) -> list[str]:
    """The options without a label of their own: "A. pneumonia" in the first place is "pneumonia"."""
    texts = []
    for index, option in enumerate(reference.options or ()):
        label, rest = split_label(option)
        texts.append(rest if label == index else option)
    return texts


def right_option(reference: Reference) -> int | None:
    """Index of the option that the reference means, by its text, its letter or both; None when it cannot be told."""
    if not reference.options:
        return None
    texts = option_texts(reference)
    by_text = [index for index, text in enumerate(texts) if same_text(reference.answer, text)]
    if by_text:
        return by_text[0] if len(by_text) == 1 else None
    found = [index for index in range(len(texts)) if names_option(reference.answer, index, texts)]
    return found[0] if len(found) == 1 else None


def names_option(text: str, index: int, texts: list[str]) -> bool:
    """Whether a text names the option at `index` by its letter, alone or before the option's own text."""
    # Where the options are letters themselves (blood groups A, B, AB, O), a letter is an option's text, not a label.
    if index >= len(ascii_lowercase) or any(LETTER.fullmatch(normalise(option)) for option in texts):
        return False
    alone = LETTER.fullmatch(normalise(text))
    if alone is not None:
        return alone[1] == ascii_lowercase[index]
    label, rest = split_label(text)
    return label == index and same_text(rest, texts[index])


def split_label(text: str) -> tuple[int | None, str]:
    """Split "(B) pneumonia", "B. pneumonia", "B: pneumonia" into the letter's index and the normalised rest."""
    found = LABELLED.fullmatch(normalise(text))
    if found is None:
        return None, text
    letter = found[1] or found[2] or found[3]
    return ascii_lowercase.index(letter), found[4]

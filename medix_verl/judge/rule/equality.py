# SPDX-License-Identifier: Apache-2.0
"""When an answer is right without asking anybody: it equals the reference, a synonym, or the right option.

Equality is of normalised texts or of quantities. It never says that an answer is wrong, only that it is plainly right;
what is not equal is for a judge to decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_lowercase

from medix_verl.judge.rule.normalise import normalise
from medix_verl.judge.rule.quantity import Quantity, read_quantity, same_quantity
from medix_verl.types import Reference

__all__ = ["Known", "equal", "known", "meaning", "right_texts"]

LETTER = re.compile(r"(?:option )?([a-z])[.)]?")
LABELLED = re.compile(r"(?:option )?(?:\(([a-z])\)|([a-z])[.):]|([a-z]) -(?= )) ?(.+)", re.DOTALL)
MAX_CHARS = 20_000
"""A longer candidate equals nothing, so that no text can make the comparison slow."""


@dataclass(frozen=True, slots=True)
class Known:
    """A reference whose texts are read once, however many words and parts of an answer are compared with them."""

    texts: tuple[str, ...]
    """Every text that is right by itself: the answer, the synonyms, the text of the right option."""
    forms: frozenset[str]
    """The same, normalised."""
    quantities: tuple[Quantity, ...]
    options: tuple[str, ...]
    """The options without a label of their own: "A. pneumonia" in the first place is "pneumonia"."""
    named: tuple[tuple[str, str], ...]
    """Options that a letter can name, each with its normalised form; none where the options are letters themselves."""
    option: int | None
    """Index of the option that the answer means, by its text, its letter or both; None when it cannot be told."""

    def has(self, text: str) -> bool:
        """Equal to a right text when normalised, or the same quantity; a text that says nothing equals nothing."""
        form = normalise(text)
        if not form or form in self.forms:
            return bool(form)
        quantity = read_quantity(text) if self.quantities else None
        return quantity is not None and any(same_quantity(quantity, right) for right in self.quantities)

    def option_named(self, text: str) -> int | None:
        """Index of the option that a text names by its letter, alone or before the option's own text."""
        return option_named(text, self.named)


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
    right = known(reference)
    return right.has(candidate) or (right.option is not None and right.option_named(candidate) == right.option)


def known(reference: Reference) -> Known:
    """The texts of a reference, read; remembered, since the answers of a group have one reference."""
    return read(reference.answer, tuple(reference.synonyms), tuple(reference.options or ()))


@lru_cache(maxsize=512)
def read(answer: str, synonyms: tuple[str, ...], labelled: tuple[str, ...]) -> Known:
    """`known`, of a reference's parts."""
    options = tuple(unlabelled(index, option) for index, option in enumerate(labelled))
    pairs = tuple((option, normalise(option)) for option in options)
    # Where the options are letters themselves (blood groups A, B, AB, O), a letter is an option's text, not a label.
    names = () if any(LETTER.fullmatch(form) for _, form in pairs) else pairs
    option = meant(answer, pairs, names)
    texts = (answer, *synonyms, *([] if option is None else [options[option]]))
    quantities = tuple(quantity for quantity in map(read_quantity, texts) if quantity is not None)
    return Known(texts, frozenset(map(normalise, texts)) - {""}, quantities, options, names, option)


def right_texts(reference: Reference) -> tuple[str, ...]:
    """Every text that is right by itself: the answer, the synonyms, and the text of the right option."""
    return known(reference).texts


def meaning(reference: Reference) -> str:
    """The reference's answer in words: the text of the right option where the answer may be only its letter."""
    right = known(reference)
    return reference.answer if right.option is None else right.options[right.option]


def meant(answer: str, pairs: tuple[tuple[str, str], ...], names: tuple[tuple[str, str], ...]) -> int | None:
    """Index of the option that an answer means; None when none or more than one is meant."""
    form = normalise(answer)
    by_text = [index for index, (text, other) in enumerate(pairs) if same_text(answer, form, text, other)]
    if by_text:
        return by_text[0] if len(by_text) == 1 else None
    return option_named(answer, names)


def option_named(text: str, names: tuple[tuple[str, str], ...]) -> int | None:
    """Index of the option that a text names by its letter, alone or before the option's own text."""
    form = normalise(text)
    alone = LETTER.fullmatch(form)
    label, rest = (ascii_lowercase.index(alone[1]), "") if alone is not None else split_label(form)
    if label is None or label >= len(names):
        return None
    return label if alone is not None or same_text(rest, normalise(rest), *names[label]) else None


def same_text(left: str, left_form: str, right: str, right_form: str) -> bool:
    """Equal when normalised, or the same quantity; a text that says nothing equals nothing."""
    if not left_form or left_form == right_form:
        return bool(left_form)
    first, second = read_quantity(left), read_quantity(right)
    return first is not None and second is not None and same_quantity(first, second)


def unlabelled(index: int, option: str) -> str:
    """An option's text without the label that its place has."""
    label, rest = split_label(normalise(option))
    return rest if label == index else option


def split_label(form: str) -> tuple[int | None, str]:
    """Split a normalised "(b) pneumonia", "b. pneumonia", "b: pneumonia" into the letter's index and the rest."""
    found = LABELLED.fullmatch(form)
    if found is None:
        return None, form
    letter = found[1] or found[2] or found[3]
    return ascii_lowercase.index(letter), found[4]

# SPDX-License-Identifier: Apache-2.0
"""Decides without a judge that an answer is right: it equals the reference or a synonym, or chooses the right option.

Equality covers normalised texts, their spelling variants, quantities, options (by the label if the row has one) and yes
and no. It never decides that an answer is wrong: what is not equal is left to a judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from medix_verl.choices import Choices, index_of_label, read_choice, read_yes_no, unwrap
from medix_verl.judge.rule.normalise import items, normalise, readings, same_accents
from medix_verl.judge.rule.quantity import Quantity, read_quantity, same_quantity
from medix_verl.types import Reference

__all__ = ["Known", "equal", "known", "meaning", "right_texts"]

MAX_CHARS = 20_000
"""A longer candidate equals nothing, which bounds the time of the comparison."""
MAX_VARIANT_CHARS = 300
"""A longer text has no spelling variants; variants are of terms, not of sentences."""
CODE_ASKED = re.compile(r"\b(?:icd|cpt|hcpcs|loinc|snomed|drg|atc|codes?|version|accession|identifier|number plate)\b")
FRACTION = re.compile(r"[+-]?0?\.[0-9]+")
LONG_CODE = re.compile(r"[0-9]{3,}\.[0-9]+")
ARTICLE = re.compile(r"(?:an?|the) (?=[^\W\d_]{3})")


@dataclass(frozen=True, slots=True)
class Known:
    """A reference whose texts are parsed once, for comparison with many words and parts of an answer."""

    texts: tuple[str, ...]
    """Every accepted text: the answer, the synonyms, the text of the right option."""
    forms: frozenset[str]
    """`texts`, normalised."""
    variants: frozenset[str]
    """`texts` in the common form of their spellings."""
    longest: int
    """Characters of the longest of `forms`."""
    lists: frozenset[tuple[str, ...]]
    """The items of those texts that are lists."""
    quantities: tuple[tuple[str, Quantity], ...]
    """Those texts that are quantities, with their forms; empty if the question asks for a code."""
    choices: Choices
    option: int | None
    """Index of the right option, from the row's label or from the answer's text or letter; None if unknown."""
    yes: bool | None
    """Whether the answer is yes (True) or no (False); None for other answers."""
    question: str | None

    def has(self, text: str) -> bool:
        """Equal to a right text: as it is, in another spelling, as a quantity or as a list in another order."""
        form = normalise(text)
        if not form or form in self.forms:
            return bool(form)
        if self.has_quantity(form):
            return True
        # A spelling variant is never twice as long; a long name with its abbreviation in brackets is.
        if len(form) > MAX_VARIANT_CHARS or (len(form) > 2 * self.longest + 16 and "(" not in form):
            return False
        found = set(readings(form))
        found |= {without for variant in found if (without := ARTICLE.sub("", variant, count=1)) != variant}
        if not found.isdisjoint(self.variants):
            return True
        if any(same_accents(variant, right) for variant in found for right in self.variants):
            return True
        return bool(self.lists) and items(form) in self.lists

    def has_quantity(self, form: str) -> bool:
        """Equal to a right quantity."""
        quantity = read_quantity(form) if self.quantities else None
        if quantity is None:
            return False
        return any(
            same_quantity(quantity, right) and not (quantity.dimension is None and may_be_codes(form, other))
            for other, right in self.quantities
        )

    def chooses(self, text: str) -> bool:
        """Whether a text chooses the right option."""
        return self.option is not None and read_choice(text, self.choices, self.question) == self.option


def may_be_codes(left: str, right: str) -> bool:
    """Whether two numbers that differ by zeros may be two codes: ICD's 250.10 is not its 250.1."""
    if left == right or FRACTION.fullmatch(left) or FRACTION.fullmatch(right):
        return False
    return ("." in left and "." in right) or bool(LONG_CODE.fullmatch(left) or LONG_CODE.fullmatch(right))


def equal(candidate: str, reference: Reference) -> bool:
    """Whether a candidate clearly equals the reference answer.

    Args:
        candidate: The content of the answer block.
        reference: The right answer, its synonyms, and the options of a multiple-choice question.

    Returns:
        True for equality with the answer, a synonym, or the right option by its label, its text or both; and for a
        plain yes or no if that is the answer.
    """
    if len(candidate) > MAX_CHARS:
        return False
    right = known(reference)
    if right.option is not None:
        chosen = read_choice(candidate, right.choices, right.question)
        if chosen is not None and (reference.label is not None or chosen == right.option):
            return chosen == right.option
    says_so = right.yes is not None and read_yes_no(candidate, right.question) is right.yes
    if says_so or right.has(candidate):
        return True
    text = unwrap(candidate)
    return text != candidate and right.has(text)


def known(reference: Reference) -> Known:
    """Parse the texts of a reference; cached, because the answers of a group share one reference."""
    options = tuple(reference.options or ())
    return read(reference.answer, tuple(reference.synonyms), options, reference.label, reference.question)


# One entry per option of a row: the semantic term checks whether an answer is another option.
@lru_cache(maxsize=4096)
def read(
    answer: str, synonyms: tuple[str, ...], options: tuple[str, ...], label: str | None, question: str | None
) -> Known:
    """`known` for the parts of a reference."""
    choices = Choices.of(options)
    option = labelled(label, choices) if label else meant(answer, choices, question)
    texts = (answer, *synonyms, *([] if option is None else [choices.texts[option]]))
    forms = frozenset(map(normalise, texts)) - {""}
    short = [form for form in forms if len(form) <= MAX_VARIANT_CHARS]
    quantities = {form: read_quantity(form) for form in forms}
    is_code = bool(CODE_ASKED.search((question or "").casefold()))
    said = {read_yes_no(text, question) for text in texts if len(text) <= MAX_VARIANT_CHARS}
    return Known(
        texts=texts,
        forms=forms,
        variants=frozenset(variant for form in short for variant in readings(form)),
        longest=max(map(len, forms), default=0),
        lists=frozenset(map(items, short)) - {()},
        quantities=() if is_code else tuple((form, item) for form, item in quantities.items() if item is not None),
        choices=choices,
        option=option,
        yes=next(iter(said - {None}), None) if len(said - {None}) == 1 else None,
        question=question,
    )


def right_texts(reference: Reference) -> tuple[str, ...]:
    """Every accepted text: the answer, the synonyms, and the text of the right option."""
    return known(reference).texts


def meaning(reference: Reference) -> str:
    """The reference's answer in words: the text of the right option, because the answer may be only its letter."""
    right = known(reference)
    if right.option is None:
        return reference.answer
    text = right.choices.texts[right.option]
    return reference.answer if normalise(text).endswith(normalise(reference.answer)) else text


def labelled(label: str, choices: Choices) -> int | None:
    """Index of the option with a label; None if the options have no labels."""
    index = index_of_label(label)
    return index if index is not None and index < len(choices.texts) else None


def meant(answer: str, choices: Choices, question: str | None) -> int | None:
    """Index of the option that an answer means; None when none or more than one is meant."""
    form = normalise(answer)
    by_text = [index for index, text in enumerate(choices.texts) if same_text(form, normalise(text))]
    if by_text:
        return by_text[0] if len(by_text) == 1 else None
    letter = index_of_label(answer)
    if letter is not None:
        return letter if letter < len(choices.texts) and not choices.are_letters else None
    return read_choice(answer, choices, question)


def same_text(left: str, right: str) -> bool:
    """Equal when normalised, or the same quantity; a text that is empty when normalised equals nothing."""
    if not left or left == right:
        return bool(left)
    first, second = read_quantity(left), read_quantity(right)
    return first is not None and second is not None and same_quantity(first, second)

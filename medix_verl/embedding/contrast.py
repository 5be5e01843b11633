# SPDX-License-Identifier: Apache-2.0
"""Finds contradictions between two answers that an encoder rates as similar: `contrast` returns the difference.

A sentence encoder places "stage II" close to "stage III", and "no effusion" close to "effusion". A few closed aspects
of such texts can be read without a model: a side, a number with its unit, a negation, a direction, a sequence, ...
Texts are read with the tables of `medix_verl.embedding.opposites` (see `medix_verl.embedding.statements`).

Two texts can contradict each other only in an aspect that both mention: "pneumonia" is less specific than
"left pneumonia", not its opposite. A negation is compared with what the other text affirms. Parts of a longer answer
about another subject ("consolidation, no effusion") are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medix_verl.embedding.amounts import Amount, differing
from medix_verl.embedding.opposites import STRICT
from medix_verl.embedding.phrases import NEGATIVE_PREFIXES, OPPOSITE_PREFIXES
from medix_verl.embedding.statements import Part, Statement, read

__all__ = ["aspects", "contrast"]

MAX_REFERENCE = 400
"""Characters; a longer reference makes several statements, so a value of one does not contradict a value of another."""
FEWEST_LETTERS = 4
"""Minimum letters after a prefix: "ab|normal" and "normal" are opposites, "an|d" and "d" are not."""
OR = re.compile(r"\bor\b", re.IGNORECASE)
"""A question that offers two answers."""
SETS = tuple(frozenset(line.split()) for line in OPPOSITE_PREFIXES)
PREFIXES = frozenset().union(*SETS)
LONGEST_PREFIX = max(len(prefix) for line in SETS for prefix in line)


def aspects(text: str) -> Mapping[str, frozenset[str]]:
    """The values of each aspect in a text.

    Args:
        text: An answer or a reference.

    Returns:
        Aspect -> values, such as `{"side": {"left"}, "number": {"20 length [mm]"}}`; aspects that the text does not
        mention are left out. Denied values are under `not ASPECT`.
    """
    whole = join(read(text).parts)
    found: dict[str, set[str]] = {aspect: set(values) for aspect, values in whole.values.items()}
    found |= {**{f"not {aspect}": values for aspect, values in whole.denied.items()}}
    found |= {"number": {str(amount) for amount in whole.amounts}, "negation": set(whole.negated)}
    return {aspect: frozenset(values) for aspect, values in found.items() if values}


def contrast(candidate: str, reference: str, question: str | None = None, tolerance: float = 0.0) -> str | None:
    """Return an aspect in which two texts contradict each other.

    Args:
        candidate: The answer.
        reference: The right answer, in words.
        question: The question; needed to interpret a reference "yes" or "no".
        tolerance: Accepted relative error of a quantity.

    Returns:
        `ASPECT: CANDIDATE'S, reference REFERENCE'S`, or None if no contradiction was found.
    """
    if len(reference) > MAX_REFERENCE:
        return None
    left, right = read(candidate), read(reference)
    if right.is_bare or left.is_bare:
        found = polar(left, right, read(question or ""))
        if found is not None:
            return found
        if right.is_bare and right.polarity == "yes" and question and not OR.search(question):
            return affirmed(left, read(question))
    return compare(left, right, tolerance)


def compare(candidate: Statement, reference: Statement, tolerance: float = 0.0) -> str | None:
    """`contrast` of two statements."""
    one, other = join(about(candidate, reference)), join(about(reference, candidate))
    return (
        differing_values(one, other)
        or denied(one, other)
        or differing_amounts(one.amounts, other.amounts, tolerance)
        or opposite_words(one, other)
    )


def polar(candidate: Statement, reference: Statement, question: Statement) -> str | None:
    """The contrast of two answers to a yes/no question, at least one of which is only yes or no."""
    said, right = candidate.polarity, reference.polarity
    if not candidate.leads and candidate.parts and not candidate.is_bare:
        said = answer_in(candidate, question)
    if not reference.leads and not reference.is_bare:
        right = answer_in(reference, question)
    tells = (candidate.leads and reference.leads) or not question.is_negative
    return f"negation: {said}, reference {right}" if tells and said and right and said != right else None


def answer_in(statement: Statement, question: Statement) -> str | None:
    """A statement's answer to a yes/no question; None if it cannot be determined."""
    asked, whole = join(question.parts), join(statement.parts)
    if not asked.heads:
        return None
    if asked.heads & whole.negated:
        return "no"
    affirms = asked.heads & whole.words and not whole.negated and not whole.values.get("normality")
    return "yes" if affirms and differing_values(whole, asked) is None else None


def affirmed(candidate: Statement, question: Statement) -> str | None:
    """The contrast to a "yes": for "Is the heart enlarged?" it means that the heart is enlarged."""
    one, other = join(about(candidate, question)), join(about(question, candidate))
    return differing_values(one, other) or denied(one, other)


def about(statement: Statement, other: Statement) -> Sequence[Part]:
    """The parts of a statement that share a word with the other statement; all parts if none does."""
    if len(statement.parts) < 2:
        return statement.parts
    known = set().union(*(part.words | part.negated for part in other.parts))
    shared = [bool((part.words | part.negated) & known) for part in statement.parts]
    if not any(shared):
        return statement.parts
    return [part for part, own in zip(statement.parts, shared, strict=True) if own or not part.subjects]


def join(parts: Sequence[Part]) -> Part:
    """Merge parts into one."""
    if len(parts) == 1:
        return parts[0]
    whole = Part()
    for part in parts:
        for aspect, values in part.denied.items():
            whole.denied.setdefault(aspect, set()).update(values)
        for into, given in ((whole.values, part.values), (whole.beside, part.beside)):
            for aspect, sayings in given.items():
                for value, words in sayings.items():
                    into.setdefault(aspect, {}).setdefault(value, set()).update(words)
        whole.words |= part.words
        whole.firm |= part.firm
        whole.heads |= part.heads
        whole.negated |= part.negated
        whole.amounts += part.amounts
    return whole


def differing_values(one: Part, other: Part) -> str | None:
    """An aspect for which both parts have values of their own and none of these in common.

    A word that both texts contain is ignored: "short-segment megacolon" differs from "long-segment megacolon" although
    both are "mega". In STRICT aspects, one additional value is a difference.
    """
    pairs = [(aspect, sayings, other.values.get(aspect)) for aspect, sayings in one.values.items()]
    pairs += [(aspect, sayings, other.beside.get(aspect)) for aspect, sayings in one.beside.items()]
    for aspect, sayings, others in pairs:
        if not others or said_anywhere(one, aspect) == said_anywhere(other, aspect):
            continue
        mine, yours = alone(sayings, others), alone(others, sayings)
        strict = aspect in STRICT or aspect.endswith(" number")
        if (mine and yours and not mine & yours) or (strict and sayings.keys() != others.keys()):
            return f"{aspect}: {' and '.join(sorted(sayings))}, reference {' and '.join(sorted(others))}"
    return None


def said_anywhere(part: Part, aspect: str) -> set[str]:
    """The values of an aspect, including those in the scope of a negation."""
    return set(part.values.get(aspect, ())) | set(part.beside.get(aspect, ()))


def alone(sayings: Mapping[str, set[str]], others: Mapping[str, set[str]]) -> set[str]:
    """The values for which a text has a word that the other text does not contain."""
    shared = set().union(*others.values())
    return {value for value, words in sayings.items() if words - shared}


def denied(one: Part, other: Part) -> str | None:
    """A value or word that one part denies and the other one affirms."""
    for mine, yours in ((one, other), (other, one)):
        for aspect, values in mine.denied.items():
            hit = (values & yours.values.get(aspect, {}).keys()) - yours.denied.get(aspect, set())
            if hit and not yours.is_lack:
                return f"negation: {aspect} {' and '.join(sorted(hit))}"
        hit = (mine.negated & yours.firm) - yours.negated
        if hit:
            return f"negation: {' and '.join(sorted(hit))}"
    return None


def differing_amounts(one: Sequence[Amount], other: Sequence[Amount], tolerance: float) -> str | None:
    """Numbers that differ; None unless each part has a number that the other does not contain."""
    mine, yours = differing(one, other, tolerance)
    if mine and yours:
        return f"number: {', '.join(map(str, mine))}, reference {', '.join(map(str, yours))}"
    return None


def opposite_words(one: Part, other: Part) -> str | None:
    """Two words, each in one text only, that are opposites by their prefixes."""
    mine, yours = one.words - other.words - one.negated, other.words - one.words - other.negated
    rests: dict[str, list[tuple[str, str]]] = {}
    for word in sorted(yours):
        for prefix in prefixes_of(word):
            rests.setdefault(word[len(prefix) :], []).append((word, prefix))
    for word in sorted(mine):
        for prefix in prefixes_of(word):
            for other_word, there in rests.get(word[len(prefix) :], ()):
                if there != prefix and any(prefix in line and there in line for line in SETS):
                    return f"word: {word}, reference {other_word}"
    return with_and_without(mine, yours) or with_and_without(yours, mine)


def with_and_without(longer: set[str], shorter: set[str]) -> str | None:
    """A word with a negating prefix in one text, and the same word without it in the other."""
    for word in sorted(longer):
        for prefix in NEGATIVE_PREFIXES:
            rest = word[len(prefix) :]
            # "sub-macular" is "submacular", not its opposite.
            if len(rest) >= FEWEST_LETTERS and word.startswith(prefix) and rest in shorter and prefix not in shorter:
                return f"word: {word} and {rest}"
    return None


def prefixes_of(word: str) -> list[str]:
    """The prefixes of OPPOSITE_PREFIXES that a word begins with, if enough letters follow."""
    return [
        prefix
        for prefix in {word[:size] for size in range(2, LONGEST_PREFIX + 1)} & PREFIXES
        if len(word) - len(prefix) >= FEWEST_LETTERS or word == prefix
    ]

# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF001 - signs of other scripts are what is folded
"""Splits a text into normalised words and marks, and looks them up in the tables.

`medix_verl.judge.rule.normalise` folds case and drops what has no meaning when two whole texts are compared. Here
single words are looked up: plurals and spellings are folded too, and case is kept where a unit needs it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from medix_verl.embedding.opposites import EXCEPT, OPPOSITES
from medix_verl.embedding.phrases import COMPARISONS, COMPARISONS_AFTER, NEGATIONS, NEUTRAL

__all__ = ["ENDS", "Found", "Word", "entries", "fold", "look_up", "stem", "tokens", "words_of"]

TOKEN = re.compile(
    r"[\u3400-\u9fff]|[0-9]+(?:[.,][0-9]+)*|\.[0-9]+|[A-Za-z]+[0-9]+(?:\.[0-9]+)?"
    r"|[^\W\d_\u3400-\u9fff]+(?:'[^\W\d_]+)?|\n|[^\w\s]"
)
SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
SUPERSCRIPT_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
SIGNS = str.maketrans(
    {**dict.fromkeys("‐‑‒–—−", "-"), **dict.fromkeys("‘’′`", "'"), "⁄": "/", "⩽": "≤", "⩾": "≥", "×": "x"}
)
GREEK = str.maketrans({"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "κ": "kappa", "λ": "lambda"})
COMPOUND = re.compile(r"\b(antero|postero|supero|infero|dorso|ventro)-?(?=[a-z])", re.IGNORECASE)
ENDS = frozenset(".,;:()[]!?|\n")
"""Marks that end a part of a text."""
AFFIXED = 4
"""Minimum letters of a word that an entry with a `*` can match."""

Found = list[tuple[str, str]]
"""The values at a place: (aspect, value), or (name in brackets, kind) for an entry that is not a value."""


@dataclass(slots=True)
class Word:
    """One token of a text."""

    raw: str
    form: str
    """Lower case, American spelling, singular."""
    start: int
    end: int


def fold(text: str) -> str:
    """`folded`, with compounds such as "anterolateral" split in two."""
    return COMPOUND.sub(r"\1 ", folded(text))


def folded(text: str) -> str:
    """Fold width, signs and Greek letters; case is kept, because mM is not mm."""
    if text.isascii():
        return text.replace("`", "'").replace(">=", "≥").replace("<=", "≤")
    text = SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(SUPERSCRIPT_DIGITS), text)
    text = unicodedata.normalize("NFKC", text.translate(SIGNS).translate(GREEK))
    text = unicodedata.normalize("NFKD", text)
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Mn"))
    return text.translate(SIGNS).translate(GREEK).replace(">=", "≥").replace("<=", "≤")


def stem(word: str) -> str:
    """A word without its plural or possessive ending, in American spelling."""
    word = word.lower()
    if word.endswith("'s"):
        word = word[:-2]
    if len(word) > 4:
        word = word.replace("ae", "e").replace("oe", "e")
        if word.endswith("our"):
            word = word[:-3] + "or"
    if len(word) > 6 and word.endswith(("orly", "ally", "ely", "edly")):
        return word[:-2]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def tokens(text: str) -> list[Word]:
    """The words and marks of a folded text; a hyphen within a compound is dropped."""
    found = [
        Word(match[0], stem(match[0]) if match[0].isalpha() or "'" in match[0] else match[0].lower(), *match.span())
        for match in TOKEN.finditer(text)
    ]
    return [
        word
        for index, word in enumerate(found)
        if not (word.raw == "-" and 0 < index < len(found) - 1 and is_joint(found[index - 1], word, found[index + 1]))
    ]


def is_joint(before: Word, hyphen: Word, after: Word) -> bool:
    """Whether a hyphen joins two parts of a compound; a hyphen in a range of numbers does not."""
    tight = before.end == hyphen.start and hyphen.end == after.start
    numbers = before.raw[-1].isdigit() and after.raw[0].isdigit()
    return tight and before.raw[-1].isalnum() and after.raw[0].isalnum() and not numbers


def entries(line: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The entries of a table's line: their words, and where the `*` is (`end`, `begin` or empty)."""
    for entry in line.split(", "):
        star = "end" if entry.endswith("*") else "begin" if entry.startswith("*") else ""
        bare = entry.strip("*")
        yield (bare,) if star else tuple(word.form for word in tokens(fold(bare))), star


@dataclass(slots=True)
class Table:
    """Entries that are looked up at a place in a text."""

    phrases: dict[tuple[str, ...], Found] = field(default_factory=dict)
    begin: dict[str, Found] = field(default_factory=dict)
    end: dict[str, Found] = field(default_factory=dict)
    sizes_from: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """First word of an entry -> lengths of the entries that begin with it, longest first."""
    begin_sizes: tuple[int, ...] = ()
    end_sizes: tuple[int, ...] = ()

    def add(self, line: str, value: tuple[str, str]) -> None:
        """Add a line of a table."""
        for words, star in entries(line):
            if star == "end":
                self.begin.setdefault(words[0], []).append(value)
            elif star == "begin":
                self.end.setdefault(words[0], []).append(value)
            else:
                self.phrases.setdefault(words, []).append(value)

    def finish(self) -> Table:
        """Build the sorted indexes for lookups."""
        sizes: dict[str, set[int]] = {}
        for words in self.phrases:
            sizes.setdefault(words[0], set()).add(len(words))
        self.sizes_from = {word: tuple(sorted(found, reverse=True)) for word, found in sizes.items()}
        self.begin_sizes, self.end_sizes = (
            tuple(sorted({len(key) for key in keys}, reverse=True)) for keys in (self.begin, self.end)
        )
        return self

    def by_affix(self, form: str) -> Found:
        """The values of the longest entry with a `*` that matches a word."""
        for size in self.begin_sizes:
            if size <= len(form) and (hit := self.begin.get(form[:size])):
                return hit + self.by_ending(form)
        return self.by_ending(form)

    def by_ending(self, form: str) -> Found:
        """The values of the longest entry `*ending` that matches a word."""
        for size in self.end_sizes:
            if size < len(form) and (hit := self.end.get(form[-size:])):
                return hit
        return []


def make_table() -> Table:
    """All tables as one, so that the longest entry of any table is used."""
    table = Table()
    for aspect, values in OPPOSITES.items():
        for value, line in values.items():
            table.add(line, (aspect, value))
    for direction, line in NEGATIONS.items():
        table.add(line, ("(negation)", direction))
    for mark, line in COMPARISONS.items():
        table.add(line, ("(comparison)", mark))
    for mark, line in COMPARISONS_AFTER.items():
        table.add(line, ("(comparison after)", mark))
    table.add(NEUTRAL, ("(neutral)", ""))
    return table.finish()


def words_of(line: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(stem(word) for word in line.split(", "))


TABLE = make_table()
EXCEPTIONS = Table()
EXCEPTIONS.add(EXCEPT, ("", ""))
EXCEPTIONS.finish()


def look_up(words: Sequence[Word], place: int) -> tuple[int, Found]:
    """The longest entry at a place: its length in words and its values; (0, []) if there is none."""
    form = words[place].form
    for size in TABLE.sizes_from.get(form, ()):
        if size == 1:
            return 1, TABLE.phrases[(form,)] + by_affix(form)
        if place + size <= len(words):
            hit = TABLE.phrases.get(tuple(word.form for word in words[place : place + size]))
            if hit:
                return size, hit
    hit = by_affix(form)
    return (1, hit) if hit else (0, [])


def by_affix(form: str) -> Found:
    """The values of the entries with a `*` that match a word."""
    if len(form) < AFFIXED or (form,) in EXCEPTIONS.phrases or EXCEPTIONS.by_affix(form):
        return []
    return TABLE.by_affix(form)

# SPDX-License-Identifier: Apache-2.0
"""Reads a short medical text: its values for each aspect, its numbers, what it denies, and its subjects.

A text is cut into parts at punctuation and at words such as "with" and "but". In each part the longest matching entries
of the tables (`medix_verl.embedding.opposites`) are found. A negation applies up to the end of its part; the denied
word is the last one before a preposition: the effusion in "no large pleural effusion on the left". The words are read
in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

from medix_verl.embedding.amounts import NUMBER_WORDS, Amount, Item, Numbers
from medix_verl.embedding.opposites import COMPLEMENTS, LACK
from medix_verl.embedding.phrases import NO_HEADS, PLAIN_WORDS, POLAR, POLAR_DIRECT, PREPOSITIONS, SEPARATORS
from medix_verl.embedding.words import ENDS, Found, Word, entries, fold, look_up, tokens, words_of

__all__ = ["Part", "Statement", "read"]

MAX_CHARS = 2000
"""Characters read of a text; a sentence encoder reads no more."""
PLAIN, NEVER_HEADS = words_of(PLAIN_WORDS), words_of(NO_HEADS)
PREPOSITION_WORDS, BREAKS = words_of(PREPOSITIONS), words_of(SEPARATORS)
POLAR_PHRASES = {words: name for name, line in POLAR.items() for words, _ in entries(line)}
POLAR_SIZES = tuple(sorted({len(words) for words in POLAR_PHRASES}, reverse=True))
DIRECT = words_of(POLAR_DIRECT)
STRONG = frozenset({"yes", "no", "nope", "yep", "yeah"})
"""Words of DIRECT that no later word revokes."""
LETTERED = frozenset({"option", "choice", "answer", "answered", "correct"})
"""Words after which a letter is the label of an option."""


@dataclass(slots=True)
class Part:
    """The content of one part of a text."""

    values: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """Aspect -> each affirmed value -> the words for it."""
    denied: dict[str, set[str]] = field(default_factory=dict)
    """Aspect -> denied values."""
    beside: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """As `values`, for values in the scope of a negation that it does not deny: the side in "no left effusion"."""
    subjects: set[str] = field(default_factory=set)
    """Words that are in no table, and denied words."""
    words: set[str] = field(default_factory=set)
    """Words that are not denied, without endings."""
    firm: set[str] = field(default_factory=set)
    """Words of `words` whose absence the part does not state, as it does in "aplasia of the thumb"."""
    heads: set[str] = field(default_factory=set)
    """Words that a negation of the whole part would deny."""
    negated: set[str] = field(default_factory=set)
    """Denied words."""
    amounts: list[Amount] = field(default_factory=list)

    @property
    def is_lack(self) -> bool:
        """Whether the part states an absence without a negation."""
        return any(self.values.get(aspect, {}).keys() & values for aspect, values in LACK.items())


@dataclass(slots=True)
class Statement:
    """A text as read."""

    parts: tuple[Part, ...]
    polarity: str | None = None
    """`yes` or `no`, if the text is or begins with a word for one of them."""
    leads: bool = False
    """Whether it begins with yes or no itself."""
    is_bare: bool = False
    """Whether the text contains nothing else."""
    is_negative: bool = False
    """Whether it contains a negation, or a word for "absent" or "normal"; such a question reverses yes and no."""


def read(text: str) -> Statement:
    """Read a text; cached, because the answers of a group share one reference."""
    return remembered(text[:MAX_CHARS])


@lru_cache(maxsize=4096)
def remembered(text: str) -> Statement:
    """`read`, for a text of limited length."""
    clean = fold(text)[:MAX_CHARS]
    words = tokens(clean)
    parts = [part_of(items) for items in continued(list(segments(clean, words)))]
    parts = [part for part in parts if part.values or part.denied or part.words or part.negated or part.amounts]
    statement = Statement(tuple(parts))
    lead(statement, words)
    statement.is_negative = any(part.negated or part.denied or part.is_lack for part in parts) or any(
        {"normality"} & part.values.keys() for part in parts
    )
    return statement


def lead(statement: Statement, words: Sequence[Word]) -> None:
    """Set `polarity`, `is_bare` and `leads` of a statement."""
    said = [word for word in words if word.raw not in ENDS and word.raw not in "'\"*"]
    forms = tuple(word.form for word in said)
    for size in POLAR_SIZES:
        found = POLAR_PHRASES.get(forms[:size]) if len(forms) >= size else None
        if found is None:
            continue
        rest = [word for word in said[size:] if word.form not in PLAIN]
        after = words[words.index(said[size - 1]) + 1 :]
        if not rest:
            statement.polarity, statement.is_bare, statement.leads = found, True, forms[0] in DIRECT
        elif after and after[0].raw in ENDS and forms[0] in DIRECT:
            if forms[0] not in STRONG and POLAR_PHRASES.get((rest[0].form,), found) != found:
                return  # "Sure, no"
            statement.polarity, statement.leads = found, True
        return
    if forms in (("-",), ("0",)):
        statement.polarity, statement.is_bare, statement.leads = "no", True, True
    if forms == ("+",):
        statement.polarity, statement.is_bare, statement.leads = "yes", True, True


def segments(text: str, words: Sequence[Word]) -> Iterator[tuple[str, list[Item]]]:
    """Yield the parts of a text: the mark before each, and its items."""
    items: list[Item] = []
    mark, place, numbers = "", 0, Numbers(text, words)
    while place < len(words):
        word = words[place]
        size, found = look_up(words, place)
        if not found and (word.raw in ENDS or word.form in BREAKS or (word.raw in "-/" and is_spaced(text, word))):
            if items:
                yield mark, items
            items, mark, size = [], word.raw, 1
        else:
            size = add_items(items, numbers, place, size, found)
        place += size
    if items:
        yield mark, items


def add_items(items: list[Item], numbers: Numbers, place: int, size: int, found: Found) -> int:
    """Add the entry, number or unknown word at a place (or an entry and a number); returns the number of words used."""
    text, words, word = numbers.text, numbers.words, numbers.words[place]
    number = None
    if size < 2 and (not found or word.raw[-1].isdigit() or word.form in NUMBER_WORDS):
        number = numbers.at(place)
    if found:
        note_comparison(items, numbers, found[0])
        items.append(item_of(words[place : place + size], found))
    if number is not None:
        items += number[1]
        return max(number[0], size)
    if not found:
        items += plain_item(text, words, place)
    return max(size, 1)


def note_comparison(items: Sequence[Item], numbers: Numbers, found: tuple[str, str]) -> None:
    """Keep a comparison mark for the next number, or set it on the last one ("2 cm or more")."""
    if found[0] == "(comparison)":
        numbers.mark = found[1]
    if found[0] == "(comparison after)" and items and items[-1].amount is not None:
        items[-1].amount = replace(items[-1].amount, mark=found[1])


def is_spaced(text: str, word: Word) -> bool:
    """Whether there is a space on both sides of a mark."""
    return text[word.start - 1 : word.start].isspace() and text[word.end : word.end + 1].isspace()


def item_of(words: Sequence[Word], found: Sequence[tuple[str, str]]) -> Item:
    """An entry of the tables as an item."""
    form = " ".join(word.form for word in words)
    values = tuple(value for value in found if not value[0].startswith("("))
    directions = [value[1] for value in found if value[0] == "(negation)"]
    negation = "both" if len(directions) > 1 else directions[0] if directions else ""
    if form == "non":
        negation = "next"
    return Item(form, values, negation, plain=not values)


def plain_item(text: str, words: Sequence[Word], place: int) -> list[Item]:
    """A word or mark that is in no table, as one item or none."""
    word = words[place]
    before = words[place - 1] if place else None
    if word.raw in "+-":
        return sign_item(text, word, before)
    if word.raw == "/":
        return [Item("/", plain=True, joins=True)]
    if word.form.endswith("n't"):
        return [Item(word.form, negation="forward", plain=True)]
    if not any(char.isalnum() for char in word.raw):
        return []
    if len(word.form) == 1 and is_designator(text, word, before, place + 1 < len(words)):
        return [Item(word.form, (("letter", word.form),), plain=True)]
    joins = word.form in ("and", "or", "nor")
    return [Item(word.form, plain=word.form in PLAIN, preposition=word.form in PREPOSITION_WORDS, joins=joins)]


def sign_item(text: str, word: Word, before: Word | None) -> list[Item]:
    """A plus or minus after a name (HER2-), or a row of plus signs, which is a number: +++ is 3+."""
    follows = text[word.end : word.end + 1].isalnum()
    if before is not None and before.raw == "+" == word.raw and before.end == word.start:
        return []
    if word.raw == "+":
        row = text[word.start : word.start + 9]
        count = len(row) - len(row.lstrip("+"))
        if count > 1 or before is None or (before.end < word.start and not follows):
            return [Item("+", (("result", "positive"),), plain=True, amount=Amount(Fraction(count), Fraction(count)))]
    if before is None or before.end < word.start or not before.raw[-1].isalnum() or follows:
        return []
    positive = word.raw == "+"
    said = (("result", "positive" if positive else "negative"),)
    return [Item(word.raw, said, "" if positive else "last", plain=True)]


def is_designator(text: str, word: Word, before: Word | None, followed: bool) -> bool:
    """Whether a single letter is a designator (hepatitis B, vitamin d, N-linked) and not an article."""
    if not word.form.isalpha():
        return False
    if followed and word.raw.isupper() and text[word.end : word.end + 1] == "-":
        return True
    if before is None or not before.raw.isalpha() or len(before.form) == 1:
        return False
    names = before.form not in PLAIN and before.form not in LETTERED
    return names and (word.raw.isupper() or word.form not in "ai")


def continued(parts: Sequence[tuple[str, list[Item]]]) -> list[list[Item]]:
    """Apply the negation of a list to its further members: "no consolidation, effusion or pneumothorax"."""
    closes = [False] * (len(parts) + 1)
    """For each part: whether it, or a later part of the same list, contains the "or" that ends the list."""
    for index in range(len(parts) - 1, -1, -1):
        mark, items = parts[index]
        later = closes[index + 1] and parts[index + 1][0] == ","
        closes[index] = any(item.form in ("or", "nor") for item in items) or later
    is_open = False
    for index, (mark, items) in enumerate(parts):
        own = any(item.negation for item in items)
        if is_open and mark == "," and not own and closes[index]:
            items.insert(0, Item("", (), "forward", plain=True))
        is_open = negation_open(items)
    return [items for _, items in parts]


def negation_open(items: Sequence[Item]) -> bool:
    """Whether the scope of a negation extends to the end of a part."""
    return any(item.negation in ("forward", "both") for item in items)


def part_of(items: Sequence[Item]) -> Part:
    """Build a part from its items."""
    part = Part()
    covered, spans = reach(items)
    part.heads = {form for form, _ in heads_of([item for item in items if not item.negation])}
    for index, item in enumerate(items):
        enter(part, item, index in covered)
    for span in spans:
        for form, values in heads_of([items[index] for index in span]):
            deny(part, form, values)
    part.firm = set() if part.is_lack else set(part.words)
    return part


def enter(part: Part, item: Item, covered: bool) -> None:
    """Add an item to its part; an item in the scope of a negation is not affirmed."""
    if item.amount is not None:
        part.amounts.append(item.amount)
    if not item.plain and not item.negation:
        if not covered:
            part.words.add(item.form)
        if not item.values:
            part.subjects.add(item.form)
    into = part.beside if covered else part.values
    for aspect, value in item.values:
        into.setdefault(aspect, {}).setdefault(value, set()).add(item.form)


def deny(part: Part, form: str, values: tuple[tuple[str, str], ...]) -> None:
    """Record what a negation denies; of two complementary values the other one is affirmed."""
    part.negated.add(form)
    for aspect, value in values:
        opposite = COMPLEMENTS.get(aspect, {}).get(value)
        if opposite is None:
            part.denied.setdefault(aspect, set()).add(value)
        else:
            part.values.setdefault(aspect, {}).setdefault(opposite, set()).add(f"not {form}")


def reach(items: Sequence[Item]) -> tuple[set[int], list[range]]:
    """The places in the scope of a part's negations, and the range of each; a scope ends at the next negation."""
    places = [index for index, item in enumerate(items) if item.negation]
    spans: list[range] = []
    for order, place in enumerate(places):
        before = range(places[order - 1] + 1 if order else 0, place)
        after = range(place + 1, places[order + 1] if order + 1 < len(places) else len(items))
        spans.append(span_of(items, place, before, after))
    return {index for span in spans for index in span}, spans


def span_of(items: Sequence[Item], place: int, before: range, after: range) -> range:
    """The scope of one negation, given the places before and after it."""
    item = items[place]
    if after and items[after[0]].form == "/":  # "absent/small": either of the two
        return range(0)
    if item.negation == "next":
        return after[:1]
    if item.negation == "last":
        return before[-1:]
    if item.negation == "both" and item.form == "negative" and has_subject(items, before):
        last = max(index for index in before if not items[index].plain)  # "HER2-negative breast cancer"
        return range(last, last + 1)
    if item.negation == "forward" or (item.negation == "both" and has_subject(items, after)):
        return after
    return before


def has_subject(items: Sequence[Item], places: range) -> bool:
    """Whether one of these places has a word that a negation can deny."""
    return any(not items[place].plain and items[place].form not in NEVER_HEADS for place in places)


def heads_of(items: Sequence[Item]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """The items that a negation denies: the last one before a preposition, and before each "or" and "and"."""
    heads: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    last: Item | None = None
    for item in items:
        if item.preposition and last is not None:
            break
        if item.joins and last is not None:
            heads.append((last.form, last.values))
            last = None
        elif not item.plain and item.form not in NEVER_HEADS:
            last = item
    if last is not None:
        heads.append((last.form, last.values))
    return heads

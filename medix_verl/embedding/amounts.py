# SPDX-License-Identifier: Apache-2.0
"""Reads the numbers and codes in a text (amounts with unit and mark, L4-5, IIIB, 3rd) and compares them.

`medix_verl.judge.rule.quantity` reads a text only if the whole of it is one quantity, because equality must be certain.
Here a number is surrounded by words, and the question is the opposite: whether two numbers must differ. So "65" and
"65 mmHg" do not differ, nor "55 %" and "0.55", nor "4 weeks" and "1 month"; "5" and "< 5" do. A unit comes from the
rule judge's table, or is compared by its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from medix_verl.embedding.phrases import LABELS, UNITS_ABROAD
from medix_verl.embedding.words import ENDS, Word, words_of
from medix_verl.judge.rule.quantity import WORDS, read_quantity

__all__ = ["NUMBER_WORDS", "Amount", "Item", "Numbers", "differing"]

NUMERALS = "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii xviii xix xx"
ROMAN = {numeral: number for number, numeral in enumerate(NUMERALS.split(), start=1)}
ALONE = frozenset({"ii", "iii", "vi", "vii", "viii", "ix", "xi", "xii", "xiii", "xiv"})
"""Numerals that need no word such as "stage" before them; IV alone is usually intravenous, and I a pronoun."""
PLAIN_NUMBER = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?")
NUMERAL = re.compile(r"([ivx]{1,5})([a-d])?")
NUMBER_WORDS = {word: number for number, word in enumerate(WORDS)}
FIRST_TO_LAST = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
ORDINALS = {word: number for number, word in enumerate(FIRST_TO_LAST.split(), start=1)}
REGIONS = {"c": "cervical", "l": "lumbar", "s": "sacral"}
"""Spine regions by the letter of a vertebra; T is left out: it is more often a sequence or a tumor stage."""
DIGIT_NOUNS = frozenset({"finger", "toe", "digit"})
LABEL_WORDS = words_of(LABELS)
ABROAD = frozenset(UNITS_ABROAD.split(", "))
TABLED = frozenset(unit for unit in ABROAD if unit.islower())
"""Units of ABROAD that may also be in the rule judge's table; the others differ from its units by case."""
LONGEST_UNIT = 5
"""Largest number of words tried as a unit after a number: "millimeters of mercury", "x 3 x 4 cm"."""


EXACT = Fraction(1, 10**6)
MOST = 40
"""A text with more numbers is treated as a table and not compared."""
MONTH_MS = Fraction(3044, 100) * 86_400_000
SUBSTANCE = frozenset({"mass [mg]", "amount [mmol]", "equivalents [mEq]", "international units [IU]"})
POWER = "power of ten"
"""Dimension of 150 x 10^9 and 150K, whose unit is elsewhere in the text; comparable only with each other."""
MONOVALENT = {"amount [mmol]", "equivalents [mEq]"}
"""Units with the same number for monovalent ions, which most electrolytes are."""
ROUGH = Fraction(1, 10)
"""Tolerance between days and calendar months, which have no fixed length."""


@dataclass(frozen=True, slots=True)
class Amount:
    """One number in a text."""

    number: Fraction
    """The number as written."""
    value: Fraction
    """The number in the base unit of its dimension."""
    dimension: str | None = None
    """None for a number without a unit."""
    mark: str = ""
    """One of < > ≤ ≥, or empty."""
    parts: tuple[Fraction, ...] = ()
    """The two numbers of a ratio such as 2:1 or 120/80; `value` is their quotient."""

    def __str__(self) -> str:
        written = ":".join(map(shown, self.parts)) if self.parts else shown(self.value)
        return f"{self.mark}{written}{f' {self.dimension}' if self.dimension else ''}"


@dataclass(slots=True)
class Item:
    """One or several tokens, as read."""

    form: str
    values: tuple[tuple[str, str], ...] = ()
    negation: str = ""
    """`forward`, `backward`, `both`, `next` (only the next item), `last` (only the previous item), or empty."""
    plain: bool = False
    """Has no content."""
    amount: Amount | None = None
    preposition: bool = False
    joins: bool = False


class Numbers:
    """Reads the numbers of one text, from first to last."""

    def __init__(self, text: str, words: Sequence[Word]) -> None:
        self.text = text
        self.words = words
        self.mark = ""
        """The last comparison mark read, for the number that follows."""
        self.label_until = -1
        """Last place at which a Roman numeral needs no word before it."""

    def at(self, place: int) -> tuple[int, list[Item]] | None:
        """The number or code at a place: the number of words used and the items; None if there is none."""
        word = self.words[place]
        if word.form in LABEL_WORDS:
            self.label_until = place + 1
        if word.raw[0].isalpha() and word.raw[-1].isdigit():
            return self.code(place)
        roman = self.roman(place)
        if roman is not None:
            return roman
        if word.form in ORDINALS and not self.is_unit(place):
            return self.ordinal(place, Fraction(ORDINALS[word.form]), 1)
        if word.raw[0].isdigit() or (word.raw[0] == "." and len(word.raw) > 1) or word.form in NUMBER_WORDS:
            return self.number(place)
        return None

    def is_unit(self, place: int) -> bool:
        """Whether "second" is a unit of time here."""
        return place > 0 and self.words[place - 1].raw[0].isdigit()

    def code(self, place: int) -> tuple[int, list[Item]]:
        """Read a code such as L4, T2, CD20, and L4-5 or L4/5: its letters are an aspect, its number a value."""
        word = self.words[place]
        letters = word.form.rstrip("0123456789.")
        values = [("spine", REGIONS[letters])] if letters in REGIONS else []
        values.append((f"{letters} number", word.form[len(letters) :].replace(".", "").lstrip("0") or "0"))
        used = 1
        while self.follows(place + used):
            values.append((f"{letters} number", self.words[place + used + 1].raw))
            used += 2
        return used, [Item(word.form, tuple(values))]

    def follows(self, place: int) -> bool:
        """Whether "-5", "/5" or ",5" is at a place."""
        return (
            place + 1 < len(self.words)
            and self.words[place].raw in "-/,"
            and self.words[place + 1].raw.isdigit()
            and self.words[place].end == self.words[place + 1].start
        )

    def roman(self, place: int) -> tuple[int, list[Item]] | None:
        """Read a Roman numeral, with an optional letter: III, IIIB."""
        word = self.words[place]
        match = NUMERAL.fullmatch(word.form)
        if match is None or match[1] not in ROMAN:
            return None
        labelled = place <= self.label_until
        if not labelled and not (match[1] in ALONE and word.raw[: len(match[1])].isupper()):
            return None
        separated = place + 2 < len(self.words) and self.words[place + 1].form in ("-", "/", "and", "or", "to")
        self.label_until = place + 2 if separated else -1
        number = Fraction(ROMAN[match[1]])
        return 1, [self.item(number), *self.sub(str(ROMAN[match[1]]), match[2])]

    def sub(self, number: str, letter: str | None) -> list[Item]:
        """The letter of stage 3b; it is compared only with another letter of the same number."""
        return [Item(letter, ((f"letter after {number}", letter),), plain=True)] if letter else []

    def ordinal(self, place: int, number: Fraction, used: int) -> tuple[int, list[Item]]:
        """Read an ordinal; for a finger or toe it is the aspect `digit`, for which there are also names."""
        noun = self.words[place + used].form if place + used < len(self.words) else ""
        if noun in DIGIT_NOUNS and 1 <= number <= 5:
            limb = {"finger": "upper", "toe": "lower"}.get(noun)
            values = [("digit", str(number))] + ([("limb", limb)] if limb else [])
            return used + 1, [Item(noun, tuple(values))]
        return used, [self.item(number)]

    def item(self, number: Fraction, value: Fraction | None = None, dimension: str | None = None) -> Item:
        """An amount, with the preceding comparison mark."""
        mark, self.mark = self.mark, ""
        return Item("", amount=Amount(number, number if value is None else value, dimension, mark), plain=True)

    def number(self, place: int) -> tuple[int, list[Item]] | None:
        """Read a number, with its sign, unit, exponent, second number of a ratio, or letter."""
        words, word = self.words, self.words[place]
        number = value_of(word)
        if number is None:
            return None
        if self.is_negative(place):
            number = -number
        if place + 1 == len(words):
            return 1, [self.item(number)]
        after = words[place + 1]
        if after.start == word.end and after.form in ("st", "nd", "rd", "th"):
            return self.ordinal(place, number, 2)
        size, value = self.power(place, number)
        if size:
            return size, [Item("", amount=Amount(number, value, POWER), plain=True)]
        size, unit = self.unit(place)
        if unit is not None:
            sign = -1 if number < 0 else 1
            return size, [self.item(number if len(unit[0]) == 1 else value, sign * value, unit[1]) for value in unit[0]]
        return self.without_unit(place, number, after)

    def power(self, place: int, number: Fraction) -> tuple[int, Fraction]:
        """Read a number with a power of ten, 150 x 10^9 or 150K: words used and value; (0, _) for other numbers."""
        raws = [word.raw for word in self.words[place + 1 : place + 5]]
        if raws[:1] in (["k"], ["K"]) and self.words[place + 1].start == self.words[place].end:
            return 2, number * 1000
        exponent = raws[3] if len(raws) == 4 and raws[3].isdigit() and len(raws[3]) < 3 else ""
        if exponent and raws[0] in "x\u00d7*" and raws[1:3] == ["10", "^"]:
            return 5, number * 10 ** int(exponent)
        return 0, number

    def is_negative(self, place: int) -> bool:
        """Whether the "-" before a number is a minus sign and not part of a range: "-100", not "3-5" or "L4 -5"."""
        words = self.words
        if not place or words[place - 1].raw != "-" or words[place - 1].end != words[place].start:
            return False
        beside = words[place - 2] if place > 1 else None
        return beside is None or (beside.end < words[place - 1].start and not beside.raw[-1].isdigit())

    def without_unit(self, place: int, number: Fraction, after: Word) -> tuple[int, list[Item]]:
        """Read a number without a unit and its suffix: 10^9, 2:1, 3b, 3+, 5 fingers."""
        second = self.words[place + 2].raw if place + 2 < len(self.words) else ""
        if after.raw == "^" and second.isdigit() and len(second) < 3:
            return 3, [self.item(number ** int(second))]
        if after.raw in ":/\u2044" and second[:1].isdigit():
            return self.ratio(place, number, self.words[place + 2])
        if after.form == "in" and second.isdigit() and number == 1:
            return self.ratio(place, number, self.words[place + 2])
        if after.start == self.words[place].end and after.form in ("+", *"abcd"):
            return 2, [self.item(number), *self.sub(str(number), after.form if after.form != "+" else None)]
        if after.form in DIGIT_NOUNS and number.denominator == 1 and after.form == after.raw.lower():
            return self.ordinal(place, number, 1)
        return 1, [self.item(number)]

    def ratio(self, place: int, number: Fraction, other: Word) -> tuple[int, list[Item]]:
        """Read 2:1 or 120/80; three numbers are a date."""
        end = place + 3
        second = value_of(other)
        dated = end < len(self.words) and self.words[end].raw in "/:" and end + 1 < len(self.words)
        if second is None or second == 0 or dated:
            return 1, [self.item(number)]
        mark, self.mark = self.mark, ""
        return 3, [Item("", amount=Amount(number, number / second, None, mark, (number, second)), plain=True)]

    def unit(self, place: int) -> tuple[int, tuple[tuple[Fraction, ...], str | None] | None]:
        """Read the number at a place with its unit: words used, and values with dimension."""
        words, start = self.words, self.words[place].start
        if words[place + 1].raw in ABROAD - TABLED:  # mM, M and D differ from mm, metre and day only by case
            return self.unit_abroad(place)
        last = min(len(words), place + 1 + LONGEST_UNIT + 2)
        for end in range(last, place + 1, -1):
            if words[end - 1].form in ENDS or words[end - 1].form == "in":
                continue
            piece = self.text[start : words[end - 1].end]
            if len(piece) > 40:
                continue
            quantity = read_quantity(piece)
            if quantity is not None and (quantity.dimension is not None or len(quantity.values) > 1):
                if end < len(words) and words[end].raw == "/" and end + 1 < len(words) and words[end + 1].raw.isalpha():
                    rate = self.text[words[place + 1].start : words[end + 1].end].lower()
                    return end + 2 - place, ((value_of(words[place]) or Fraction(0),), rate)
                return end - place, (quantity.values, quantity.dimension)
        return self.unit_abroad(place)

    def unit_abroad(self, place: int) -> tuple[int, tuple[tuple[Fraction, ...], str | None] | None]:
        """Read a unit that is not in the table, or take the unit from the upper end of a range."""
        words, number = self.words, value_of(self.words[place]) or Fraction(0)
        after = words[place + 1]
        if after.raw == "°" and place + 2 < len(words) and words[place + 2].raw in "Ff":
            return 3, ((number,), "°f")
        if after.raw in ABROAD or (after.form in ABROAD and len(after.form) > 1):
            end = place + 2
            if end + 1 < len(words) and words[end].raw == "/" and words[end + 1].raw.isalpha():
                end += 2
            written = self.text[after.start : words[end - 1].end]
            return end - place, ((number,), written if after.raw in ABROAD - TABLED else written.lower())
        if after.form in ("-", "to") and place + 2 < len(words) and words[place + 2].raw[0].isdigit():
            end, other = self.unit(place + 2) if place + 3 < len(words) else (0, None)
            if other is not None and len(other[0]) == 1 and value_of(words[place + 2]):
                size = other[0][0] / (value_of(words[place + 2]) or 1)
                return 1, ((number * size,), other[1])
        return 1, None


def value_of(word: Word) -> Fraction | None:
    """The number that a word stands for; None if it is not a number."""
    if word.form in NUMBER_WORDS:
        return Fraction(NUMBER_WORDS[word.form])
    if not (word.raw[0].isdigit() or word.raw[0] == "."):
        return None
    if PLAIN_NUMBER.fullmatch(word.raw):  # also 03, which the rule judge reads as a code
        return Fraction(word.raw)
    quantity = read_quantity(word.raw)
    return quantity.values[0] if quantity is not None and len(quantity.values) == 1 else None


def shown(value: Fraction) -> str:
    """A number as text for people."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"


def differing(
    one: Sequence[Amount], other: Sequence[Amount], tolerance: float = 0.0
) -> tuple[list[Amount], list[Amount]]:
    """The amounts of each side that the other side does not contain."""
    one, other = list(dict.fromkeys(one)), list(dict.fromkeys(other))
    if max(len(one), len(other)) > MOST:
        return [], []
    share = max(EXACT, Fraction(str(tolerance)))
    one, other = without_quotients(one, other, share), without_quotients(other, one, share)
    if not (any(amount.parts for amount in one) and any(amount.parts for amount in other)):
        one, other = taken_apart(one), taken_apart(other)
    mine = [amount for amount in one if not any(same(amount, there, share) for there in other)]
    yours = [amount for amount in other if not any(same(there, amount, share) for there in one)]
    return mine, yours


def without_quotients(amounts: Sequence[Amount], others: Sequence[Amount], share: Fraction) -> list[Amount]:
    """Drop ratios and single numbers that the other side has in the other form: 1/4 and 0.25."""
    return [amount for amount in amounts if not any(is_quotient(amount, other, share) for other in others)]


def is_quotient(one: Amount, other: Amount, share: Fraction) -> bool:
    """Whether one of two amounts is a ratio and the other its value, as a number or in percent."""
    if bool(one.parts) == bool(other.parts) or one.mark != other.mark:
        return False
    ratio, plain = (one, other) if one.parts else (other, one)
    hundredth = plain.number / 100 if plain.dimension == "share [%]" else plain.number
    return near(ratio.value, hundredth, share)


def taken_apart(amounts: Sequence[Amount]) -> list[Amount]:
    """Split ratios into their two numbers, for comparison with a side without ratios."""
    return [
        piece
        for amount in amounts
        for piece in ([Amount(part, part, None, amount.mark) for part in amount.parts] if amount.parts else [amount])
    ]


def same(one: Amount, other: Amount, share: Fraction) -> bool:
    """Whether two amounts may be equal."""
    if one.mark != other.mark or bool(one.parts) != bool(other.parts):
        return False
    if one.dimension == other.dimension:
        return near(one.value, other.value, share)
    names = {one.dimension, other.dimension}
    if (
        (POWER in names and len(names) > 1)
        or names == MONOVALENT
        or names == {f"{name}/volume [ml]" for name in MONOVALENT}
    ):
        return True
    if names == {"time [ms]", "calendar [month]"}:
        return near(milliseconds(one), milliseconds(other), ROUGH)
    if names == {"temperature [°C]", "°f"}:
        return near(celsius(one), celsius(other), share)
    if None not in names:
        return is_of_substance(names) and one.number != other.number
    if "share [%]" in names:
        whole, plain = (one, other) if one.dimension else (other, one)
        return near(whole.number, plain.number, share) or near(whole.value / 100, plain.number, share)
    return near(one.number, other.number, share)


def is_of_substance(names: set[str | None]) -> bool:
    """Whether the conversion between the units depends on the substance: 126 mg/dL of glucose is 7 mmol/L."""
    found = [str(name).partition("/") for name in names]
    known = all(head in SUBSTANCE or "[" not in head for head, _, _ in found)
    return known and len({rest for _, _, rest in found}) == 1


def milliseconds(amount: Amount) -> Fraction:
    """A duration in milliseconds."""
    return amount.value * MONTH_MS if amount.dimension == "calendar [month]" else amount.value


def celsius(amount: Amount) -> Fraction:
    """A temperature in degrees Celsius."""
    return (amount.value - 32) * 5 / 9 if amount.dimension == "°f" else amount.value


def near(one: Fraction, other: Fraction, share: Fraction) -> bool:
    """Whether two numbers are equal up to a relative error."""
    return abs(one - other) <= share * max(abs(one), abs(other))

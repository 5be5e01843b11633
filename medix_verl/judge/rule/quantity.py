# SPDX-License-Identifier: Apache-2.0
"""Parses numbers with units: `read_quantity` reads a text that is only a measured quantity or a count.

"3 cm" and "30 mm" are the same; "3" and "3 cm" are not, nor are "> 3 cm" and "3 cm". The result is None for a text with
anything else in it, with a unit that is not in the table, with leading zeros (00100 is a code), or with an ambiguous
comma ("3,5": a decimal comma or two numbers), because a partly parsed number must not be compared. Case counts if it
changes the unit: mM, D, G. Conversions are exact fractions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from medix_verl.judge.rule.normalise import normalise

__all__ = ["Quantity", "read_quantity", "same_quantity", "within_tolerance"]

EXACT = Fraction(1, 10**9)
MAX_CHARS = 120
"""Longer texts are not quantities; this also bounds the size of Python's integers."""

NUMBER_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty
"""
WORDS = NUMBER_WORDS.split()

UNITS: dict[str, tuple[str, Fraction]] = {}
"""Spelling -> (dimension, size in that dimension's base unit)."""


def add_units(dimension: str, table: dict[str, str]) -> None:
    """Add units of one dimension: size in the base unit -> spellings separated by commas."""
    for size, spellings in table.items():
        for spelling in spellings.split(", "):
            UNITS[spelling] = (dimension, Fraction(size))


add_units(
    "length [mm]",
    {
        "1/1000": "um, μm, micron, microns, micrometer, micrometers, micrometre, micrometres",
        "1": "mm, millimeter, millimeters, millimetre, millimetres",
        "10": "cm, centimeter, centimeters, centimetre, centimetres",
        "1000": "m, meter, meters, metre, metres",
        "25.4": "in, inch, inches",
    },
)
add_units(
    "mass [mg]",
    {
        "1/1000000000": "pg, picogram, picograms",
        "1/1000000": "ng, nanogram, nanograms",
        "1/1000": "ug, μg, mcg, microgram, micrograms",
        "1": "mg, milligram, milligrams",
        "1000": "g, gram, grams",
        "1000000": "kg, kilogram, kilograms",
        "453592.37": "lb, lbs, pound, pounds",
    },
)
add_units(
    "volume [ml]",
    {
        "1/1000": "ul, μl, microliter, microliters, microlitre, microlitres",
        "1": "ml, cc, milliliter, milliliters, millilitre, millilitres",
        "100": "dl, deciliter, deciliters, decilitre, decilitres",
        "1000": "l, liter, liters, litre, litres",
    },
)
add_units(
    "time [ms]",
    {
        "1": "ms, msec, millisecond, milliseconds",
        "1000": "s, sec, secs, second, seconds",
        "60000": "min, mins, minute, minutes",
        "3600000": "h, hr, hrs, hour, hours",
        "86400000": "d, day, days",
        "604800000": "wk, wks, week, weeks",
    },
)
# A month has no fixed number of days, so months and years are a separate dimension.
add_units(
    "calendar [month]",
    {"1": "mo, month, months, month old, months old", "12": "yr, yrs, year, years, year old, years old"},
)
add_units("share [%]", {"1": "%, percent, per cent"})
add_units(
    "pressure [mmHg]",
    {"1": "mmhg, mm hg, millimeter of mercury, millimeters of mercury, millimetres of mercury"},
)
add_units(
    "rate [1/min]", {"1": "bpm, /min, per min, per minute, beats/min, beats/minute, beats per min, beats per minute"}
)
add_units(
    "amount [mmol]",
    {
        "1/1000000000": "pmol",
        "1/1000000": "nmol",
        "1/1000": "umol, μmol, micromole, micromoles",
        "1": "mmol, millimole, millimoles",
        "1000": "mol, mole, moles",
    },
)
# The dimension name that unit_of builds for mmol/l.
add_units(
    "amount [mmol]/volume [ml]",
    {"1/1000000000": "nM", "1/1000000": "uM, \u00b5M, \u03bcM", "1/1000": "mM, millimolar", "1": "M, molar"},
)
add_units("magnetic field [mT]", {"1/10": "gauss", "1": "mt, millitesla", "1000": "T, tesla"})
add_units("equivalents [mEq]", {"1": "meq"})
add_units("international units [IU]", {"1": "iu"})
add_units("attenuation [HU]", {"1": "hu, hounsfield unit, hounsfield units"})
add_units("temperature [°C]", {"1": "°c, degree celsius, degrees celsius, degree c, degrees c"})

# A comma after a leading zero is a decimal comma; others separate thousands.
NUMBER = r"[+-]?(?:(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|0|[1-9][0-9]*)(?:\.[0-9]+)?|0,[0-9]+|\.[0-9]+)"
PART = re.compile(rf"(?P<number>{NUMBER}|{'|'.join(reversed(WORDS))})(?:[ -]?(?P<unit>[^\d\s.,+-][^\d]*))?")
TIMES = re.compile(r" ?(?:[x\u00d7*]|(?<= )by(?= )) ?(?=[+-]?[0-9.])")
COMPARATOR = re.compile(r"(?:[<>≤≥]|(?:less than|more than|greater than|at least|at most) )")
COMPARATOR_MARK = {"less than": "<", "more than": ">", "greater than": ">", "at least": "≥", "at most": "≤"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number, or the sides of a dimension such as 28 x 27 mm, in the base unit."""

    values: tuple[Fraction, ...]
    dimension: str | None
    """None for a plain count."""
    comparator: str = ""
    """One of < > ≤ ≥, or empty."""

    @property
    def is_count(self) -> bool:
        """Whether these are whole numbers without a unit, which have no measuring error."""
        return self.dimension is None and all(value.denominator == 1 for value in self.values)


def read_quantity(text: str) -> Quantity | None:
    """Read a text that is only a quantity, such as "3cm", "28 x 27 mm", "five", "> 6.5 %" or "1,200 ml".

    Args:
        text: The text, as written.

    Returns:
        The quantity, or None for any other text.
    """
    return None if len(text) > MAX_CHARS else read_form(normalise(text))


@lru_cache(maxsize=8192)
def read_form(text: str) -> Quantity | None:
    """`read_quantity` for a normalised text; cached, because the same forms are compared often."""
    mark = COMPARATOR.match(text)
    parts = [PART.fullmatch(part) for part in TIMES.split(text[mark.end() :].strip() if mark else text)]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    sides = read_sides([(part["number"], part["unit"]) for part in found])
    if sides is None:
        return None
    sign = mark[0].strip() if mark else ""
    return Quantity(sides[0], sides[1], COMPARATOR_MARK.get(sign, sign))


def read_sides(parts: list[tuple[str, str | None]]) -> tuple[tuple[Fraction, ...], str | None] | None:
    """Convert (number, unit) pairs to one base unit; a side without a unit takes the last side's."""
    last = parts[-1][1]
    values: list[Fraction] = []
    dimensions: set[str | None] = set()
    for number, unit in parts:
        found = unit_of(unit or last)
        if found is None:
            return None
        dimension, size = found
        values.append(count_of(number) * size)
        dimensions.add(dimension)
    return (tuple(values), dimensions.pop()) if len(dimensions) == 1 else None


def unit_of(spelling: str | None) -> tuple[str | None, Fraction] | None:
    """Dimension and size of a unit, or of units divided by each other (mg/dl, ml/kg/h); None for an unknown one."""
    if spelling is None:
        return None, Fraction(1)
    if spelling in UNITS:
        return UNITS[spelling]
    parts = [UNITS.get(part) for part in spelling.replace(" per ", "/").split("/")]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len(known) == 1:
        return None
    size = known[0][1]
    for _, divisor in known[1:]:
        size /= divisor
    return "/".join(dimension for dimension, _ in known), size


def count_of(number: str) -> Fraction:
    """A number, in digits or as a word."""
    if number in WORDS:
        return Fraction(WORDS.index(number))
    decimal = number.lstrip("+-").startswith("0,")
    return Fraction(number.replace(",", "." if decimal else ""))


def same_quantity(candidate: Quantity, reference: Quantity) -> bool:
    """Equal up to a relative 1e-9, in the same dimension, with the same comparison mark."""
    return close(candidate, reference, EXACT)


def within_tolerance(candidate: Quantity, reference: Quantity, tolerance: float) -> bool:
    """Equal up to the relative error `tolerance` of every side, bounds included."""
    return close(candidate, reference, Fraction(str(tolerance)))


def close(candidate: Quantity, reference: Quantity, share: Fraction) -> bool:
    """Compare side by side, in order."""
    if candidate.dimension != reference.dimension or candidate.comparator != reference.comparator:
        return False
    if len(candidate.values) != len(reference.values):
        return False
    pairs = zip(candidate.values, reference.values, strict=True)
    return all(abs(left - right) <= share * abs(right) for left, right in pairs)

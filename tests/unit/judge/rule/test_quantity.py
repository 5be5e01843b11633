# SPDX-License-Identifier: Apache-2.0
"""Quantities: what is read, what is left alone, and that conversion and tolerance are exact."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.judge.rule.normalise import CASED_UNITS
from medix_verl.judge.rule.quantity import UNITS, Quantity, read_quantity, same_quantity, within_tolerance


def read(text: str) -> Quantity:
    found = read_quantity(text)
    assert found is not None, text
    return found


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3cm", "30 mm"),
        ("0.3 m", "300 millimeters"),
        ("1 inch", "2.54 cm"),
        ("1 kg", "1,000 g"),
        ("50 mcg", "0.05 mg"),
        ("5 µm", "5 microns"),
        ("1 L", "10 dl"),
        ("90 min", "1.5 hours"),
        ("2 weeks", "14 days"),
        ("1 year", "twelve months"),
        ("80 mm Hg", "80 mmHg"),
        ("60 bpm", "60/min"),
        ("37 ℃", "37 degrees celsius"),
        ("-50 HU", "-50 Hounsfield units"),
        ("5 percent", "5%"),
        ("2.8 x 2.7 cm", "28 by 27 mm"),
        ("28mm×27mm", "28 x 27 mm"),
        ("less than 5 mm", "< 0.5 cm"),
        ("zero", "0"),
        ("+5", "5.0"),
        (".5 cm", "5 mm"),
        ("0,125 mg", "0.125 mg"),
        ("5 MM", "5 mm"),
        ("1 g/dL", "10 g/L"),
        ("126mg/dl", "126 mg/dL"),
        ("5 mg per kg", "5 mg/kg"),
        ("5 mM", "5 mmol/L"),
        ("3 T", "30,000 gauss"),
        ("4 ng/mL", "4 \u00b5g/L"),
    ],
)
def test_same(left: str, right: str) -> None:
    assert same_quantity(read(left), read(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3 cm", "3"),
        ("3", "3 cm"),
        ("3 cm", "3 g"),
        (">3 cm", "3 cm"),
        ("30 days", "1 month"),
        ("3 x 2", "2 x 3"),
        ("-5", "5"),
        ("0,125 mg", "125 mg"),
        ("5 mM", "5 mm"),
        ("2 M", "2 m"),
        ("70 kg", "70 lb"),
        ("0,500 mL", "500 mL"),
        ("126 mg/dL", "126 mmol/L"),
    ],
)
def test_not_the_same(left: str, right: str) -> None:
    assert not same_quantity(read(left), read(right))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cm",
        "5 nodules",
        "3-5 cm",
        "1:2",
        "12/80 mmHg",
        "T2",
        "3,5 cm",
        "1, 234",
        "2 x",
        "3 cm x 4 g",
        "1e9",
        "5+",
        "2 D",
        "two D",
        "18 G",
        "00100",
        "02,000 mg",
        "038.9",
        "5 mg/",
        "5 /kg",
        "9" * 500,
    ],
)
def test_not_a_quantity(text: str) -> None:
    assert read_quantity(text) is None


@given(st.sampled_from(sorted(UNITS)), st.integers(0, 10**6))
def test_every_unit_is_read_with_and_without_space(unit: str, count: int) -> None:
    dimension, size = UNITS[unit]
    # Alone in capitals M, D, G, H and S are other units.
    capitals = unit if unit in CASED_UNITS or unit.upper() in CASED_UNITS else unit.upper()
    for text in (f"{count} {unit}", f"{count}{unit}", f"{count} {capitals}"):
        assert read(text) == Quantity((count * size,), dimension)


@given(st.text(max_size=60))
def test_never_raises(text: str) -> None:
    read_quantity(text)


def test_tolerance_is_relative_and_includes_its_bound() -> None:
    assert within_tolerance(read("3.3 cm"), read("3 cm"), 0.1)
    assert within_tolerance(read("27 mm"), read("3 cm"), 0.1)
    assert not within_tolerance(read("3.3001 cm"), read("3 cm"), 0.1)
    assert within_tolerance(read("-5 HU"), read("-5.1 HU"), 0.05)
    assert not within_tolerance(read("1 HU"), read("0 HU"), 0.5)


def test_counts_are_told_from_measures() -> None:
    assert read("5").is_count
    assert not read("5 cm").is_count
    assert not read("5.5").is_count
    assert read("5.5").values == (Fraction(11, 2),)

# SPDX-License-Identifier: Apache-2.0
"""Curves: round axes, every value inside the picture, told apart without colour, bounded, and escaped."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.report.charts import POINTS, Panel, Series, draw, figure, short, ticks


def series(name: str, *values: float, marks: bool = False) -> Series:
    return Series(name, tuple((float(step), value) for step, value in enumerate(values, 1)), marks)


def drawn(panel: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(draw(panel))


def places(tree: ElementTree.Element, of: str) -> list[tuple[float, float]]:
    (path,) = (path for path in tree.iter("path") if path.get("class") == of)
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path.get("d") or "")]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_enclose_the_range_in_round_steps(one: float, other: float) -> None:
    low, high = sorted((one, other))
    marks = ticks(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert 2 <= len(marks) <= 7 and marks == sorted(set(marks))
    assert marks[0] <= low + slack and marks[-1] >= high - slack


def test_a_higher_value_is_drawn_higher_and_a_later_one_further_right() -> None:
    (x1, y1), (x2, y2), (x3, y3) = places(drawn(Panel("t", (series("a", 0.0, 0.5, 1.0),))), "s0")
    assert x1 < x2 < x3 and y1 > y2 > y3
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11) and y1 - y2 == pytest.approx(y2 - y3, abs=0.11)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30))
def test_every_value_is_inside_the_picture(values: list[float]) -> None:
    tree = drawn(Panel("t", (series("a", *values),), low=0.0))
    _, _, width, height = (float(part) for part in (tree.get("viewBox") or "").split())
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places(tree, "s0"))


def test_a_count_that_stays_0_has_no_negative_axis() -> None:
    texts = [text.text for text in drawn(Panel("t", (series("a", 0.0, 0.0),), low=0.0)).iter("text")]
    assert "0" in texts and "1" in texts and not any((text or "").startswith("-") for text in texts)


def test_many_steps_are_thinned_and_a_noisy_curve_has_its_mean() -> None:
    tree = drawn(Panel("t", (series("a", *(float(n % 2) for n in range(5 * POINTS))),)))
    assert len(places(tree, "s0 faint")) <= POINTS
    mean = [y for _, y in places(tree, "s0")]
    assert max(mean) - min(mean) < 40, "the mean of 0, 1, 0, 1 ... stays in the middle"
    assert "bold: mean of 31 points" in figure(Panel("t", (series("a", *(float(n % 2) for n in range(POINTS))),)))


def test_the_legend_says_first_and_last_and_what_is_not_drawn() -> None:
    text = figure(Panel("Title <b>", tuple(series(f"<{n}>", 0.25, 0.5) for n in range(8))))
    assert "&lt;0&gt; 0.25 → 0.5" in text and "2 more not drawn" in text and "<b>Title &lt;b&gt;</b>" in text
    assert text.count('<path class="s0"') == 2, "one in the picture, one in the legend"
    assert "No values in this run." in figure(Panel("t", (Series("a", ()),)))


def test_one_value_and_validations_are_marked() -> None:
    assert len(list(drawn(Panel("t", (series("a", 0.3),))).iter("circle"))) == 1
    assert len(list(drawn(Panel("t", (series("a", *[0.1] * 60, marks=True),))).iter("circle"))) == 60


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.1834, "0.183"), (12.0, "12"), (1234.5, "1,234"), (5e-5, "5e-5"), (-0.00025, "-2.5e-4"),
     (3.0e7, "3e7")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text

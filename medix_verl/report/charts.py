# SPDX-License-Identifier: Apache-2.0
"""Draws curves over training steps as inline SVG, without a library.

Series are distinguished by colour and dashes, and the legend has their first and last value as text. Long series are
reduced to a bounded number of points. A running mean is drawn over a noisy curve, and the legend says so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["STYLES", "Panel", "Series", "draw", "figure", "ticks"]

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 10, 24
POINTS = 600
"""Most points of a curve."""
NOISY = 40
"""A running mean is drawn for curves with more points than this."""
STYLES = 6
"""Most series of a panel that can be distinguished."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """One curve."""

    name: str
    points: tuple[tuple[float, float], ...]
    """(step, value), steps rising, values finite."""
    marks: bool = False
    """Whether each point is marked and no running mean is drawn: for validations."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart with several curves over the same steps."""

    title: str
    series: tuple[Series, ...]
    low: float | None = None
    """Upper limit of the axis's lower end; `high` is the lower limit of its upper end."""
    high: float | None = None
    note: str = ""


def draw(panel: Panel) -> str:
    """The chart as SVG, which scales to the width of its container."""
    series = panel.series[:STYLES]
    steps = [step for line in series for step, _ in line.points]
    values = [value for line in series for _, value in line.points]
    low = min([*values, *([] if panel.low is None else [panel.low])])
    high = max([*values, *([] if panel.high is None else [panel.high])])
    # A count that is always 0 gets an axis from 0 to 1, without negative values.
    marks = ticks(low, 1.0 if low == high == panel.low == 0 else high)
    low, high = min(low, marks[0]), max(high, marks[-1])
    span = (min(steps), max(steps))

    def x(step: float) -> float:
        share = (step - span[0]) / (span[1] - span[0]) if span[1] > span[0] else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>' for v in marks]
    parts += [f'<text x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{short(v)}</text>' for v in marks]
    for step in step_marks(*span):
        parts.append(f'<text x="{x(step):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{step:g}</text>')
    for place, line in enumerate(series):
        parts += curve(line, place, [(x(step), y(value)) for step, value in thin(line.points, POINTS)])
    label = escape(f"{panel.title}: " + "; ".join(describe(line) for line in series), quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def curve(line: Series, place: int, at: Points) -> list[str]:
    """The marks of one curve."""
    if line.marks or len(at) == 1:
        dots = [f'<circle class="s{place}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in at]
        return [f'<path class="s{place}" d="{path(at)}"/>', *dots]
    if len(at) <= NOISY:
        return [f'<path class="s{place}" d="{path(at)}"/>']
    means = running([y for _, y in at], width_of(len(at)))
    smooth = [(x, mean) for (x, _), mean in zip(at, means, strict=True)]
    return [f'<path class="s{place} faint" d="{path(at)}"/>', f'<path class="s{place}" d="{path(smooth)}"/>']


def figure(panel: Panel) -> str:
    """A panel with title and legend, as HTML; without any value, a note instead of the chart."""
    shown = tuple(line for line in panel.series if line.points)[:STYLES]
    left_out = sum(1 for line in panel.series if line.points) - len(shown)
    title = f"<figcaption><b>{escape(panel.title)}</b>"
    if not shown:
        return f'<figure>{title}</figcaption><p class="quiet">No values in this run.</p></figure>'
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 26 8" aria-hidden="true"><path class="s{place}" d="M1 4H25"/></svg>'
        f"{escape(describe(line))}</span>"
        for place, line in enumerate(shown)
    )
    noisy = any(len(line.points) > NOISY and not line.marks for line in shown)
    longest = max(min(len(line.points), POINTS) for line in shown)
    notes = [panel.note] if panel.note else []
    notes += [f"bold: mean of {width_of(longest)} points"] if noisy else []
    notes += [f"{left_out} more not drawn"] if left_out else []
    small = f"<small>{escape('; '.join(notes))}</small>" if notes else ""
    drawn = draw(Panel(panel.title, shown, panel.low, panel.high))
    return f"<figure>{title}{small}</figcaption>{drawn}<p class='keys'>{keys}</p></figure>"


def describe(line: Series) -> str:
    """A curve as text: its first and last value."""
    first, last = line.points[0][1], line.points[-1][1]
    return f"{line.name} {short(last)}" if len(line.points) == 1 else f"{line.name} {short(first)} → {short(last)}"


def path(at: Points) -> str:
    """The points as an SVG path."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)


def width_of(count: int) -> int:
    """Window of the running mean, for a curve of `count` points."""
    return max(5, count // 20) | 1


def running(values: Sequence[float], width: int) -> list[float]:
    """The running mean of values; the window is narrower at the ends."""
    half = width // 2
    return [statistics.fmean(values[max(0, n - half) : n + half + 1]) for n in range(len(values))]


def thin(points: Points, most: int) -> list[tuple[float, float]]:
    """Reduce points to at most `most`, by averaging neighbours."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // most)
    parts = [points[n : n + size] for n in range(0, len(points), size)]
    return [(statistics.fmean(s for s, _ in part), statistics.fmean(v for _, v in part)) for part in parts]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers that enclose a range.

    Example:
        >>> ticks(0.13, 0.88)
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if high - low <= 1e-12 * max(1.0, abs(high)):
        margin = abs(high) / 2 or 0.5
        low, high = low - margin, high + margin
    size = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10, 20) if (high - low) / (size * factor) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, last + 1)]


def step_marks(first: float, last: float) -> list[float]:
    """Integer step labels of the axis."""
    if last <= first:
        return [first]
    inner = [mark for mark in ticks(first, last) if first <= mark <= last and mark == int(mark)]
    return inner or [first, last]


def short(value: float) -> str:
    """A number in few characters."""
    size = abs(value)
    if size and (size < 0.001 or size >= 100_000):
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}"

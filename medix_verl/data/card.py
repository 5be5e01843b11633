# SPDX-License-Identifier: Apache-2.0
"""The card of a data set: one HTML file that says what is in a parquet file, what was dropped, and what leaks.

The file stands alone: pictures are inside it, nothing is fetched, no script runs (its own content policy forbids
both), and every text of a row is escaped. It grows with the number of modalities, not with the number of rows. The
report is the one that `medix-verl prepare` and `medix-verl check` write; what it does not say is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.card_counts import (
    ANSWER_CHARS,
    SIDES,
    RowCounts,
    count_rows,
    in_order,
    interval_names,
)
from medix_verl.data.checks import FLAGS
from medix_verl.runtime.files import write_text

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Chart", "render_card", "write_card"]

TEMPLATE = Path(__file__).parent / "templates" / "card.html.jinja"
BARS = 20
"""Bars of one chart; the rest are added up in the last."""
TEXT_CHARS = 600
"""Characters of a question or answer that are shown."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Counts to be drawn as bars."""

    title: str
    unit: str
    bars: tuple[tuple[str, int, float, float], ...]
    """Name, number, share of all in percent, and length of the bar in percent of the longest."""


def write_card(out: Path, parquet: Path, report: Mapping[str, Any]) -> None:
    """Write the card of a parquet file.

    Args:
        out: The HTML file, replaced only when the card is whole.
        parquet: The rows.
        report: What `prepare` or `check` said of them; an empty one is accepted.

    Raises:
        DataError: The parquet file or a row of it is not valid.
    """
    counts = count_rows(parquet, shown=not report.get("credentialed"))
    text = render_card(counts, report, parquet.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text, errors="replace")


def render_card(counts: RowCounts, report: Mapping[str, Any], name: str) -> str:
    """The card as HTML text.

    Args:
        counts: Of the rows.
        report: As for `write_card`.
        name: The parquet file's.
    """
    return load_template().render(
        name=name,
        report=report,
        counts=counts,
        facts=facts_of(counts, report),
        charts=charts_of(counts),
        reasons=sorted(dict(report.get("reasons") or {}).items(), key=lambda item: (-item[1], item[0])),
        # A reason's detail may quote the row.
        examples={} if report.get("credentialed") else dict(report.get("examples") or {}),
        flags=[(flag, FLAGS.get(flag, ""), rows) for flag, rows in dict(report.get("flags") or {}).items()],
        rows=counts.rows_to_show(),
        clip=clip,
    )


@cache
def load_template() -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def clip(text: str) -> str:
    """A text of bounded length that says when it is not the whole."""
    return text if len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]} … ({len(text):,} characters)"


def facts_of(counts: RowCounts, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The head of the card: name and value."""
    totals = counts.totals
    rows = dict(report.get("rows") or {})
    against = report.get("against") or ()
    facts = [
        ("Rows", f"{totals['rows']:,}"),
        ("Pictures", f"{totals['pictures']:,}" + distinct(totals)),
        ("Split", ", ".join(counts.splits)),
        ("Licence", "; ".join(f"{name} ({rows:,} rows)" for name, rows in counts.licences.most_common())),
        ("Multiple choice", f"{totals['multiple choice']:,} rows"),
        (
            "Read, refused, dropped",
            " / ".join(f"{rows[key]:,}" for key in ("read", "refused", "dropped") if key in rows),
        ),
        ("Checked against", ", ".join(map(str, against)) if against else "no evaluation file"),
        ("Unreadable pictures", f"{totals['unreadable pictures']:,}" if totals["unreadable pictures"] else ""),
    ]
    return [(name, value) for name, value in facts if value]


def distinct(totals: Counter[str]) -> str:
    return f" ({totals['distinct pictures']:,} distinct by the set's own names)" if totals["distinct pictures"] else ""


def charts_of(counts: RowCounts) -> list[Chart]:
    sizes = counts.sizes.most_common(8)
    return [
        chart
        for chart in (
            most_common("Source", "rows", counts.sources),
            most_common("Modality", "rows", counts.modalities),
            most_common("Answer type", "rows", counts.answer_types),
            chart_of("Answer length (characters)", "rows", in_order(counts.answer_chars, interval_names(ANSWER_CHARS))),
            most_common("Split", "rows", counts.splits),
            chart_of("Pictures a row", "rows", sorted(counts.pictures_a_row.items(), key=lambda item: int(item[0]))),
            chart_of("Longer side (pixels)", "pictures", in_order(counts.sides, interval_names(SIDES))),
            chart_of("Commonest sizes (width x height)", "pictures", sizes, sum(counts.sizes.values())),
        )
        if chart.bars
    ]


def most_common(title: str, unit: str, counted: Counter[str]) -> Chart:
    """A chart of the BARS largest, the rest in one bar."""
    pairs = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    rest = pairs[BARS:]
    if rest:
        pairs = [*pairs[:BARS], (f"{len(rest):,} others", sum(number for _, number in rest))]
    return chart_of(title, unit, pairs)


def chart_of(title: str, unit: str, pairs: Sequence[tuple[str, int]], total: int | None = None) -> Chart:
    whole = total or sum(number for _, number in pairs) or 1
    longest = max((number for _, number in pairs), default=0) or 1
    return Chart(
        title,
        unit,
        tuple((name, number, 100.0 * number / whole, 100.0 * number / longest) for name, number in pairs),
    )

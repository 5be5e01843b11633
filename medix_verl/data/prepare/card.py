# SPDX-License-Identifier: Apache-2.0
"""Write the card of a data set: one HTML file with the contents of a parquet file, dropped rows and leaks.

The file is self-contained: pictures are embedded, nothing is fetched, no script runs (its own content security policy
forbids both), and every text from a row is escaped. Its size depends on the number of modalities, not of rows. The
report is the one written by `medix-verl prepare` and `medix-verl check`; fields that it does not have are omitted.

Everything is counted in one pass over the rows. For each picture only the size in its header is kept. A few rows of
each modality are shown with thumbnails: those with the lowest hash of their id, so that a card is reproducible.
Credentialed rows are counted but never shown, because cards are shared.
"""

from __future__ import annotations

import base64
import hashlib
import io
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from medix_verl.credentialed import is_credentialed
from medix_verl.data.io.parquet import read_samples
from medix_verl.data.pictures.images import load_image
from medix_verl.data.pictures.token_counts import image_size
from medix_verl.data.prepare.checks import FLAGS
from medix_verl.errors import DataError
from medix_verl.runtime.files import write_text
from medix_verl.types import ImageRef, Sample

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["TEXT_ONLY", "Chart", "RowCounts", "Shown", "count_rows", "render_card", "write_card"]

TEXT_ONLY = "text only"
ANSWER_CHARS = (5, 10, 20, 50, 100, 200, 500, 1000)
"""Upper edges of the histogram intervals of answer lengths, in characters."""
SIDES = (27, 127, 255, 399, 511, 1023, 2047, 4095)
"""Upper edges of the histogram intervals of the pictures' longer sides, in pixels."""
ROWS_A_MODALITY = 3
ROWS_SHOWN = 18
PICTURES_A_ROW = 4
THUMBNAIL = 256
"""Longer side of a thumbnail, in pixels."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One row as shown on the card."""

    sample: Sample
    """Without its pictures."""
    thumbnails: tuple[str, ...]
    """`data:` URLs of small JPEG copies; empty string for a picture that cannot be read."""
    pictures: int
    """Number of pictures of the row."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """All counts; each Counter adds up to the number of rows or of pictures."""

    sources: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    answer_types: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    pictures_a_row: Counter[str] = field(default_factory=Counter)
    answer_chars: Counter[str] = field(default_factory=Counter)
    sides: Counter[str] = field(default_factory=Counter)
    """By the longer side of each picture."""
    sizes: Counter[str] = field(default_factory=Counter)
    """By width x height of each picture."""
    totals: Counter[str] = field(default_factory=Counter)
    """`rows`, `pictures`, `multiple choice`, `credentialed`, `unreadable pictures`, `distinct pictures`."""
    shown: dict[str, list[tuple[bytes, Shown]]] = field(default_factory=dict)
    """Modality -> the rows to show, as pairs of id hash and row."""

    def rows_to_show(self) -> list[Shown]:
        """At most ROWS_SHOWN rows; each modality gets one row before any gets a second."""
        rounds = zip_longest(*(self.shown[name] for name in sorted(self.shown)))
        return [item[1] for turn in rounds for item in turn if item is not None][:ROWS_SHOWN]


def count_rows(parquet: Path, shown: bool = True, progress: Callable[[], object] | None = None) -> RowCounts:
    """Count the rows of a sample file in one pass.

    Args:
        parquet: The file; its picture paths are relative to its folder.
        shown: Whether rows may be shown.
        progress: Called after each row.

    Raises:
        DataError: The file or one of its rows is invalid.
    """
    counts = RowCounts()
    distinct: set[int] = set()
    for sample in read_samples(parquet):
        count_row(counts, sample)
        count_pictures(counts, sample, parquet.parent)
        distinct.update(hash_name(sample.data_source, name) for name in image_names(sample))
        if shown and not is_credentialed(sample.data_source, sample.meta):
            keep_row(counts, sample, parquet.parent)
        if progress is not None:
            progress()
    counts.totals["distinct pictures"] = len(distinct)
    return counts


def count_row(counts: RowCounts, sample: Sample) -> None:
    counts.totals["rows"] += 1
    counts.totals["multiple choice"] += sample.options is not None
    counts.totals["credentialed"] += is_credentialed(sample.data_source, sample.meta)
    counts.sources[sample.data_source] += 1
    counts.modalities[modality_of(sample)] += 1
    counts.answer_types[str(sample.meta.get("answer_type", "not given"))] += 1
    counts.licences[str(sample.meta.get("licence", "not given"))] += 1
    counts.splits[sample.split] += 1
    counts.pictures_a_row[str(len(sample.images))] += 1
    counts.answer_chars[interval(len(sample.answer), ANSWER_CHARS)] += 1


def count_pictures(counts: RowCounts, sample: Sample, folder: Path) -> None:
    for ref in sample.images:
        counts.totals["pictures"] += 1
        try:
            width, height = image_size(ref, sample.id, folder)
        except DataError:
            counts.totals["unreadable pictures"] += 1
            continue
        counts.sides[interval(max(width, height), SIDES)] += 1
        counts.sizes[f"{width} x {height}"] += 1


def modality_of(sample: Sample) -> str:
    return sample.modality or (TEXT_ONLY if not sample.images else "not given")


def image_names(sample: Sample) -> list[str]:
    names = sample.meta.get("image_id") or []
    return [str(name) for name in names] if isinstance(names, list) else [str(names)]


def hash_name(*texts: str) -> int:
    # Eight bytes instead of the name: a set of a million names would use as much memory as everything else together.
    data = "\x00".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def interval(value: int, edges: tuple[int, ...]) -> str:
    """The name of the interval that contains a number: `11-20`, or `over 1000`."""
    place = bisect_right(edges, value - 1)
    if place == len(edges):
        return f"over {edges[-1]}"
    return f"{edges[place - 1] + 1 if place else 1}-{edges[place]}"


def interval_names(edges: tuple[int, ...]) -> list[str]:
    """The names of all intervals, in order."""
    return list(dict.fromkeys(interval(edge, edges) for edge in (*edges, edges[-1] + 1)))


def keep_row(counts: RowCounts, sample: Sample, folder: Path) -> None:
    """Keep the row if its id's hash is among the lowest of its modality."""
    rows = counts.shown.setdefault(modality_of(sample), [])
    key = hashlib.blake2b(sample.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    if len(rows) == ROWS_A_MODALITY and key >= rows[-1][0]:
        return
    thumbnails = tuple(thumbnail(ref, sample.id, folder) for ref in sample.images[:PICTURES_A_ROW])
    insort(rows, (key, Shown(without_pictures(sample), thumbnails, len(sample.images))), key=lambda item: item[0])
    del rows[ROWS_A_MODALITY:]


def without_pictures(sample: Sample) -> Sample:
    values: dict[str, Any] = {name: getattr(sample, name) for name in Sample.__dataclass_fields__}
    return Sample(**{**values, "images": ()})


def thumbnail(ref: ImageRef, row_id: str, folder: Path) -> str:
    """A small copy of a picture as a `data:` URL, at most about 30 KB; empty if the picture cannot be read."""
    try:
        picture = load_image(ref, row_id, folder)
    except DataError:
        return ""
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def in_order(counted: Counter[str], names: Iterable[str]) -> list[tuple[str, int]]:
    """Name and count of each interval, with empty ones inside the range, so that a histogram has no hidden gap."""
    order = list(names)
    filled = [place for place, name in enumerate(order) if counted[name]]
    return [(name, counted[name]) for name in order[filled[0] : filled[-1] + 1]] if filled else []


TEMPLATE = Path(__file__).parent / "templates" / "card.html.jinja"
BARS = 20
"""Maximum number of bars in a chart; the rest are summed in one extra bar."""
TEXT_CHARS = 600
"""Maximum number of characters shown of a question or an answer."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Counts for a bar chart."""

    title: str
    unit: str
    bars: tuple[tuple[str, int, float, float], ...]
    """Name, count, share of the total in percent, and bar length in percent of the longest."""


def write_card(out: Path, parquet: Path, report: Mapping[str, Any]) -> None:
    """Write the card of a parquet file.

    Args:
        out: The HTML file; written atomically.
        parquet: The rows.
        report: Report of `prepare` or `check`; may be empty.

    Raises:
        DataError: The parquet file or one of its rows is invalid.
    """
    counts = count_rows(parquet, shown=not report.get("credentialed"))
    text = render_card(counts, report, parquet.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text, errors="replace")


def render_card(counts: RowCounts, report: Mapping[str, Any], name: str) -> str:
    """The card as HTML text.

    Args:
        counts: Counts of the rows.
        report: As in `write_card`.
        name: File name of the parquet file.
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
    """Truncate a text to TEXT_CHARS; a truncated text states its full length."""
    return text if len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]} … ({len(text):,} characters)"


def facts_of(counts: RowCounts, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of the facts at the top of the card."""
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
    """A chart of the BARS largest counts, with the rest in one bar."""
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

# SPDX-License-Identifier: Apache-2.0
"""What a data set card counts, in one pass over the rows of a parquet file.

Memory does not grow with the pictures: of each only the size in its head is kept, and of a few rows for each modality
(those with the lowest hash of their id, so that a card is the same each time) a small copy. Rows of credentialed data
are counted and never shown: a card is a file that people send around.
"""

from __future__ import annotations

import base64
import hashlib
import io
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from PIL import Image

from medix_verl.data.images import load_image
from medix_verl.data.lengths import image_size
from medix_verl.data.parquet import read_samples
from medix_verl.errors import DataError
from medix_verl.types import ImageRef, Sample

__all__ = ["TEXT_ONLY", "RowCounts", "Shown", "count_rows"]

TEXT_ONLY = "text only"
ANSWER_CHARS = (5, 10, 20, 50, 100, 200, 500, 1000)
"""Upper edges of the answer lengths that are counted together, in characters."""
SIDES = (27, 127, 255, 399, 511, 1023, 2047, 4095)
"""Upper edges of the pictures' longer sides that are counted together, in pixels."""
ROWS_A_MODALITY = 3
ROWS_SHOWN = 18
PICTURES_A_ROW = 4
THUMBNAIL = 256
"""Longer side of a shown picture, in pixels."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One row as the card shows it."""

    sample: Sample
    """Without its pictures."""
    thumbnails: tuple[str, ...]
    """`data:` addresses of small JPEG copies; empty text for a picture that cannot be read."""
    pictures: int
    """How many the row has."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Everything that is counted; each Counter adds up to the rows or to the pictures."""

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
    """Modality -> the rows to show, each after the hash of its id."""

    def rows_to_show(self) -> list[Shown]:
        """At most ROWS_SHOWN rows, of every modality one before any has two."""
        rounds = zip_longest(*(self.shown[name] for name in sorted(self.shown)))
        return [item[1] for turn in rounds for item in turn if item is not None][:ROWS_SHOWN]


def count_rows(parquet: Path, shown: bool = True, progress: Callable[[], object] | None = None) -> RowCounts:
    """Read a file of samples once.

    Args:
        parquet: The file; relative picture paths start in its folder.
        shown: Whether rows may be shown at all.
        progress: Called after each row.

    Raises:
        DataError: The file or a row of it is not valid.
    """
    counts = RowCounts()
    distinct: set[int] = set()
    for sample in read_samples(parquet):
        count_row(counts, sample)
        count_pictures(counts, sample, parquet.parent)
        distinct.update(hash_name(sample.data_source, name) for name in image_names(sample))
        if shown and not sample.meta.get("credentialed"):
            keep_row(counts, sample, parquet.parent)
        if progress is not None:
            progress()
    counts.totals["distinct pictures"] = len(distinct)
    return counts


def count_row(counts: RowCounts, sample: Sample) -> None:
    counts.totals["rows"] += 1
    counts.totals["multiple choice"] += sample.options is not None
    counts.totals["credentialed"] += bool(sample.meta.get("credentialed"))
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
    # Eight bytes instead of the name: a set of a million names is as large as everything else together.
    data = "\x00".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def interval(value: int, edges: tuple[int, ...]) -> str:
    """The name of the interval that a number falls into: `11-20`, or `over 1000`."""
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
    """A small copy of a picture as a `data:` address, at most some 30 KB; empty if it cannot be read."""
    try:
        picture = load_image(ref, row_id, folder)
    except DataError:
        return ""
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def in_order(counted: Counter[str], names: Iterable[str]) -> list[tuple[str, int]]:
    """Name and number of each interval, empty ones inside the range kept, so that a histogram has no hidden gap."""
    order = list(names)
    filled = [place for place, name in enumerate(order) if counted[name]]
    return [(name, counted[name]) for name in order[filled[0] : filled[-1] + 1]] if filled else []

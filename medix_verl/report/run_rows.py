# SPDX-License-Identifier: Apache-2.0
"""Finds the data row that a dumped answer belongs to, for its data source, its modality and its picture.

A dump of verl's has no row id. Where the plugin's parts have one, it decides; else the rows whose reference is the
answer's and whose question is in its prompt. Where several rows fit, only what all of them agree on is used, and never
a picture: a picture that may be another question's is worse than none. Pictures are read for chosen rows only.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.data.images import load_image
from medix_verl.data.schema import check_file, read_images
from medix_verl.errors import DataError
from medix_verl.evaluation.results import spec_of
from medix_verl.report.run_dumps import Answer

__all__ = ["DataRow", "DataRows", "draw_pictures", "read_rows", "withheld"]

COLUMNS = ["id", "data_source", "question", "answer", "modality"]
MAX_PICTURES = 4
SIDE = 256
CREDENTIALED = "mimic"


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row of a data file, without its pictures."""

    file: Path
    number: int
    id: str
    data_source: str
    question: str
    modality: str | None


@dataclass(frozen=True, slots=True)
class DataRows:
    """The rows of some data files, by id and by reference."""

    by_id: Mapping[str, Sequence[DataRow]]
    by_reference: Mapping[str, Sequence[DataRow]]

    def fitting(self, answer: Answer) -> Sequence[DataRow]:
        """Every row that an answer may belong to; of questions that hold one another, the longest."""
        if answer.row_id is not None:
            return self.by_id.get(answer.row_id, ())
        found = [row for row in self.by_reference.get(answer.reference, ()) if row.question in answer.input]
        longest = max((len(row.question) for row in found), default=0)
        return [row for row in found if len(row.question) == longest]

    def source_of(self, answer: Answer) -> str | None:
        """Its data source; None where it is not known for certain."""
        return answer.source or agreed(row.data_source for row in self.fitting(answer))

    def modality_of(self, answer: Answer) -> str | None:
        """Its modality; None where it is not known for certain."""
        return answer.modality or agreed(row.modality or "no picture" for row in self.fitting(answer))


def agreed(values: Iterable[str]) -> str | None:
    """The one value that there is, or None."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def read_rows(files: Sequence[Path]) -> DataRows:
    """Read the texts of some data files.

    Raises:
        DataError: A file is missing or is not of the plugin's schema.
    """
    import pyarrow.parquet as pq

    by_id: dict[str, list[DataRow]] = defaultdict(list)
    by_reference: dict[str, list[DataRow]] = defaultdict(list)
    for path in files:
        check_file(path)
        for number, row in enumerate(pq.read_table(path, columns=COLUMNS).to_pylist()):
            found = DataRow(path, number, row["id"], row["data_source"], row["question"], row["modality"])
            by_id[found.id].append(found)
            by_reference[row["answer"]].append(found)
    return DataRows(by_id, by_reference)


def draw_pictures(rows: Iterable[DataRow]) -> dict[DataRow, tuple[tuple[str, ...], int]]:
    """Thumbnails of some rows as data URIs, and how many pictures of each are not shown."""
    import pyarrow.parquet as pq

    wanted: dict[Path, list[DataRow]] = defaultdict(list)
    for row in rows:
        wanted[row.file].append(row)
    drawn = {}
    for path, chosen in wanted.items():
        with pq.ParquetFile(path) as file:
            ends, start = [], 0
            for group in range(file.num_row_groups):
                start += file.metadata.row_group(group).num_rows
                ends.append(start)
            start = 0
            for group, end in enumerate(ends):
                inside = [row for row in chosen if start <= row.number < end]
                column = file.read_row_group(group, columns=["images"]).column("images") if inside else ()
                for row in inside:
                    drawn[row] = thumbnails(row, column[row.number - start].as_py())
                start = end
    return drawn


def thumbnails(row: DataRow, images: Any) -> tuple[tuple[str, ...], int]:
    """The pictures of one row; a damaged one is counted and not shown."""
    refs = read_images(images, f"row {row.id!r}")
    shown = []
    for ref in refs[:MAX_PICTURES]:
        try:
            picture = load_image(ref, row.id, row.file.parent)
        except DataError:
            continue
        picture = picture.convert("RGB")
        picture.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=75)
        shown.append(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}")
    return tuple(shown), len(refs) - len(shown)


def withheld(source: str | None, known: Iterable[str]) -> bool:
    """Whether an answer must not be shown: credentialed data, or data that may be, where its source is not known."""
    names = [source] if source is not None else list(known)
    return any(
        CREDENTIALED in name.lower() or ((spec := spec_of(name)) is not None and spec.credentialed) for name in names
    )

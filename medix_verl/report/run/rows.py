# SPDX-License-Identifier: Apache-2.0
"""Finds the data row of a dumped answer, for its data source, its modality and its picture.

verl's dumps have no row id. If the plugin's parts have one, it is used. Otherwise a row matches if it has the answer's
reference and its question is in the prompt. If several rows match, only fields with the same value in all of them are
used, and no picture, since it might belong to another question. Pictures are read for shown rows only.

Rows record whether they are credentialed (`meta.credentialed`, written by the public sets' converters and by
`prepare --set credentialed=yes`), and so does the report next to a prepared file. An answer is withheld if its row is
credentialed, or if its row was not found and may be credentialed, because not all of the run's files could be read.
"""

from __future__ import annotations

import base64
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medix_verl.credentialed import is_credentialed
from medix_verl.data.pictures.images import load_image
from medix_verl.data.schema import check_file, path_columns, read_images, read_meta
from medix_verl.errors import DataError
from medix_verl.evaluation.store.read import spec_of
from medix_verl.report.run.dumps import Answer
from medix_verl.report.run.files import RunFiles
from medix_verl.runs.record import FILE_NAME, read_record

__all__ = ["DataRow", "DataRows", "draw_pictures", "read_rows", "rows_of_run", "withheld"]

COLUMNS = ["id", "data_source", "question", "answer", "modality", "meta"]
MAX_PICTURES = 4
SIDE = 256


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row of a data file, without its pictures."""

    file: Path
    number: int
    id: str
    data_source: str
    question: str
    modality: str | None
    credentialed: bool = False
    """Whether it may not be shown."""
    pictures: int = 0

    @property
    def untagged(self) -> str:
        """Name for the modality of a row that has none."""
        return "picture without a tag" if self.pictures else "no picture"


@dataclass(frozen=True, slots=True)
class DataRows:
    """The rows of some data files, by id and by reference."""

    by_id: Mapping[str, Sequence[DataRow]]
    by_reference: Mapping[str, Sequence[DataRow]]
    whole: bool = False
    """Whether they are known to be all rows of training and validation."""
    sources: Mapping[str, bool] = field(default_factory=dict)
    """Data source -> whether any of its rows is credentialed."""

    def fitting(self, answer: Answer) -> Sequence[DataRow]:
        """Every row that an answer may belong to; if one question contains another, the longest one."""
        if answer.row_id is not None:
            return self.by_id.get(answer.row_id, ())
        found = [
            row
            for row in self.by_reference.get(answer.reference, ())
            if row.question in answer.input and (answer.source is None or row.data_source == answer.source)
        ]
        longest = max((len(row.question) for row in found), default=0)
        return [row for row in found if len(row.question) == longest]

    def source_of(self, answer: Answer) -> str | None:
        """Its data source; None if it is ambiguous or unknown."""
        return answer.source or agreed(row.data_source for row in self.fitting(answer))

    def modality_of(self, answer: Answer) -> str | None:
        """Its modality; None if it is ambiguous or unknown."""
        return answer.modality or agreed(row.modality or row.untagged for row in self.fitting(answer))


def agreed(values: Iterable[str]) -> str | None:
    """The common value of all `values`; None if they differ or are empty."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def rows_of_run(files: RunFiles, given: Sequence[Path]) -> DataRows:
    """The rows of training and validation, from the given files and from those that the run's record names.

    Raises:
        DataError: A file that was given is missing or is not of the plugin's schema.
    """
    places, whole = [path.resolve() for path in given], False
    for record in (path for path in files.settings if path.name == FILE_NAME):
        whole = True
        # If a run was resumed, its earlier part has answers in the same folder, possibly from other data.
        for one in (record, *sorted(record.parent.glob(f"{record.stem}.*{record.suffix}"))):
            named, readable = recorded_files(one)
            places += named
            whole = whole and readable
    return read_rows(list(dict.fromkeys(places)), whole)


def recorded_files(record: Path) -> tuple[list[Path], bool]:
    """The readable parquet files that a run's record names, and whether these are all of them."""
    try:
        run = read_record(record)
    except DataError:
        return [], False
    found, whole = [], True
    for name in {item.path for item in run.data if not item.path.endswith((".yaml", ".yml"))}:
        path = (Path(run.directory) / name).resolve()
        try:
            check_file(path)
            found.append(path)
        except (DataError, OSError):
            whole = False
    return sorted(found), whole and bool(found)


def read_rows(files: Sequence[Path], whole: bool = False) -> DataRows:
    """Read the texts of data files.

    Args:
        files: Parquet files of the plugin's schema.
        whole: Whether they are known to be all files of the run.

    Raises:
        DataError: A file is missing or is not of the plugin's schema.
    """
    import pyarrow.parquet as pq

    by_id: dict[str, list[DataRow]] = defaultdict(list)
    by_reference: dict[str, list[DataRow]] = defaultdict(list)
    sources: dict[str, bool] = defaultdict(bool)
    for path in files:
        check_file(path)
        whole_file_stays = reported_credentialed(path)
        with pq.ParquetFile(path) as file:
            table = file.read(columns=[*COLUMNS, *path_columns(file)])
        for number, row in enumerate(table.to_pylist()):
            source = row["data_source"]
            closed = whole_file_stays or must_stay(source, meta_of(row))
            shown = len(row.get("images") or ())
            found = DataRow(path, number, row["id"], source, row["question"], row["modality"], closed, shown)
            by_id[found.id].append(found)
            by_reference[row["answer"]].append(found)
            sources[source] |= closed
    return DataRows(by_id, by_reference, whole, dict(sources))


def meta_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's meta, parsed only if it contains "credentialed": parsing every meta would take longer than reading."""
    text = row["meta"]
    return read_meta(text, f"row {row['id']!r}") if isinstance(text, str) and "credentialed" in text else {}


def reported_credentialed(path: Path) -> bool:
    """Whether the report that `medix-verl prepare` writes next to a file marks the whole file as credentialed."""
    try:
        found = json.loads(path.with_name(f"{path.stem}.report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and bool(found.get("credentialed"))


def must_stay(source: str, meta: Mapping[str, Any]) -> bool:
    """Whether a row is credentialed: by its meta, by its source's name, or by the table of tasks."""
    spec = spec_of(source)
    return is_credentialed(source, meta) or (spec is not None and spec.credentialed)


def draw_pictures(rows: Iterable[DataRow]) -> dict[DataRow, tuple[tuple[str, ...], int]]:
    """Row -> its thumbnails as data URIs, and the number of pictures that are not shown."""
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


def withheld(answer: Answer, rows: DataRows, known: Iterable[str] = ()) -> bool:
    """Whether an answer must not be shown.

    Args:
        answer: The answer; with its row's id and source if the dump has them.
        rows: The rows of the data files.
        known: Names of the run's known data sources.

    Returns:
        True if a row that it may belong to is credentialed, or if its row was not found and may be credentialed.
    """
    if answer.source is not None and must_stay(answer.source, {}):
        return True
    found = rows.fitting(answer)
    if found:
        return any(row.credentialed for row in found)
    names = [answer.source] if answer.source is not None else [*known, *rows.sources]
    return not rows.whole or any(rows.sources.get(name, True) for name in names)

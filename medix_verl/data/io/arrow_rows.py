# SPDX-License-Identifier: Apache-2.0
"""Read rows of one published parquet or Arrow file: the requested columns, as plain Python values.

Only the named file is opened: names are not glob patterns, and nothing is cached. Columns that are not requested are
never decoded. Pictures stay `{"bytes", "path"}`. A label stored as a number with a list of names (`ClassLabel` of
Hugging Face `datasets`) is returned as its name, also inside lists and structs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from medix_verl.data.io.file_limits import rows_at_once
from medix_verl.errors import DataError

__all__ = ["arrow_rows", "parquet_rows"]

ROWS_AT_ONCE = 16
"""Rows in memory as Python objects at once; a picture may have megabytes."""
BUFFER = 1 << 20
Naming = Callable[[Any], Any]
"""Maps a stored value to one with label names instead of label numbers."""


def parquet_rows(
    file: BinaryIO, name: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet file.

    Args:
        file: The file, open for reading bytes.
        name: Its name in errors.
        columns: Required columns.
        optional: Optional columns; None in the rows if the file does not have them.

    Raises:
        DataError: A column is missing or duplicate, or a label has no name.
        pa.ArrowInvalid, OSError: It is not a readable parquet file.
    """
    # Without a buffer size, Arrow reads a whole row group of pictures at once: gigabytes in some data sets.
    with pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False) as opened:
        schema = opened.schema_arrow
        present = present_columns(schema, name, columns, optional)
        if not present:
            yield from (dict.fromkeys(optional) for _ in range(opened.metadata.num_rows))
            return
        batches = opened.iter_batches(batch_size=rows_at_once(opened, ROWS_AT_ONCE), columns=present)
        yield from plain_rows(batches, schema, name, present, (*columns, *optional))


def arrow_rows(
    file: BinaryIO, name: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of an Arrow stream, as `datasets` saves it; see `parquet_rows`."""
    with pa.ipc.open_stream(file) as stream:
        schema = stream.schema
        present = present_columns(schema, name, columns, optional)
        batches = (
            batch.slice(start, ROWS_AT_ONCE) for batch in stream for start in range(0, batch.num_rows, ROWS_AT_ONCE)
        )
        yield from plain_rows(batches, schema, name, present, (*columns, *optional))


def present_columns(schema: pa.Schema, name: str, columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    missing = [column for column in columns if column not in schema.names]
    if missing:
        raise DataError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(schema.names)}, "
            f"expected {', '.join(columns)}: is it a file of this data set?"
        )
    present = [column for column in dict.fromkeys((*columns, *optional)) if column in schema.names]
    twice = [column for column in present if schema.names.count(column) > 1]
    if twice:
        raise DataError(f"{name} has the column {twice[0]} twice; keep one of the two")
    return present


def plain_rows(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, name: str, present: Sequence[str], wanted: Sequence[str]
) -> Iterator[dict[str, Any]]:
    namings = namings_of(schema, name, present)
    for batch in batches:
        values = {column: with_names(batch.column(column).to_pylist(), namings.get(column)) for column in present}
        for number in range(batch.num_rows):
            yield {column: values[column][number] if column in values else None for column in wanted}


def with_names(values: list[Any], naming: Naming | None) -> list[Any]:
    return values if naming is None else [naming(value) for value in values]


def namings_of(schema: pa.Schema, name: str, columns: Sequence[str]) -> dict[str, Naming]:
    """Return column -> naming function, for the columns that contain labels."""
    try:
        kept = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = kept["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    if not isinstance(features, Mapping):
        return {}
    found = {column: naming_of(features.get(column), f"{name}, column {column}") for column in columns}
    return {column: naming for column, naming in found.items() if naming is not None}


def naming_of(feature: Any, label: str) -> Naming | None:
    """Return the naming function of one feature as `datasets` describes it; None if it contains no label."""
    if isinstance(feature, list):
        return in_list(naming_of(feature[0], label)) if feature else None
    if not isinstance(feature, Mapping):
        return None
    kind = feature.get("_type")
    if kind == "ClassLabel":
        return named(feature.get("names"), label)
    if kind in ("List", "LargeList", "Sequence"):
        inner = feature.get("feature")
        naming = naming_of(inner, label)
        # A Sequence of a struct is stored as a struct of lists.
        of_struct = kind == "Sequence" and isinstance(inner, Mapping) and "_type" not in inner
        return in_columns(naming) if of_struct else in_list(naming)
    if isinstance(kind, str):
        return None
    parts = {key: naming_of(inner, f"{label}.{key}") for key, inner in feature.items()}
    return in_struct({key: naming for key, naming in parts.items() if naming is not None})


def named(names: Any, label: str) -> Naming | None:
    if isinstance(names, Mapping):  # older versions write {"0": "no", "1": "yes"}
        names = [names.get(str(number)) for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        return None

    def name_of(value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        if value == -1:  # `datasets` writes -1 for a withheld label
            return None
        if not 0 <= value < len(names):
            raise DataError(f"{label}: label {value} has no name among {', '.join(names[:5])}; get the file again")
        return names[value]

    return name_of


def in_list(naming: Naming | None) -> Naming | None:
    return None if naming is None else lambda values: values if values is None else [naming(value) for value in values]


def in_struct(namings: Mapping[str, Naming]) -> Naming | None:
    def name_parts(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: namings[key](part) if key in namings else part for key, part in value.items()}

    return name_parts if namings else None


def in_columns(naming: Naming | None) -> Naming | None:
    """Apply a struct's naming function to a struct of lists."""
    if naming is None:
        return None

    def name_columns(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        columns = {key: [{key: item} for item in items or ()] for key, items in value.items()}
        return {key: [naming(item)[key] for item in items] for key, items in columns.items()}

    return name_columns

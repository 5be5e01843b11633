# SPDX-License-Identifier: Apache-2.0
"""Parquet schema of a row, and the checks that a row and a file must pass.

`to_row` and `from_row` convert between a Sample and a parquet row; `check_schema` and `check_file` refuse a file before
any of its rows is used. `meta` is stored as JSON text, so that files of all sources have the same schema and can be
concatenated. This module opens no pictures (see `images`) and renders no prompts (see `prompts`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medix_verl.data.io.file_limits import refuse_bomb
from medix_verl.errors import DataError
from medix_verl.types import MODALITIES, ImageRef, Sample

__all__ = ["SAMPLE_SCHEMA", "check_file", "check_schema", "first_line", "from_row", "path_columns", "to_row"]

SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("data_source", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("modality", pa.string()),
        pa.field("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        pa.field("options", pa.list_(pa.string())),
        pa.field("split", pa.string(), nullable=False),
        pa.field("meta", pa.string()),
    ]
)
"""One row per question; `modality` and `options` may be null, `images` may be empty, `meta` is a JSON object."""

REQUIRED_TEXTS = ("id", "data_source", "question", "answer", "split")
MAY_BE_ALL_NULL = frozenset({"modality", "options", "images", "meta"})
REMEDY = "write the file with medix_verl.data.io.parquet.write_samples or `medix-verl prepare`"


def to_row(sample: Sample) -> dict[str, Any]:
    """The parquet row of a sample, checked in the same way as a row that is read.

    Raises:
        DataError: The sample would not be accepted when read back.
    """
    try:
        meta = json.dumps(dict(sample.meta), sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as cause:
        remedy = "keep to texts, numbers and lists"
        raise DataError(f"row {sample.id!r}: meta is not a JSON object ({cause}); {remedy}") from cause
    row: dict[str, Any] = {
        "id": sample.id,
        "data_source": sample.data_source,
        "question": sample.question,
        "answer": sample.answer,
        "modality": sample.modality,
        "images": [{"bytes": ref.bytes, "path": ref.path} for ref in sample.images],
        "options": None if sample.options is None else list(sample.options),
        "split": sample.split,
        "meta": meta,
    }
    from_row(row)
    return row


def from_row(row: Mapping[str, Any]) -> Sample:
    """The sample of a parquet row.

    Args:
        row: The columns of SAMPLE_SCHEMA; other columns are ignored.

    Raises:
        DataError: A value is missing or not accepted; the message contains the row's id.
    """
    name = row_name(row)
    texts = {column: required_text(row, column, name) for column in REQUIRED_TEXTS}
    modality = row.get("modality")
    if modality is not None and modality not in MODALITIES:
        raise DataError(f"{name}: modality {modality!r} is not known; use null or one of {', '.join(MODALITIES)}")
    return Sample(
        modality=modality,
        images=read_images(row.get("images"), name),
        options=read_options(row.get("options"), texts["answer"], name),
        meta=read_meta(row.get("meta"), name),
        **texts,
    )


def row_name(row: Mapping[str, Any]) -> str:
    return f"row {row.get('id')!r}"


def required_text(row: Mapping[str, Any], column: str, name: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{name}: {column} is {value!r}; it must be a text that is not empty")
    return value


def read_images(value: Any, name: str) -> tuple[ImageRef, ...]:
    refs = []
    for number, item in enumerate(() if value is None else value):
        if not isinstance(item, Mapping):
            raise DataError(f"{name}: image {number} is a {type(item).__name__}; give a struct with bytes or path")
        data, path = item.get("bytes"), item.get("path")
        if not bool(data) ^ bool(path):
            got = "both bytes and path" if data else "neither bytes nor path"
            raise DataError(f"{name}: image {number} has {got}; give exactly one of the two")
        refs.append(ImageRef(bytes=bytes(data) if data else None, path=path or None))
    return tuple(refs)


def read_options(value: Any, answer: str, name: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    options = tuple(value)
    if len(options) < 2 or not all(isinstance(option, str) and option.strip() for option in options):
        raise DataError(f"{name}: options are {options!r}; give two or more texts, or null for an open question")
    if answer not in options:
        raise DataError(f"{name}: answer {answer!r} is not among its options {list(options)!r}; give the option's text")
    return options


def read_meta(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        meta = json.loads(value)
    except (TypeError, ValueError) as cause:
        raise DataError(f"{name}: meta is {value!r}, which is not JSON; write a JSON object such as {{}}") from cause
    if not isinstance(meta, dict):
        raise DataError(f"{name}: meta is a JSON {type(meta).__name__}; write a JSON object such as {{}}")
    return meta


def check_schema(schema: pa.Schema, path: str | Path) -> None:
    """Refuse a file whose columns are not those of SAMPLE_SCHEMA; additional columns are allowed.

    Raises:
        DataError: A column is missing or has another type.
    """
    missing = [field.name for field in SAMPLE_SCHEMA if field.name not in schema.names]
    if missing:
        got = ", ".join(schema.names) or "none"
        raise DataError(f"{path}: missing column {', '.join(missing)} (columns got: {got}); {REMEDY}")
    wrong = [
        f"{field.name} is {schema.field(field.name).type}, not {field.type}"
        for field in SAMPLE_SCHEMA
        if not same_type(schema.field(field.name).type, field.type, field.name in MAY_BE_ALL_NULL)
    ]
    if wrong:
        raise DataError(f"{path}: wrong column type: {'; '.join(wrong)}; {REMEDY}")


def same_type(got: pa.DataType, wanted: pa.DataType, null_ok: bool) -> bool:
    """Whether two types store the same values; 64-bit offsets and all-null columns are accepted as equal."""
    if null_ok and pa.types.is_null(got):
        return True
    if pa.types.is_struct(wanted):
        names = [field.name for field in wanted]
        return pa.types.is_struct(got) and all(
            got.get_field_index(name) >= 0 and same_type(got.field(name).type, wanted.field(name).type, True)
            for name in names
        )
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(got) or pa.types.is_large_list(got)
        return is_list and same_type(got.value_type, wanted.value_type, null_ok)
    if pa.types.is_string(wanted):
        return bool(pa.types.is_string(got) or pa.types.is_large_string(got))
    if pa.types.is_binary(wanted):
        return bool(pa.types.is_binary(got) or pa.types.is_large_binary(got))
    return bool(got.equals(wanted))


def check_file(path: str | Path) -> int:
    """Refuse a file that is missing, not parquet, empty, or of a different schema.

    Returns:
        The number of rows.

    Raises:
        DataError: The file cannot be used.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file; give a parquet file, or {REMEDY}")
    try:
        with pq.ParquetFile(path) as file:
            refuse_bomb(file, path)
            schema, rows = file.schema_arrow, int(file.metadata.num_rows)
    except (pa.ArrowInvalid, OSError) as cause:
        raise DataError(f"{path}: this is not a readable parquet file ({first_line(cause)}); {REMEDY}") from cause
    check_schema(schema, path)
    if rows == 0:
        raise DataError(f"{path}: the file has no rows; {REMEDY}")
    return rows


def path_columns(file: pq.ParquetFile) -> list[str]:
    """The column of the pictures' paths; reading only it gives the number of pictures without reading any picture."""
    names = [file.schema.column(number).path for number in range(len(file.schema.names))]
    return [name for name in names if name.startswith("images.") and name.endswith(".path")]


def first_line(cause: BaseException) -> str:
    """The first line of an exception's message, or its type name."""
    return (str(cause).splitlines() or [type(cause).__name__])[0]

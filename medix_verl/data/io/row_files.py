# SPDX-License-Identifier: Apache-2.0
"""Read rows of one local file of a data set: JSON lines, a JSON list, CSV or TSV; one by one, nothing guessed.

Values are not converted: a CSV cell is a text (also `None`, `NA` and `007`), a JSON value has its JSON type. A JSON
list of any length is read object by object. Parquet is read by `source`. A line that cannot be read raises a DataError
with its number.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from medix_verl.data.io.jsonl import kind_of
from medix_verl.errors import DataError

__all__ = ["ROW_SUFFIXES", "read_rows"]

ROW_SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
"""Suffixes of files with rows, the preferred format first."""

CHUNK = 1 << 20
LONGEST_CELL = 1 << 27
LONGEST_OBJECT = 1 << 28
SEPARATOR = re.compile(r"[\s,]*")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a .jsonl, .json, .csv or .tsv file, in order.

    Raises:
        DataError: The file is not valid; the message names it and the line or row.
    """
    suffix = path.suffix.lower()
    try:
        with path.open("r", encoding="utf-8-sig", newline="" if suffix in (".csv", ".tsv") else None) as text:
            if suffix in (".csv", ".tsv"):
                yield from table_rows(text, path, "," if suffix == ".csv" else "\t")
            else:
                yield from json_rows(text, path)
    except UnicodeDecodeError as cause:
        raise DataError(f"{path} is not UTF-8 (byte {cause.start + 1} of a block); save it as UTF-8") from cause


def table_rows(text: TextIO, path: Path, delimiter: str) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        head = next(reader, None)
        if not head or len(set(head)) != len(head):
            raise DataError(f"{path} line 1 is {head}; a table starts with the names of its columns, each once")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(head):
                got = f"has {len(cells)} cells, the head {len(head)}"
                raise DataError(f"{path} line {reader.line_num} {got}; fix the line (quote texts that hold delimiters)")
            yield dict(zip(head, cells, strict=True))
    except csv.Error as cause:
        raise DataError(f"{path} line {reader.line_num}: {cause}; fix the line's quotes") from cause


def json_rows(text: TextIO, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON list or of JSON lines, decided by the first character."""
    first = ""
    while not first:
        line = text.read(1)
        if not line:
            return
        first = line.strip()
    values = list_values(text, path) if first == "[" else line_values(text, path, first)
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(f"{path} row {number} is {kind_of(value)}; a row is a JSON object")
        yield value


def line_values(text: TextIO, path: Path, first: str) -> Iterator[Any]:
    """Yield one value per line; `first` is the part of the first line that is already read."""
    for number, line in enumerate(text, start=1):
        whole, first = first + line, ""
        if not whole.strip():
            continue
        try:
            yield json.loads(whole)
        except json.JSONDecodeError as cause:
            remedy = "write one JSON object a line, or one list of objects"
            raise DataError(
                f"{path} line {number} is not JSON ({cause.msg} at column {cause.colno}); {remedy}"
            ) from cause
        except (RecursionError, ValueError) as cause:
            raise DataError(f"{path} line {number} cannot be read ({type(cause).__name__}); fix the line") from cause


def list_values(text: TextIO, path: Path) -> Iterator[Any]:
    """Yield the values of a list whose opening bracket is already read."""
    decoder, buffer, start, count = json.JSONDecoder(), "", 0, 1
    while True:
        start = SEPARATOR.match(buffer, start).end()  # type: ignore[union-attr]  # it matches the empty text too
        if buffer.startswith("]", start):
            return
        try:
            value, start = decoder.raw_decode(buffer, start)
        except json.JSONDecodeError as cause:
            # Incomplete: double the buffer, so that a long object is not parsed too often.
            block = text.read(max(CHUNK, len(buffer) - start))
            if not block or len(buffer) - start > LONGEST_OBJECT:
                raise DataError(f"{path} row {count} is cut off or not JSON ({cause.msg}); fix the file") from cause
            buffer, start = buffer[start:] + block, 0
            continue
        except (RecursionError, ValueError) as cause:
            raise DataError(f"{path} row {count} cannot be read ({type(cause).__name__}); fix the file") from cause
        count += 1
        yield value

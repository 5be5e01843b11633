# SPDX-License-Identifier: Apache-2.0
"""Read a user's own table (JSONL, CSV or Excel) record by record; unusable lines are yielded with their number.

`row_files` reads published files and stops at the first fault. This module reads hand-written files: each bad line is
yielded as a BadLine, so that one report lists all of them. A fault of the whole file (no such file, missing or
duplicate column names, unknown format) raises DataError.

CSV cells are texts; an empty cell is not a value. Encoding and delimiter are detected (see `encodings`) and reported if
they are not the usual ones; nothing else is guessed.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.data.io.encodings import DELIMITERS, HINT, delimiter_of, encoding_of
from medix_verl.data.io.jsonl import read_object
from medix_verl.data.io.sheets import ERRORS, sheet_rows
from medix_verl.errors import DataError

__all__ = ["TABLE_SUFFIXES", "BadLine", "Form", "Record", "read_table"]

JSON_LINES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (*JSON_LINES, ".csv", ".tsv", ".xlsx")
"""Suffixes of the tables that are searched for in a folder; a .json file is read only if it is named."""
JSON_ARRAY = ".json"
MAX_ARRAY_BYTES = 1 << 30
"""Maximum size of a .json file, which is in memory as a whole."""
LONGEST_HINT = 8
BOM = b"\xef\xbb\xbf"
SURROGATES = ("\ud800", "\udfff")


CheckNames = Callable[[list[str], int, bool], None]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a table."""

    line: int
    """The line where it starts, from 1."""
    values: dict[str, Any]
    """Column -> value; columns without a value are left out."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be parsed to a record."""

    line: int
    detail: str
    encoding: bool = False
    """Whether the line is only wrongly encoded: in the right encoding it would be a record."""


@dataclass(frozen=True, slots=True)
class Form:
    """A table's format as the user gives it; the defaults detect it."""

    delimiter: str = "auto"
    """Delimiter of a CSV file, one of DELIMITERS."""
    encoding: str = "auto"
    sheet: str = ""
    """Sheet of an Excel file; empty is the first."""


def accept_all(names: list[str], line: int, whole: bool) -> None:
    """Default check: accept any column."""


def say_nothing(line: str) -> None:
    """Default for `say`: discard the message."""


def read_table(
    path: Path,
    form: Form = Form(),
    check: CheckNames = accept_all,
    say: Callable[[str], None] = say_nothing,
) -> Iterator[Record | BadLine]:
    """Read a table, each record with the number of its line.

    Args:
        path: A .jsonl, .ndjson, .json (a list of objects, or lines), .csv, .tsv or .xlsx file.
        form: Its format.
        check: Called with the names of the columns, their line, and whether they are all columns of the table: once
            for the header of a CSV or Excel file, once per record of JSONL. An exception that it raises stops the
            reading.
        say: Called with a one-line message if an unusual encoding or delimiter is used.

    Raises:
        DataError: The file as a whole cannot be used.
        SetupError: It is an Excel file, and openpyxl is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in (*TABLE_SUFFIXES, JSON_ARRAY):
        raise DataError(f"{path} is not a table; give a file that ends in {', '.join((*TABLE_SUFFIXES, JSON_ARRAY))}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the table with your questions")
    if suffix == ".xlsx":
        return sheet_records(path, form.sheet, check, say)
    encoding = encoding_of(path, form.encoding)
    recognised = [f"encoding {encoding}"] if encoding != "utf-8" else []
    if suffix in (*JSON_LINES, JSON_ARRAY):
        is_array = suffix == JSON_ARRAY and begins_with_list(path, encoding)
        records = array_records(path, encoding, check) if is_array else json_records(path, encoding, check)
    else:
        delimiter = delimiter_of(path, encoding, form.delimiter)
        usual = "\t" if suffix == ".tsv" else ","
        recognised += [f"delimiter {name}" for name, sign in DELIMITERS.items() if sign == delimiter != usual]
        records = csv_records(path, encoding, delimiter, check)
    if recognised:
        say(f"{path.name} is read with {' and '.join(recognised)}")
    return decoded(records, path, encoding)


def decoded(records: Iterator[Record | BadLine], path: Path, encoding: str) -> Iterator[Record | BadLine]:
    try:
        yield from records
    except UnicodeError as cause:
        raise DataError(f"{path} is no {encoding} ({cause}); save it as UTF-8, or give --set encoding=NAME") from cause


def json_records(path: Path, encoding: str, check: CheckNames) -> Iterator[Record | BadLine]:
    for number, raw in enumerate(json_lines(path, encoding), start=1):
        line = raw.removeprefix(BOM) if number == 1 else raw
        if not line.strip():
            continue
        try:
            values = read_object(line)
        except DataError as cause:
            yield BadLine(number, str(cause), not is_utf8(line))
            continue
        yield json_record(number, values, check)


def json_record(number: int, values: dict[str, Any], check: CheckNames) -> Record | BadLine:
    fault = fault_of(values)
    if fault:
        return BadLine(number, fault)
    check(list(values), number, False)
    return Record(number, {key: value for key, value in values.items() if value is not None and value != ""})


def begins_with_list(path: Path, encoding: str) -> bool:
    with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors="replace") as text:
        return text.read(1 << 16).lstrip().startswith("[")


def array_records(path: Path, encoding: str, check: CheckNames) -> Iterator[Record | BadLine]:
    """Yield the objects of a JSON list; the line number is the object's number."""
    if path.stat().st_size > MAX_ARRAY_BYTES:
        raise DataError(f"{path} is a JSON list of more than {MAX_ARRAY_BYTES >> 30} GiB; write one object a line")
    try:
        items = json.loads(path.read_text(encoding="utf-8-sig" if encoding == "utf-8" else encoding))
    except (ValueError, RecursionError) as cause:
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise DataError(f"{path} is not a JSON list ({reason}); fix it, or write one object a line (.jsonl)") from cause
    for number, item in enumerate(items, start=1):
        if isinstance(item, dict):
            yield json_record(number, item, check)
        else:
            yield BadLine(number, f"item {number} of the list is not an object; write question, answer, ... as one")


def json_lines(path: Path, encoding: str) -> Iterator[bytes]:
    """Yield the lines, encoded as UTF-8."""
    if encoding == "utf-8":
        with path.open("rb") as source:
            yield from source
        return
    with path.open("r", encoding=encoding, newline="\n") as text:
        for line in text:
            yield line.encode("utf-8", "surrogatepass")


def is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def csv_records(path: Path, encoding: str, delimiter: str, check: CheckNames) -> Iterator[Record | BadLine]:
    # Invalid UTF-8 bytes are decoded to lone surrogates, so that the fault is reported for their record.
    plain = encoding == "utf-8"
    form = "utf-8-sig" if plain else encoding
    with path.open("r", newline="", encoding=form, errors="surrogateescape" if plain else "strict") as text:
        above = int(HINT.fullmatch(text.readline(LONGEST_HINT)) is not None)
        if not above:
            text.seek(0)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        head = csv_head(reader, path, delimiter)
        check(head, 1 + above, True)
        while True:
            number = reader.line_num + 1 + above
            try:
                cells = next(reader, None)
            except csv.Error as cause:
                yield BadLine(number, f"{cause}; quote the cell, and double each quote inside it")
                continue
            if cells is None:
                return
            if cells:
                yield csv_record(number, head, cells)


def sheet_records(path: Path, sheet: str, check: CheckNames, say: Callable[[str], None]) -> Iterator[Record | BadLine]:
    rows = sheet_rows(path, sheet, say)
    line, cells = next(rows, (1, []))
    head = head_of(cells, path, line)
    check(head, line, True)
    for number, row in rows:
        wrong = next((cell for cell in row if isinstance(cell, str) and cell.strip() in ERRORS), None)
        if wrong is not None:
            yield BadLine(number, f"a cell holds Excel's error {wrong.strip()}; fix the formula or empty the cell")
        elif len(row) > len(head):
            yield BadLine(number, f"{len(row)} cells where the head has {len(head)}; name each column")
        else:
            values = dict(zip(head, row, strict=False))
            yield Record(number, {name: value for name, value in values.items() if value is not None})


def csv_record(number: int, head: list[str], cells: list[str]) -> Record | BadLine:
    while len(cells) > len(head) and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) != len(head):
        got = f"{len(cells)} cells where the head has {len(head)}"
        return BadLine(number, f"{got}; quote each cell that holds a delimiter or a line break")
    fault = broken_text("".join(cells), "bytes that are not UTF-8; save the file as UTF-8")
    if fault:
        return BadLine(number, fault, encoding=True)
    return Record(number, {name: cell for name, cell in zip(head, cells, strict=True) if cell.strip()})


def csv_head(reader: Any, path: Path, delimiter: str) -> list[str]:
    try:
        cells = next(reader, None)
    except csv.Error as cause:
        raise DataError(f"{path} line 1: {cause}; a table starts with the names of its columns") from cause
    head = head_of(cells or (), path, 1)
    others = [name for name, sign in DELIMITERS.items() if sign and sign != delimiter and sign in head[0]]
    if len(head) == 1 and others:
        raise DataError(f"{path} has one column, {head[0]!r}; type --set delimiter={others[0]}")
    return head


def head_of(cells: Iterable[Any], path: Path, line: int) -> list[str]:
    """Return the column names of a header."""
    head = ["" if cell is None else str(cell).strip() for cell in cells]
    if not any(head):
        raise DataError(f"{path} has no line of column names; write question,answer in its first line")
    # Spreadsheets add empty columns at the end, and pandas writes row numbers without a column name.
    head = [name or f"column {place}" for place, name in enumerate(head, start=1)]
    if broken_text("".join(head), "bytes"):
        raise DataError(f"{path} line {line} is not UTF-8; save the file as UTF-8, or give --set encoding=NAME")
    twice = sorted(name for name, count in Counter(head).items() if count > 1)
    if twice:
        raise DataError(f"{path} line {line}: column {twice[0]!r} comes twice; name each column once")
    return head


def fault_of(values: dict[str, Any]) -> str:
    """Return why a JSON object cannot be serialised again; empty if it can."""
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return "the line holds NaN or Infinity, or is nested too deeply; write null instead"
    return broken_text(text, "half of a surrogate pair")


def broken_text(text: str, what: str) -> str:
    """Return why a text cannot be encoded as UTF-8; empty if it can."""
    low, high = SURROGATES
    return f"the line holds {what}" if any(low <= letter <= high for letter in text) else ""

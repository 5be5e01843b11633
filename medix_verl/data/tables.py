# SPDX-License-Identifier: Apache-2.0
"""A user's own table, JSONL or CSV, read record by record; a line that cannot be used comes out with its number.

Other than `rowfiles`, which reads published files and stops at the first fault, this reads files that somebody wrote
by hand: each bad line comes out as a BadLine, so that one look at the report finds all of them. What is wrong with the
file as a whole (no such file, no or double column names, an unknown kind) is a DataError.

CSV cells are texts, and an empty one is no value. A UTF-8 mark at the start is taken off; nothing else is guessed.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.data.jsonl import read_object
from medix_verl.errors import DataError

__all__ = ["DELIMITERS", "TABLE_SUFFIXES", "BadLine", "Record", "read_table"]

TABLE_SUFFIXES = (".jsonl", ".csv", ".tsv")
DELIMITERS = {"auto": "", "comma": ",", "semicolon": ";", "tab": "\t"}
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
    """A line of which no record can be made."""

    line: int
    detail: str


def accept_all(names: list[str], line: int, whole: bool) -> None:
    """The check of a reader that takes any column."""


def read_table(path: Path, delimiter: str = "auto", check: CheckNames = accept_all) -> Iterator[Record | BadLine]:
    """Read a table, each record with the number of its line.

    Args:
        path: A .jsonl, .csv or .tsv file.
        delimiter: Of a CSV file, one of DELIMITERS; `auto` is a comma, of a .tsv file a tab.
        check: Called with the names of the columns, their line, and whether they are all that there are: once for the
            head of a CSV file, for each record of JSONL. What it raises ends the reading.

    Raises:
        DataError: The file as a whole cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{path} is no table; give a file that ends in {', '.join(TABLE_SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the table with your questions")
    if suffix == ".jsonl":
        return json_records(path, check)
    return csv_records(path, delimiter_of(suffix, delimiter), check)


def delimiter_of(suffix: str, name: str) -> str:
    if name not in DELIMITERS:
        raise DataError(f"delimiter is {name!r}; accepted: {', '.join(DELIMITERS)}")
    return DELIMITERS[name] or ("\t" if suffix == ".tsv" else ",")


def json_records(path: Path, check: CheckNames) -> Iterator[Record | BadLine]:
    with path.open("rb") as source:
        for number, raw in enumerate(source, start=1):
            line = raw.removeprefix(BOM) if number == 1 else raw
            if not line.strip():
                continue
            try:
                values = read_object(line)
            except DataError as cause:
                yield BadLine(number, str(cause))
                continue
            fault = fault_of(values)
            if fault:
                yield BadLine(number, fault)
                continue
            check(list(values), number, False)
            yield Record(number, {key: value for key, value in values.items() if value is not None and value != ""})


def csv_records(path: Path, delimiter: str, check: CheckNames) -> Iterator[Record | BadLine]:
    # Bytes that are no UTF-8 come through as lone surrogates, so that they are found in their own record.
    with path.open("r", encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        head = csv_head(reader, path, delimiter)
        check(head, 1, True)
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as cause:
                yield BadLine(number, f"{cause}; quote the cell, and double each quote inside it")
                continue
            if cells is None:
                return
            if cells:
                yield csv_record(number, head, cells)


def csv_record(number: int, head: list[str], cells: list[str]) -> Record | BadLine:
    if len(cells) != len(head):
        got = f"{len(cells)} cells where the head has {len(head)}"
        return BadLine(number, f"{got}; quote each cell that holds a delimiter or a line break")
    fault = broken_text("".join(cells), "bytes that are not UTF-8; save the file as UTF-8")
    if fault:
        return BadLine(number, fault)
    return Record(number, {name: cell for name, cell in zip(head, cells, strict=True) if cell.strip()})


def csv_head(reader: Any, path: Path, delimiter: str) -> list[str]:
    try:
        cells = next(reader, None)
    except csv.Error as cause:
        raise DataError(f"{path} line 1: {cause}; a table starts with the names of its columns") from cause
    head = [cell.strip() for cell in cells or ()]
    if not any(head):
        raise DataError(f"{path} has no line of column names; write question,answer in its first line")
    if broken_text("".join(head), "bytes"):
        raise DataError(f"{path} line 1 is not UTF-8; save the file as UTF-8")
    twice = sorted(name for name, count in Counter(head).items() if count > 1)
    if twice or "" in head:
        which = repr(twice[0]) if twice else "without a name"
        raise DataError(f"{path} line 1: column {which} comes twice or has no name; name each column once")
    others = [name for name, sign in DELIMITERS.items() if sign and sign != delimiter and sign in head[0]]
    if len(head) == 1 and others:
        raise DataError(f"{path} has one column, {head[0]!r}; type --set delimiter={others[0]}")
    return head


def fault_of(values: dict[str, Any]) -> str:
    """Why a JSON object cannot be stored again; empty where it can."""
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return "the line holds NaN or Infinity, or is nested too deeply; write null instead"
    return broken_text(text, "half of a surrogate pair")


def broken_text(text: str, what: str) -> str:
    """Why a text cannot be written as UTF-8; empty where it can."""
    low, high = SURROGATES
    return f"the line holds {what}" if any(low <= letter <= high for letter in text) else ""

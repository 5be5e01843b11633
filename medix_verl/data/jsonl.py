# SPDX-License-Identifier: Apache-2.0
"""Reads JSONL line by line, and refuses what it cannot use by the line's number.

Bytes come in, because a line that is not UTF-8 must be reported by its number like any other fault. What a record must
hold is the reader's business; the checks of a single value that every reader needs are here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from medix_verl.credentialed import is_credentialed
from medix_verl.errors import DataError

__all__ = [
    "credentialed_row_at",
    "flag_at",
    "kind_of",
    "number_at",
    "read_lines",
    "read_object",
    "text_at",
    "texts_at",
]

BOM = b"\xef\xbb\xbf"

Record = TypeVar("Record")


def read_lines(path: Path, read: Callable[[bytes, int], Record]) -> Iterator[Record]:
    """Read the lines of a file one by one; only at its end may lines be blank.

    Args:
        path: The file.
        read: Makes a record of a line and its number, or raises DataError without the place.

    Raises:
        DataError: A line cannot be used; the message names the file and the line.
    """
    blank: int | None = None
    with path.open("rb") as source:
        for number, raw in enumerate(source, start=1):
            raw = raw.removeprefix(BOM) if number == 1 else raw
            if not raw.strip():
                blank = number if blank is None else blank
                continue
            if blank is not None:
                raise DataError(f"{path} line {blank} is blank; remove it, or write a JSON object there")
            try:
                yield read(raw, number)
            except DataError as error:
                raise DataError(f"{path} line {number}: {error}") from error


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a line.

    Raises:
        DataError: The line is not UTF-8, not JSON, or not an object.
    """
    try:
        record = json.loads(raw.rstrip(b"\r\n").decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg} at column {error.colno}); write one JSON object a line") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise DataError(f"JSON that cannot be read ({type(error).__name__}); write one plain JSON object") from error
    if not isinstance(record, dict):
        raise DataError(f"the line is {kind_of(record)}; write one JSON object a line")
    return record


def text_at(record: dict[str, Any], key: str, needs: str = "") -> str | None:
    """A text of the record; None where it may be missing and is.

    Args:
        record: The line's object.
        key: Where to look.
        needs: What each line needs, for the message, where this key must be there.
    """
    value = record.get(key)
    if isinstance(value, str) or (value is None and not needs):
        return value
    if key not in record:
        raise DataError(f"the key {key!r} is missing; each line needs {needs}")
    raise DataError(f"{key} is {kind_of(value)}; accepted: a text")


def texts_at(record: dict[str, Any], key: str) -> list[str] | None:
    """A list of texts of the record; None where it is missing."""
    value = record.get(key)
    if value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        return value
    raise DataError(f"{key} is {kind_of(value)}; accepted: a list of texts")


def number_at(record: dict[str, Any], key: str) -> float | None:
    """A finite number of at least 0; None where it is missing."""
    value = record.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise DataError(f"{key} is {kind_of(value)}; accepted: a number of at least 0")
    if value is not None and not 0 <= value < float("inf"):
        raise DataError(f"{key} is {value}; accepted: a number of at least 0")
    return value


def flag_at(record: dict[str, Any], key: str) -> bool:
    """A boolean of the record; false where it is missing."""
    value = record.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise DataError(f"{key} is {kind_of(value)}; accepted: true, false")


def credentialed_row_at(record: dict[str, Any], number: int) -> str | None:
    """What to call a line whose data no third party may see; None of others.

    It says so itself, by `credentialed` or by `meta` with that key, or by a `data_source` of MIMIC.
    """
    meta = record.get("meta")
    source = text_at(record, "data_source")
    own = isinstance(meta, dict) and flag_at(meta, "credentialed")
    if not is_credentialed(source, {"credentialed": flag_at(record, "credentialed") or own}):
        return None
    identity = record.get("id")
    name = f"line {number}" if identity is None else f"line {number} (id {identity!r})"
    return f"{name} of {source}" if source else name


def kind_of(value: Any) -> str:
    """JSON's own word for a value's kind."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")

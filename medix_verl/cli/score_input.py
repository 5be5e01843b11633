# SPDX-License-Identifier: Apache-2.0
"""Reads the input of `medix-verl score`, line by line, and refuses what it cannot use by the line's number.

Bytes come in, because a line that is not UTF-8 must be reported by its number like any other fault.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError
from medix_verl.rewards.reference import parse_ground_truth
from medix_verl.types import Reference

__all__ = ["Line", "count_lines", "read_lines"]

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One answer to score."""

    id: str | int
    response: str
    reference: Reference


def count_lines(path: Path) -> int:
    """Check the whole file and count its lines.

    Raises:
        DataError: The first line that cannot be used.
    """
    return sum(1 for _ in read_lines(path))


def read_lines(path: Path) -> Iterator[Line]:
    """Read the lines of a file one by one; only at its end may lines be blank.

    Raises:
        DataError: A line cannot be used.
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
                yield read_line(raw, number)
            except DataError as error:
                raise DataError(f"{path} line {number}: {error}") from error


def read_line(raw: bytes, number: int) -> Line:
    """Read one line.

    Raises:
        DataError: What is wrong, without the place.
    """
    record = read_object(raw)
    identity = record.get("id")
    if identity is not None and (isinstance(identity, bool) or not isinstance(identity, (str, int))):
        raise DataError(f"id is {kind_of(identity)}; accepted: a text or an integer")
    tolerance = record.get("tolerance")
    if tolerance is not None and (isinstance(tolerance, bool) or not isinstance(tolerance, (int, float))):
        raise DataError(f"tolerance is {kind_of(tolerance)}; accepted: a number of at least 0")
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise DataError(f"tolerance is {tolerance}; accepted: a number of at least 0")
    response = text_at(record, "response", needed=True)
    reference = parse_ground_truth(
        text_at(record, "ground_truth", needed=True) or "",
        modality=text_at(record, "modality"),
        question=text_at(record, "question"),
        options=texts_at(record, "options"),
        synonyms=texts_at(record, "synonyms") or (),
        tolerance=tolerance,
    )
    return Line(number if identity is None else identity, response or "", reference)


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


def text_at(record: dict[str, Any], key: str, needed: bool = False) -> str | None:
    """A text of the record; None where it may be missing and is."""
    value = record.get(key)
    if isinstance(value, str) or (value is None and not needed):
        return value
    if key not in record:
        raise DataError(f"the key {key!r} is missing; each line needs response and ground_truth")
    raise DataError(f"{key} is {kind_of(value)}; accepted: a text")


def texts_at(record: dict[str, Any], key: str) -> list[str] | None:
    """A list of texts of the record; None where it is missing."""
    value = record.get(key)
    if value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        return value
    raise DataError(f"{key} is {kind_of(value)}; accepted: a list of texts")


def kind_of(value: Any) -> str:
    """JSON's own word for a value's kind."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")

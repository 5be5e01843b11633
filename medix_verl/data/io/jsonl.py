# SPDX-License-Identifier: Apache-2.0
"""Read JSONL line by line; errors name the line number.

Lines are read as bytes, so that one that is not UTF-8 is reported with its number like any other fault. Each reader
validates its own records; the checks of single values that all readers need are here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from medix_verl.credentialed import is_credentialed
from medix_verl.errors import DataError
from medix_verl.types import ImageRef

__all__ = [
    "credentialed_row_at",
    "flag_at",
    "images_at",
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
    """Read the lines of a file one by one; blank lines are accepted only at its end.

    Args:
        path: The file.
        read: Makes a record from a line and its number, or raises DataError without file and line.

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
    """Parse the JSON object in a line.

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
    """Return a text of the record; None if it is missing and optional.

    Args:
        record: The line's object.
        key: The key.
        needs: If given, the key is required; the message says that each line needs this.
    """
    value = record.get(key)
    if isinstance(value, str) or (value is None and not needs):
        return value
    if key not in record:
        raise DataError(f"the key {key!r} is missing; each line needs {needs}")
    raise DataError(f"{key} is {kind_of(value)}; accepted: a text")


def texts_at(record: dict[str, Any], key: str) -> list[str] | None:
    """Return a list of texts of the record; None if it is missing."""
    value = record.get(key)
    if value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        return value
    raise DataError(f"{key} is {kind_of(value)}; accepted: a list of texts")


def number_at(record: dict[str, Any], key: str) -> float | None:
    """Return a finite number of at least 0; None if it is missing."""
    value = record.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise DataError(f"{key} is {kind_of(value)}; accepted: a number of at least 0")
    if value is not None and not 0 <= value < float("inf"):
        raise DataError(f"{key} is {value}; accepted: a number of at least 0")
    return value


def flag_at(record: dict[str, Any], key: str) -> bool:
    """Return a boolean of the record; false if it is missing."""
    value = record.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise DataError(f"{key} is {kind_of(value)}; accepted: true, false")


def images_at(record: dict[str, Any], folder: Path) -> tuple[ImageRef, ...]:
    """Return the pictures of a record: `images` is a list of paths or data URIs (`data:image/png;base64,...`).

    Args:
        record: The line's object.
        folder: Base of relative paths: the folder of the file.

    Raises:
        DataError: The value is something else, or a URL that would have to be fetched.
    """
    return tuple(image_of(text, folder) for text in texts_at(record, "images") or ())


def image_of(text: str, folder: Path) -> ImageRef:
    """One picture.

    Raises:
        DataError: It is a URL, or a data URI that is not a picture in base64.
    """
    if text.startswith("data:"):
        head, mark, data = text.partition(";base64,")
        try:
            return ImageRef(
                bytes=base64.b64decode(data if mark and head.startswith("data:image/") else "?", validate=True)
            )
        except ValueError as error:
            raise DataError(
                f"images has {text[:40]!r}, which is not a picture; write data:image/png;base64,... or a path"
            ) from error
    if "://" in text or not text.strip():
        raise DataError(f"images has {text[:80]!r}; give the path of a file, nothing is fetched from an address")
    return ImageRef(path=str(folder / text))


def credentialed_row_at(record: dict[str, Any], number: int) -> str | None:
    """Return a name for a line whose data must not be shown to third parties; None for other lines.

    Such a line has `credentialed` set, itself or in `meta`, or a `data_source` of MIMIC.
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
    """Return the JSON name of a value's type."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")

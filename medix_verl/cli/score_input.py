# SPDX-License-Identifier: Apache-2.0
"""Reads the input of `medix-verl score`, line by line, and refuses what it cannot use by the line's number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medix_verl.data import jsonl
from medix_verl.data.jsonl import credentialed_row_at, kind_of, number_at, read_object, text_at, texts_at
from medix_verl.errors import DataError
from medix_verl.rewards.reading import parse_ground_truth
from medix_verl.types import Reference

__all__ = ["Line", "count_lines", "read_lines"]

NEEDS = "response and ground_truth"


@dataclass(frozen=True, slots=True)
class Line:
    """One answer to score."""

    id: str | int
    response: str
    reference: Reference


def count_lines(path: Path, check: Callable[[Reference], None] | None = None) -> int:
    """Check the whole file and count its lines.

    Args:
        path: The file.
        check: Raises for a reference that must not be scored.

    Raises:
        DataError: The first line that cannot be used.
    """
    count = 0
    for line in read_lines(path):
        if check is not None:
            check(line.reference)
        count += 1
    return count


def read_lines(path: Path) -> Iterator[Line]:
    """Read the lines of a file one by one; only at its end may lines be blank.

    Raises:
        DataError: A line cannot be used.
    """
    return jsonl.read_lines(path, read_line)


def read_line(raw: bytes, number: int) -> Line:
    """Read one line.

    Raises:
        DataError: What is wrong, without the place.
    """
    record = read_object(raw)
    identity = record.get("id")
    if identity is not None and (isinstance(identity, bool) or not isinstance(identity, (str, int))):
        raise DataError(f"id is {kind_of(identity)}; accepted: a text or an integer")
    tolerance = number_at(record, "tolerance")
    response = text_at(record, "response", NEEDS)
    reference = parse_ground_truth(
        text_at(record, "ground_truth", NEEDS) or "",
        modality=text_at(record, "modality"),
        question=text_at(record, "question"),
        options=texts_at(record, "options"),
        synonyms=texts_at(record, "synonyms") or (),
        tolerance=tolerance,
        credentialed_row=credentialed_row_at(record, number),
    )
    return Line(number if identity is None else identity, response or "", reference)

# SPDX-License-Identifier: Apache-2.0
"""Reads figures reported by others, with sources and protocols (`published.json`); none of them was measured by us.

A table with the protocol `published` has figures of the same tasks under similar rules. A table with another protocol
is shown for orientation only. A row whose number of values differs from the number of columns is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError

__all__ = ["FILE", "PROTOCOLS", "PublishedTable", "published_tables", "read_tables"]

FILE = Path(__file__).with_name("published.json")
PROTOCOLS = ("published", "other")


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table from another source."""

    title: str
    protocol: str
    """One of PROTOCOLS."""
    source: str
    url: str | None
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    """Model and its figures in percent, one per column; None for a missing figure."""


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """The tables contained in the package."""
    return tuple(read_tables(FILE))


def read_tables(path: Path) -> list[PublishedTable]:
    """Read a file of tables.

    Raises:
        DataError: The file cannot be read or is not a list of tables.
    """
    try:
        return [read_table(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a list of tables ({type(error).__name__}: {error}); see published.json"
        ) from error


def read_table(entry: dict[str, Any]) -> PublishedTable:
    """One table."""
    columns = tuple(entry["columns"])
    rows = tuple((str(row["model"]), tuple(row["values"])) for row in entry["rows"])
    for model, values in rows:
        if len(values) != len(columns) or not all(v is None or 0 <= v <= 100 for v in values):
            raise ValueError(f"the row of {model} needs {len(columns)} percentages")
    if entry["protocol"] not in PROTOCOLS or not entry["source"]:
        raise ValueError(f"{entry['title']} needs a source and one of the protocols {', '.join(PROTOCOLS)}")
    return PublishedTable(
        entry["title"], entry["protocol"], entry["source"], entry["url"], entry["note"], columns, rows
    )

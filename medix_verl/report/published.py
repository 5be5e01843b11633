# SPDX-License-Identifier: Apache-2.0
"""What others have reported, with sources and protocols, as data (`published.json`); nothing here was measured by us.

A table whose protocol is `published` has figures of the same tasks, under rules like ours; one of another protocol
stands beside them for orientation only. A row with another number of values than columns is refused.
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
    """One table of somebody else's."""

    title: str
    protocol: str
    """One of PROTOCOLS."""
    source: str
    url: str | None
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    """Model and its figures in percent, one a column; None where there is none."""


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """The tables that come with the package."""
    return tuple(read_tables(FILE))


def read_tables(path: Path) -> list[PublishedTable]:
    """Read a file of tables.

    Raises:
        DataError: It is none.
    """
    try:
        return [read_table(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no list of tables ({type(error).__name__}: {error}); see published.json") from error


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

# SPDX-License-Identifier: Apache-2.0
"""Writes CSV for spreadsheets and prevents formula injection by texts from a model or a data set.

A spreadsheet evaluates a cell that begins with one of FORMULA, also after white space. A program that uses `;` or a tab
as separator splits a text into several cells, and one that ignores quotes starts a row at each line break. The text
after these characters is therefore treated as the beginning of a cell too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

__all__ = ["FORMULA", "csv_text", "harmless"]

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\u2212", "\ufe62", "\ufe63", "\ufe66", "\ufe6b")
"""First characters of a formula: = + - @, their full-width and small forms, and the minus sign."""
CELL_ENDS = re.compile(r"([;\t\r\n])")
CONTROL = ("\t", "\r", "\n", "\0")
"""First characters that are always escaped, since a spreadsheet may run the text after them as a command."""


def harmless(text: str) -> str:
    """A text that a spreadsheet does not evaluate: an apostrophe is put before each possible formula."""
    made = "".join(f"'{part}" if begins_formula(part) else part for part in CELL_ENDS.split(text))
    return f"'{made}" if made.startswith(CONTROL) else made


def begins_formula(part: str) -> bool:
    """Whether a cell with this content would be evaluated; zero-width characters count as white space."""
    return part.lstrip(" \xa0\u3000\u200b\u200c\u200d\u2060\ufeff\0\v\f").startswith(FORMULA)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """A table as comma-separated CSV with every text escaped; numbers, including negative ones, are not escaped."""
    target = io.StringIO()
    writer = csv.writer(target)
    writer.writerow(columns)
    writer.writerows([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return target.getvalue()

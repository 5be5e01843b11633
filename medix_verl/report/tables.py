# SPDX-License-Identifier: Apache-2.0
"""Makes the tables of a rendered page readable on a phone: adds the column's name to each cell, for stacked rows.

On a screen of 390 pixels a table with many columns would be cut off. Its rows are shown there as blocks with one line
per cell, the column's name before the value (report.css). Only for pages of our own templates, in which all other texts
are escaped, so that `<td` is always a cell. A table in a block of the class `fits` is not changed.
"""

from __future__ import annotations

import re
from html import escape, unescape

__all__ = ["FEWEST", "stackable"]

FEWEST = 3
"""Least number of columns of a stacked table."""
# An element ends at the latest where the next one of its kind begins, so that a search takes linear time.
_TABLE = re.compile(r'<div class="(?P<kind>wide[^"<>]*)"><table>(?P<inside>(?:(?!<table>).)*?)</table>', re.DOTALL)
_PARTS = re.compile(r"(?P<head><thead>.*?</thead>)(?P<body>.*)", re.DOTALL)
_HEADER = re.compile(r"<th(?P<given>[^<>]*)>(?P<text>(?:(?!<th).)*?)</th>", re.DOTALL)
_CELL = re.compile(r"<(?P<tag>td|th)(?P<given>[^<>]*)>")
_ROW = re.compile(r"<tr[^<>]*>(?:(?!<tr).)*?</tr>", re.DOTALL)
_COLUMNS = re.compile(r'\bcolspan="(\d+)"')
_MARKUP = re.compile(r"<[^<>]*>")


def stackable(page: str) -> str:
    """The page with column names in the cells of tables with at least FEWEST columns."""
    return _TABLE.sub(_table, page)


def _table(found: re.Match[str]) -> str:
    parts = _PARTS.match(found["inside"].strip())
    if parts is None or "fits" in found["kind"].split():
        return found[0]
    names: list[str] = []
    for header in _HEADER.finditer(parts["head"]):
        text = " ".join(unescape(_MARKUP.sub(" ", header["text"])).split())
        names += [text] * _span(header["given"])
    if len(names) < FEWEST:
        return found[0]
    body = _ROW.sub(lambda row: _row(row[0], names), parts["body"])
    return f'<div class="{found["kind"]}"><table class="stack">{parts["head"]}{body}</table>'


def _row(row: str, names: list[str]) -> str:
    """A row whose cells have their columns' names; the first cell is the row's header and gets none."""
    place = 0

    def cell(found: re.Match[str]) -> str:
        nonlocal place
        name = names[place] if 0 < place < len(names) else ""
        place += _span(found["given"])
        return f'<{found["tag"]}{found["given"]} data-label="{escape(name)}">' if name else found[0]

    return _CELL.sub(cell, row)


def _span(given: str) -> int:
    found = _COLUMNS.search(given)
    return int(found[1]) if found else 1

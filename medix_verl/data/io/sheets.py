# SPDX-License-Identifier: Apache-2.0
"""Read rows of one sheet of an Excel file (.xlsx): the values that Excel shows.

A formula has the value that Excel stored; a cell with an error (`#N/A`) makes its row a bad one. Booleans are TRUE and
FALSE, as Excel shows them; dates are written as 2026-01-31. The header is the first row that is not empty. `openpyxl`
reads the file; it is installed by the extra `data`.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError, SetupError

__all__ = ["sheet_rows"]

ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!"})
"""Error values that Excel shows in a cell."""


def sheet_rows(path: Path, sheet: str, say: Callable[[str], None]) -> Iterator[tuple[int, list[Any]]]:
    """Yield number (from 1) and cells of each row that is not empty; an empty cell is None.

    Args:
        path: The .xlsx file.
        sheet: The sheet's name; empty selects the first.
        say: Called with a message that lists the sheets that are not read.

    Raises:
        SetupError: openpyxl is not installed.
        DataError: It is not an Excel file, or has no such sheet.
    """
    try:
        import openpyxl
    except ImportError as cause:
        remedy = "type `pip install 'medix-verl[data]'`, or save it as CSV"
        raise SetupError(f"{path} is an Excel file, and openpyxl is not installed; {remedy}") from cause
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as cause:  # a damaged file can raise errors of zipfile, an XML parser or openpyxl
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise DataError(f"{path} is not a readable Excel file ({reason}); save it again as .xlsx or CSV") from cause
    try:
        if sheet and sheet not in book.sheetnames:
            got = ", ".join(book.sheetnames)
            raise DataError(f"{path} has no sheet {sheet!r}; it has {got}: give one as --set sheet=NAME")
        chosen = book[sheet] if sheet else book.worksheets[0]
        others = [one.title for one in book.worksheets if one is not chosen]
        if others and not sheet:
            left = f"not {', '.join(others)}; --set sheet=NAME reads another"
            say(f"{path.name}: sheet {chosen.title!r} is read, {left}")
        for number, cells in enumerate(chosen.iter_rows(values_only=True), start=1):
            values = [plain(cell) for cell in cells]
            while values and values[-1] is None:
                values.pop()
            if values:
                yield number, values
    finally:
        book.close()


def plain(cell: Any) -> Any:
    """Return a cell's value as a text table would have it; None for an empty cell."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, datetime.datetime):
        return cell.date().isoformat() if cell.time() == datetime.time() else cell.isoformat(sep=" ")
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, (int, float)):
        return cell
    text = "" if cell is None else str(cell)
    return text if text.strip() else None

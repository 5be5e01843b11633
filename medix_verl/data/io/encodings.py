# SPDX-License-Identifier: Apache-2.0
"""Detect the encoding and the delimiter of a user's table; the default encoding is UTF-8.

UTF-16 is detected by its byte order mark or its zero bytes. A file is cp1252 (as Excel writes it) if no line with
non-ASCII bytes is valid UTF-8 and all these bytes are letters or signs of Western European texts. A file in which some
such lines are valid UTF-8 is UTF-8 with damaged lines, which are refused one by one. No other encoding is guessed,
because GB18030 or Shift-JIS decoded as cp1252 would be meaningless: the user must name these.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from medix_verl.errors import DataError

__all__ = ["DELIMITERS", "HINT", "delimiter_of", "encoding_of"]

DELIMITERS = {"auto": "", "comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
MARKS_16 = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"""Checked after those of UTF-32, because the UTF-32-LE mark begins with the UTF-16-LE mark."""
HINT = re.compile("sep=([^\r\n])\r?\n?")
"""Excel's first line that names the delimiter; it is not a row."""
HEAD = 1 << 16
WESTERN = frozenset(range(0x80, 0xFF)) - {0x81, 0x8D, 0x8F, 0x90, 0x9D, 0xAC, 0xA4, 0xA6, 0xAD, 0xD0, 0xDE, 0xF0, 0xFE}
"""Non-ASCII bytes that occur in Western European texts in cp1252."""
LONGEST_RUN = re.compile(rb"[\x80-\xff]{4}")
"""Western European words may have two adjacent accented letters; a run of four indicates another script."""


def encoding_of(path: Path, name: str = "auto") -> str:
    """Return the Python name of a file's encoding.

    Args:
        path: The file.
        name: The encoding that the user gives; `auto` detects it.

    Raises:
        DataError: There is no encoding of that name.
    """
    if name != "auto":
        try:
            return codecs.lookup(name).name
        except LookupError as cause:
            raise DataError(f"encoding is {name!r}; accepted: auto, utf-8, utf-16, cp1252, gb18030...") from cause
    with path.open("rb") as file:
        head = file.read(HEAD)
        marked = next((found for mark, found in (*MARKS, *MARKS_16) if head.startswith(mark)), None)
        if marked is not None:
            return marked
        if b"\0" in head and (wide := without_mark(head)):
            return wide
        file.seek(0)
        return "cp1252" if is_western(file) else "utf-8"


def without_mark(head: bytes) -> str:
    """Detect UTF-16 without a byte order mark: about every other byte of a mostly ASCII text is zero."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) * 2 < len(head) // 2 or min(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def is_western(lines: Iterable[bytes]) -> bool:
    """Return whether some line is not ASCII, no such line is valid UTF-8, and all could be cp1252."""
    found = False
    for line in lines:
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            return False
        except UnicodeDecodeError:
            found = True
        if LONGEST_RUN.search(line) or not WESTERN.issuperset(byte for byte in line if byte > 0x7F):
            return False
    return found


def delimiter_of(path: Path, encoding: str, name: str = "auto") -> str:
    """Return the delimiter of a CSV file: the requested one, or the one that gives the most columns in the first line.

    Raises:
        DataError: There is no delimiter of that name.
    """
    if name not in DELIMITERS:
        raise DataError(f"delimiter is {name!r}; accepted: {', '.join(DELIMITERS)}")
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    if name != "auto":
        return DELIMITERS[name]
    with path.open("rb") as file:
        head = codecs.getincrementaldecoder(encoding)("replace").decode(file.read(HEAD))
    head = head.removeprefix("\ufeff")
    hint = HINT.match(head)
    if hint is not None:
        return hint[1]
    others = [sign for sign in DELIMITERS.values() if sign and sign != usual]
    # On a tie, max returns the first: the usual delimiter.
    return max((usual, *others), key=lambda sign: columns(head, sign))


def columns(head: str, sign: str) -> int:
    try:
        return len(next(csv.reader(io.StringIO(head, newline=""), delimiter=sign, strict=True), ()))
    except csv.Error:
        return 0

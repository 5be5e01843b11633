# SPDX-License-Identifier: Apache-2.0
"""Restrict which files of a data set are opened: regular ones of bounded size inside its folder, no parquet bombs.

A data set is untrusted: it may contain a link to a file outside it, a pipe without a writer, or an endless device. A
hub snapshot consists of links into its own repository's `blobs`; these are followed. A parquet file whose footer
declares implausibly large contents is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

from medix_verl.errors import DataError

__all__ = [
    "MAX_FILE_BYTES",
    "is_inside",
    "is_own_file",
    "open_regular",
    "read_regular",
    "refuse_bomb",
    "rows_at_once",
]

MAX_FILE_BYTES = 1 << 30
"""Maximum size of a picture file in bytes."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: It cannot be opened, or is a pipe, a device or a folder.
    """
    # Without O_NONBLOCK, opening a pipe blocks until it has a writer. Regular files ignore the flag.
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "no file but a folder, a pipe or a device", str(path))
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_regular(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: It is larger than the limit, in bytes.
        OSError: It cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise DataError(f"{path} is too large ({size >> 20} MiB); at most {limit >> 20} MiB")
        return file.read(limit + 1)


def is_own_file(path: Path, root: Path) -> bool:
    """Return whether a path is a regular file inside a data set's folder, after following links.

    Args:
        path: The file.
        root: The folder.
    """
    return is_inside(path, root) and path.is_file()


def is_inside(path: Path, root: Path) -> bool:
    """Return whether a path exists and is inside a folder, after following links."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # missing, or a cycle of links
        return False
    return any(real.is_relative_to(place) for place in allowed(root))


def allowed(root: Path) -> list[Path]:
    """Return the folders that the resolved files of a folder may be in."""
    real = root.resolve()
    # The hub's cache: REPOSITORY/snapshots/COMMIT/... links to REPOSITORY/blobs.
    repositories = [place.parent for place in (real, *real.parents) if place.name == "snapshots"]
    return [real, *(place / "blobs" for place in repositories if (place / "blobs").is_dir())]


MAX_GROUP_BYTES = 1 << 30
"""Uncompressed bytes of one column of a row group above which MAX_RATIO applies; it is in memory as a whole."""
MAX_RATIO = 200
"""Maximum compression ratio above that size; pictures are compressed already, and texts reach about 10."""
MAX_DICTIONARY_BYTES = 64 << 20
"""As MAX_GROUP_BYTES, for a column with a dictionary: the longest value may be repeated in each of its rows."""
MAX_ROWS_A_BYTE = 64
"""Maximum rows per byte of the file; a file with more can only contain one repeated value."""


def refuse_bomb(file: pq.ParquetFile, path: str | Path) -> None:
    """Refuse a file whose rows would not fit in memory, or whose footer contradicts its size.

    Args:
        file: The opened file; only its footer is read.
        path: The file's path, for its size and the message.

    Raises:
        DataError: The file is refused.
    """
    size = os.stat(path).st_size
    meta = file.metadata
    if meta.num_rows < 0 or meta.num_rows > MAX_ROWS_A_BYTE * size:
        raise DataError(f"{path} promises {meta.num_rows} rows in {size} bytes; get the file again")
    for group in range(meta.num_row_groups):
        for place in range(meta.num_columns):
            column = meta.row_group(group).column(place)
            packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
            if not 0 <= packed <= size or unpacked < 0:
                raise DataError(f"{path} promises a column of {packed} bytes in {size}; get the file again")
            most = MAX_DICTIONARY_BYTES if column.has_dictionary_page else MAX_GROUP_BYTES
            if unpacked > most and unpacked > MAX_RATIO * packed:
                name = column.path_in_schema
                promise = f"column {name} unpacks from {packed} bytes to {unpacked >> 20} MiB"
                raise DataError(f"{path}: {promise}; leave the file out, or write it in smaller row groups")


def rows_at_once(file: pq.ParquetFile, most: int) -> int:
    """Return how many rows of a parquet file may be decoded at once, from 1 to `most`.

    A value of a column with a dictionary may be as long as the dictionary and may be repeated in every row.
    """
    meta = file.metadata
    columns = (
        meta.row_group(group).column(place) for group in range(meta.num_row_groups) for place in range(meta.num_columns)
    )
    longest = max((column.total_uncompressed_size for column in columns if column.has_dictionary_page), default=0)
    return max(1, min(most, MAX_GROUP_BYTES // max(1, longest)))

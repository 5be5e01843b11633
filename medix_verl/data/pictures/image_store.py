# SPDX-License-Identifier: Apache-2.0
"""Store pictures as content-addressed files next to the parquet file that refers to them.

A picture is stored once, even if several rows use it. Writes are atomic (temporary file, then rename), and several
processes may store the same picture concurrently. The bytes are stored unchanged and are not checked here (see
`images`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from medix_verl.errors import DataError
from medix_verl.runtime.files import atomic_write
from medix_verl.types import ImageRef

__all__ = ["ImageStore"]

KINDS = (
    (0, b"\x89PNG", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"GIF8", ".gif"),
    (0, b"BM", ".bmp"),
    (0, b"II*\x00", ".tif"),
    (0, b"MM\x00*", ".tif"),
    (8, b"WEBP", ".webp"),
    (128, b"DICM", ".dcm"),
)
"""Offset of the magic bytes, the magic bytes, and the suffix."""


@dataclass(frozen=True, slots=True)
class ImageStore:
    """A folder of pictures; references are relative to its parent folder, which contains the parquet file."""

    folder: Path

    def put(self, data: bytes) -> ImageRef:
        """Store a picture's bytes, unless they are already stored.

        Returns:
            A reference such as `train.images/3f/3f9a...c2.png`, relative to the store's parent folder.

        Raises:
            DataError: There are no bytes.
        """
        name = name_of(data)
        path = Path(self.folder) / name[:2] / name
        if not path.is_file():
            write_whole(path, data)
        return ImageRef(path=f"{Path(self.folder).name}/{name[:2]}/{name}")


def name_of(data: bytes) -> str:
    """Return a picture's file name: the first 16 bytes of its SHA-256 in hex, and the suffix of its format."""
    if not data:
        raise DataError("a picture to store has no bytes; drop the row")
    suffix = next((end for start, mark, end in KINDS if data[start : start + len(mark)] == mark), ".bin")
    return hashlib.sha256(data).hexdigest()[:32] + suffix


def write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_bytes(data)

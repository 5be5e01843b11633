# SPDX-License-Identifier: Apache-2.0
"""Mark a parquet file whose pictures were all decoded by `prepare`, so that training can skip this check.

`prepare` writes the stamp into the file's metadata: a SHA-256 of all rows' pictures (their bytes, or their paths) in
row order, and the decoder. Tools that change rows often keep the metadata; the hash then differs, and every picture is
decoded as in a file without a stamp. For a picture stored as a file, its content must also match the hash in its name.

The stamp assumes that the same version of Pillow with the same formats decodes the same bytes again. It is not a
signature: anyone who can write the file can write the stamp. DICOM is always decoded, since its decoders are plugins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import PIL

from medix_verl.data.dicom.decode import is_dicom
from medix_verl.data.pictures.image_store import name_of
from medix_verl.data.pictures.images import known_formats
from medix_verl.types import ImageRef

__all__ = ["KEY", "PictureHash", "as_it_was", "digest_in", "stamp"]

KEY = b"medix_verl.decoded"
"""Key in the metadata of a parquet file."""


class PictureHash:
    """Hash of the pictures of all rows, updated row by row."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, images: Iterable[Mapping[str, Any]] | None) -> None:
        """Add the next row's value of the column `images`."""
        parts = [item["bytes"] or str(item["path"]).encode("utf-8", "surrogatepass") for item in images or ()]
        self._digest.update(b"%d " % len(parts))
        for item, part in zip(images or (), parts, strict=True):
            self._digest.update(b"%s %d " % (b"bytes" if item["bytes"] else b"path", len(part)))
            self._digest.update(part)

    def hexdigest(self) -> str:
        """Return the hash of the rows added so far."""
        return self._digest.hexdigest()


def stamp(pictures: PictureHash) -> dict[bytes, bytes]:
    """Return the metadata of a file with these pictures, all of which were decoded by this process."""
    return {KEY: json.dumps({"pictures": pictures.hexdigest(), "decoder": decoder()}).encode()}


def digest_in(metadata: Mapping[bytes, bytes] | None) -> str | None:
    """Return the hash in a file's stamp; None if there is no stamp or it is of another decoder."""
    try:
        said = json.loads((metadata or {})[KEY])
        return str(said["pictures"]) if said["decoder"] == decoder() else None
    except (KeyError, TypeError, ValueError):
        return None


def decoder() -> str:
    return f"Pillow {PIL.__version__}: {', '.join(known_formats())}"


def as_it_was(ref: ImageRef, data: bytes) -> bool:
    """Return whether the decoding check of a picture of a stamped file can be skipped.

    Args:
        ref: The row's reference.
        data: The picture's content.
    """
    return not is_dicom(data) and (ref.path is None or Path(ref.path).name == name_of(data))

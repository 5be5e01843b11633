# SPDX-License-Identifier: Apache-2.0
"""Makes thumbnails of an evaluation's pictures, for self-contained pages.

Pictures are looked up by hash in the folders where an evaluation keeps them, and returned as data URIs of bounded size.
There is no thumbnail for a picture that is not kept (credentialed tasks keep none), for a damaged one, and for a file
whose content is not in a format that training opens, since the folder may come from another user.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

__all__ = ["PLACES", "thumbnail"]

PLACES = ("pictures", "images")
"""Folders below EVAL_DIR that may contain HASH.png, HASH.jpeg ..."""
HASH = re.compile(r"[0-9a-f]{8,128}")


def thumbnail(folder: Path, name: str, side: int = 320) -> str | None:
    """A picture as a data URI of a JPEG; None if it is missing or cannot be read.

    Args:
        folder: The evaluation's folder.
        name: The picture's hash.
        side: Longest side, in pixels.
    """
    from medix_verl.data.pictures.images import open_checked

    if not HASH.fullmatch(name):
        return None
    path = next((file for place in PLACES for file in sorted((folder / place).glob(f"{name}.*"))), None)
    if path is None:
        return None
    try:
        with open_checked(path.read_bytes(), name, "picture") as image:
            small = image.convert("RGB")
            small.thumbnail((side, side))
    except Exception:  # noqa: BLE001 - a decoder fails on a damaged file in any way; it is not shown
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

# SPDX-License-Identifier: Apache-2.0
"""Small copies of an evaluation's pictures, for a page that must stand alone.

Pictures are looked up by hash in the folders where an evaluation keeps them, and come back as data URIs of bounded
size. A picture that is not kept there (credentialed tasks keep none) has no thumbnail; a damaged one has none either.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

__all__ = ["PLACES", "thumbnail"]

PLACES = ("pictures", "images")
"""Folders below EVAL_DIR that may hold HASH.png, HASH.jpeg ..."""
HASH = re.compile(r"[0-9a-f]{8,128}")


def thumbnail(folder: Path, name: str, side: int = 320) -> str | None:
    """A picture as a data URI of a JPEG, or None where it is not there or cannot be read.

    Args:
        folder: The evaluation's.
        name: The picture's hash.
        side: Longest side, in pixels.
    """
    from PIL import Image

    if not HASH.fullmatch(name):
        return None
    path = next((file for place in PLACES for file in sorted((folder / place).glob(f"{name}.*"))), None)
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((side, side))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

# SPDX-License-Identifier: Apache-2.0
"""Pictures: from a row's reference, or from a DICOM file, to 8-bit RGB.

A picture that is missing, corrupt, cut off or larger than MAX_PIXELS is a DataError that names the row; it is never
replaced by a blank one. Grey levels deeper than 8 bits are spread over 0..255. DICOM goes by what the file itself
says about display (see `dicom`).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medix_verl.data.dicom import MAX_PIXELS, count_frames, is_dicom, read_dicom
from medix_verl.data.dicom_window import spread
from medix_verl.errors import DataError
from medix_verl.types import ImageRef

__all__ = ["MAX_PIXELS", "count_frames", "load_image", "read_dicom"]

DEEP_MODES = ("I", "F")
REMEDY = "mend or drop the row"


def load_image(ref: ImageRef, row_id: str, base_dir: str | Path | Sequence[str] = ".") -> Image.Image:
    """Decode a row's picture.

    Args:
        ref: The picture, by value or by place.
        row_id: Named in every error.
        base_dir: Where relative paths start: the folder of the parquet file; of several, the first that has the file.

    Returns:
        An RGB picture, upright.

    Raises:
        DataError: The picture cannot be used.
    """
    data, label = read_bytes(ref, row_id, base_dir)
    if is_dicom(data):
        try:
            return Image.fromarray(read_dicom(io.BytesIO(data), max_pixels=MAX_PIXELS))
        except DataError as cause:
            raise DataError(f"row {row_id!r}: {label}: {cause}") from cause
    with open_checked(data, row_id, label) as image:
        try:
            image.load()
            return to_rgb(image)
        except (OSError, ValueError, SyntaxError, IndexError) as cause:
            raise DataError(f"row {row_id!r}: {label} is cut off or corrupt ({cause}); {REMEDY}") from cause


def read_bytes(ref: ImageRef, row_id: str, base_dir: str | Path | Sequence[str]) -> tuple[bytes, str]:
    if (ref.bytes is None) == (ref.path is None):
        raise DataError(f"row {row_id!r}: a picture needs exactly one of bytes and path; {REMEDY}")
    if ref.bytes is not None:
        return ref.bytes, "its picture"
    folders = [base_dir] if isinstance(base_dir, str | Path) else list(base_dir)
    places = [Path(folder) / str(ref.path) for folder in folders] or [Path(str(ref.path))]
    path = next((place for place in places if place.is_file()), places[0])
    try:
        return path.read_bytes(), f"picture {path}"
    except OSError as cause:
        reason = cause.strerror or cause
        raise DataError(f"row {row_id!r}: picture {path} cannot be read ({reason}); check the folder") from cause


def open_checked(data: bytes, row_id: str, label: str) -> Image.Image:
    """Open a picture's header and refuse sizes above MAX_PIXELS before anything is decoded."""
    try:
        with warnings.catch_warnings():
            # Pillow's own limit only warns; ours below is lower and refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as cause:
        raise DataError(f"row {row_id!r}: {label} is too large ({cause}); at most {MAX_PIXELS} pixels") from cause
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as cause:
        raise DataError(f"row {row_id!r}: {label} is no readable picture ({len(data)} bytes); {REMEDY}") from cause
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise DataError(f"row {row_id!r}: {label} is too large ({size}); at most {MAX_PIXELS} pixels, scale it down")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.split(";")[0] in DEEP_MODES:
        return Image.fromarray(spread(np.asarray(upright, dtype=np.float64))).convert("RGB")
    if upright.mode == "P":
        # A palette with transparency loses its colours when it goes to RGB directly.
        upright = upright.convert("RGBA")
    return upright.convert("RGB")

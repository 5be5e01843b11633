# SPDX-License-Identifier: Apache-2.0
"""Decode a row's picture, including DICOM, to 8-bit RGB.

A picture that is missing, corrupt, truncated or larger than MAX_PIXELS raises a DataError that names the row; it is
never replaced by a blank one. Grey levels of more than 8 bits are scaled to 0..255, and transparent pixels become
white. DICOM uses the display settings of the file (see `dicom.decode`).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from medix_verl.data.dicom.decode import MAX_PIXELS, count_frames, is_dicom, read_dicom
from medix_verl.data.dicom.window import finite, spread
from medix_verl.data.io.file_limits import read_regular
from medix_verl.errors import DataError
from medix_verl.types import ImageRef

__all__ = ["MAX_PIXELS", "count_frames", "load_image", "naming_place", "read_dicom"]

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "PPM", "PCX", "AVIF")
"""Allow-list of Pillow's formats; EPS, for example, is a program that Pillow would run with ghostscript."""
PNG = b"\x89PNG\r\n\x1a\n"
PNG_NOTES = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transposition that makes the picture upright."""
DEEP_MODES = ("I", "F")
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
REMEDY = "fix or drop the row"


def load_image(ref: ImageRef, row_id: str, base_dir: str | Path | Sequence[str] = ".") -> Image.Image:
    """Decode a row's picture.

    Args:
        ref: The picture, as bytes or as a path.
        row_id: Named in every error.
        base_dir: Base of relative paths: the folder of the parquet file; of several, the first that has the file.

    Returns:
        An RGB picture, upright.

    Raises:
        DataError: The picture cannot be used.
    """
    data, label = read_bytes(ref, row_id, base_dir)
    try:
        return from_dicom(data, row_id, label) if is_dicom(data) else decoded(data, row_id, label)
    except DataError:
        raise
    except Exception as cause:  # a decoder can raise anything on a damaged file; the error names the row
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise DataError(f"row {row_id!r}: {label} is cut off or corrupt ({reason}); {REMEDY}") from cause


def from_dicom(data: bytes, row_id: str, label: str) -> Image.Image:
    try:
        return Image.fromarray(read_dicom(io.BytesIO(data), max_pixels=MAX_PIXELS))
    except DataError as cause:
        raise DataError(f"row {row_id!r}: {label}: {cause}") from cause


def decoded(data: bytes, row_id: str, label: str) -> Image.Image:
    with open_checked(data, row_id, label) as image:
        try:
            image.load()
        except ValueError:
            plain = without_notes(data)
            if plain == data:
                raise
            # A text chunk after the pixels is too large for Pillow.
            return decoded(plain, row_id, label)
        try:
            return to_rgb(image)
        except DataError as cause:
            raise DataError(f"row {row_id!r}: {label}: {cause}; {REMEDY}") from cause


@contextmanager
def naming_place(number: int, count: int) -> Iterator[None]:
    """Add the picture's number to a DataError of the block, if the row has several pictures.

    Args:
        number: The picture's number, from 1.
        count: Number of pictures of the row.
    """
    try:
        yield
    except DataError as cause:
        if count < 2:
            raise
        raise DataError(f"{cause} (picture {number} of {count})") from cause


def read_bytes(ref: ImageRef, row_id: str, base_dir: str | Path | Sequence[str]) -> tuple[bytes, str]:
    if (ref.bytes is None) == (ref.path is None):
        raise DataError(f"row {row_id!r}: a picture needs exactly one of bytes and path; {REMEDY}")
    if ref.bytes is not None:
        return ref.bytes, "its picture"
    folders = [base_dir] if isinstance(base_dir, str | Path) else list(base_dir)
    places = [Path(folder) / str(ref.path) for folder in folders] or [Path(str(ref.path))]
    path = next((place for place in places if place.is_file()), places[0])
    try:
        return read_regular(path), f"picture {path}"
    except DataError as cause:
        raise DataError(f"row {row_id!r}: picture {cause}") from cause
    except OSError as cause:
        reason = cause.strerror or cause
        raise DataError(f"row {row_id!r}: picture {path} cannot be read ({reason}); check the folder") from cause


def open_checked(data: bytes, row_id: str, label: str) -> Image.Image:
    """Open a picture's header and refuse sizes above MAX_PIXELS before decoding."""
    try:
        with warnings.catch_warnings():
            # Pillow's own limit only warns; the check below is stricter and refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = open_picture(data)
    except Image.DecompressionBombError as cause:
        raise DataError(f"row {row_id!r}: {label} is too large ({cause}); at most {MAX_PIXELS} pixels") from cause
    except UnidentifiedImageError as cause:
        accepted = f"accepted: {', '.join(known_formats())}, DICOM"
        raise DataError(
            f"row {row_id!r}: {label} is not a readable picture ({len(data)} bytes); {accepted}; {REMEDY}"
        ) from cause
    except Exception as cause:  # as in `load_image`
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise DataError(
            f"row {row_id!r}: {label} is not a readable picture ({len(data)} bytes): {reason}; {REMEDY}"
        ) from cause
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise DataError(f"row {row_id!r}: {label} is too large ({size}); at most {MAX_PIXELS} pixels, scale it down")
    return image


def open_picture(data: bytes) -> Image.Image:
    """Open encoded bytes; if a PNG's colour profile or text is too large for Pillow, open the file without it."""
    try:
        return Image.open(io.BytesIO(data), formats=known_formats())
    except ValueError:
        plain = without_notes(data)
        if plain == data:
            raise
        return Image.open(io.BytesIO(plain), formats=known_formats())


@cache
def known_formats() -> tuple[str, ...]:
    """Return the formats of FORMATS that this build of Pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def without_notes(data: bytes) -> bytes:
    """Remove a PNG's colour profile and texts, which change no pixel; other formats are returned unchanged."""
    if not data.startswith(PNG):
        return data
    kept, at = [PNG], len(PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in PNG_NOTES:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def orientation_of(image: Image.Image) -> int | None:
    """Return a picture's EXIF orientation, 1 to 8; 1 if it has none, None if the EXIF data cannot be read."""
    try:
        said = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF data can raise anything; the pixels are still usable
        return None
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture to RGB: upright, transparent pixels white, deep grey levels scaled over their finite range.

    Raises:
        DataError: No grey level is a finite number.
    """
    # Not ImageOps.exif_transpose: it also rewrites the EXIF data, which fails for some data that can be read.
    turn = TURNS.get(orientation_of(image) or 1)
    upright = image if turn is None else image.transpose(turn)
    if upright.mode.split(";")[0] in DEEP_MODES:
        return Image.fromarray(spread(finite(np.asarray(upright, dtype=np.float64)))).convert("RGB")
    if not is_transparent(upright):
        return upright.convert("RGB")
    # White as in qwen_vl_utils: a black drawing on a transparent background would otherwise be entirely black.
    ground = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(ground, upright.convert("RGBA")).convert("RGB")


def is_transparent(image: Image.Image) -> bool:
    """Return whether a picture has an alpha band or a transparent colour (of its palette, or of all colours)."""
    return image.mode in ALPHA_MODES or "transparency" in image.info

# SPDX-License-Identifier: Apache-2.0
"""Pictures: from a row's reference, or from a DICOM file, to 8-bit RGB.

A picture that is missing, corrupt, cut off or larger than MAX_PIXELS is a DataError that names the row; it is never
replaced by a blank one. Grey levels deeper than 8 bits are spread over 0..255. DICOM goes by what the file itself
says about display: rescale slope and intercept, then the first window (or VOI table), MONOCHROME1 turned to
bright-is-high, palette and YBR colours to RGB.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medix_verl.errors import DataError
from medix_verl.types import ImageRef

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["MAX_PIXELS", "check_image", "count_frames", "load_image", "read_dicom"]

MAX_PIXELS = 64_000_000
"""Largest accepted picture, in pixels: above every clinical detector, below what fills the memory of a data worker."""

DICOM_MAGIC = (128, b"DICM")
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
            return Image.fromarray(read_dicom(io.BytesIO(data)))
        except DataError as cause:
            raise DataError(f"row {row_id!r}: {label}: {cause}") from cause
    with open_checked(data, row_id, label) as image:
        try:
            image.load()
            return to_rgb(image)
        except (OSError, ValueError, SyntaxError, IndexError) as cause:
            raise DataError(f"row {row_id!r}: {label} is cut off or corrupt ({cause}); {REMEDY}") from cause


def check_image(ref: ImageRef, row_id: str, base_dir: str | Path | Sequence[str] = ".") -> tuple[int, int]:
    """Check a picture without decoding its pixels: readable header, accepted size, checksums where the format has any.

    A JPEG that is cut off behind its header passes; only `load_image` finds that.

    Returns:
        Width and height in pixels.

    Raises:
        DataError: The picture cannot be used.
    """
    data, label = read_bytes(ref, row_id, base_dir)
    if is_dicom(data):
        try:
            dataset = open_dicom(io.BytesIO(data))
        except DataError as cause:
            raise DataError(f"row {row_id!r}: {label}: {cause}") from cause
        return int(dataset.Columns), int(dataset.Rows)
    with open_checked(data, row_id, label) as image:
        size = image.size
        try:
            image.verify()
        except (OSError, ValueError, SyntaxError, IndexError) as cause:
            raise DataError(f"row {row_id!r}: {label} is corrupt ({cause}); {REMEDY}") from cause
        return size


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


def is_dicom(data: bytes) -> bool:
    start, magic = DICOM_MAGIC
    return data[start : start + len(magic)] == magic


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


def spread(values: np.ndarray) -> np.ndarray:
    """Scale an array's own range to 0..255, as uint8; a flat array becomes 0."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (255.0 / (high - low) if high > low else 0.0)).round().astype(np.uint8)


def open_dicom(source: str | Path | BinaryIO) -> Dataset:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(source)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
    except (InvalidDicomError, OSError, ValueError, AttributeError, TypeError) as cause:
        raise DataError(f"no DICOM picture ({cause}); give a DICOM file that holds an image") from cause
    if rows * columns > MAX_PIXELS:
        raise DataError(f"DICOM picture is too large ({columns} x {rows}); at most {MAX_PIXELS} pixels a frame")
    return dataset


def count_frames(source: str | Path | BinaryIO) -> int:
    """How many frames a DICOM file has, 1 for an ordinary one."""
    return frames_of(open_dicom(source))


def frames_of(dataset: Dataset) -> int:
    return int(getattr(dataset, "NumberOfFrames", None) or 1)


def read_dicom(source: str | Path | BinaryIO, frame: int | None = None) -> np.ndarray:
    """Decode one frame of a DICOM file for display.

    Args:
        source: A file, or an open binary stream.
        frame: Counted from 0; None is the first one.

    Returns:
        uint8 array of shape (rows, columns, 3), RGB.

    Raises:
        DataError: No DICOM picture, a frame that is not there, or pixels that cannot be decoded.
    """
    dataset = open_dicom(source)
    index, frames = frame or 0, frames_of(dataset)
    if not 0 <= index < frames:
        raise DataError(f"DICOM frame {frame} is not there; the file has frames 0 to {frames - 1}")
    try:
        return display_frame(dataset, index)
    except Exception as cause:  # each of pydicom's decoder plugins raises its own kinds of error
        message = " ".join(str(cause).split())[:200]
        remedy = "convert the file to an uncompressed one"
        raise DataError(f"DICOM pixels cannot be decoded ({message}); {remedy}") from cause


def display_frame(dataset: Dataset, index: int) -> np.ndarray:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    raw = pixel_array(dataset, index=index)
    if raw.ndim == 3:
        return raw.astype(np.uint8) if raw.dtype == np.uint8 else spread(raw.astype(np.float64))
    photometric = str(dataset.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        colour = apply_color_lut(raw, dataset)
        return colour if colour.dtype == np.uint8 else (colour >> 8).astype(np.uint8)
    grey = apply_window(np.asarray(apply_modality_lut(raw, dataset), dtype=np.float64), dataset)
    if photometric == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[:, :, None], 3, axis=2)


def apply_window(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Grey levels for display, uint8: by the VOI table, else the first window, else the picture's own range."""
    if getattr(dataset, "VOILUTSequence", None):
        from pydicom.pixels import apply_voi

        return spread(apply_voi(values.astype(np.int64), dataset).astype(np.float64))
    centre, width = first_number(dataset, "WindowCenter"), first_number(dataset, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return spread(values)
    function = str(getattr(dataset, "VOILUTFunction", None) or "LINEAR")
    if function == "SIGMOID":
        # The exponent is bounded: exp overflows far outside the window, where the answer is 0 or 1 anyway.
        share = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -60.0, 60.0)))
    elif function == "LINEAR_EXACT" or width <= 1:
        share = (values - centre) / width + 0.5
    else:
        share = (values - (centre - 0.5)) / (width - 1.0) + 0.5
    return (np.clip(share, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def first_number(dataset: Dataset, keyword: str) -> float | None:
    value: Any = getattr(dataset, keyword, None)
    if value is None or value == "":
        return None
    # pydicom gives a MultiValue where a file offers several windows; the first is the default one.
    return float(value[0]) if hasattr(value, "__len__") and not isinstance(value, str) else float(value)

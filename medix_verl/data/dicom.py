# SPDX-License-Identifier: Apache-2.0
"""DICOM files: opened within limits, and their frames decoded to 8-bit RGB as the file says they are shown.

Rescale, then the window or VOI table (see `dicom_window`), MONOCHROME1 turned to bright-is-high, palette and YBR
colours to RGB; of an enhanced multi-frame file, each frame by its own tags. Sizes are checked before a pixel is
decoded, those that a compressed frame states itself too. No message holds the value of a tag, and pydicom's own
warnings, which do, are not let through: a value in a log may be a patient's name.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from medix_verl.data.dicom_window import Window, grey_levels, rescaled, spread
from medix_verl.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "count_frames",
    "decode_frame",
    "frames_of",
    "is_dicom",
    "open_dicom",
    "quiet",
    "read_dicom",
]

MAX_PIXELS = 64_000_000
"""Largest accepted frame, in pixels: above every clinical detector, below what fills the memory of a data worker."""
MAX_BYTES = 1 << 30
"""Largest accepted file; its pixel data is read as a whole."""

MAGIC = (128, b"DICM")
DEFLATED = b"1.2.840.10008.1.2.1.99"
SHARED, EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
DISPLAY_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
DISPLAY_TAGS = (
    "ModalityLUTSequence",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)
PICTURE = "give a DICOM file that holds an image"


def is_dicom(data: bytes) -> bool:
    """Whether bytes begin as a DICOM file does."""
    start, magic = MAGIC
    return data[start : start + len(magic)] == magic


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from warning and logging: its messages quote the values of tags."""
    from pydicom import config

    logger, settings = logging.getLogger("pydicom"), config.settings
    was, mode = logger.disabled, settings.reading_validation_mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.disabled, settings.reading_validation_mode = True, config.IGNORE
        try:
            yield
        finally:
            logger.disabled, settings.reading_validation_mode = was, mode


def open_dicom(source: str | Path | BinaryIO, max_pixels: int | None = None) -> Dataset:
    """Read a DICOM file without decoding its pixels.

    Args:
        source: A file, or an open binary stream.
        max_pixels: Largest accepted frame; None is MAX_PIXELS.

    Raises:
        DataError: It is no DICOM file, holds no image, or is too large. The message holds no tag's value.
    """
    import pydicom

    refuse_bombs(source)
    try:
        with quiet():
            dataset = pydicom.dcmread(source)
            rows, columns = int(dataset.Rows), int(dataset.Columns)
    except Exception as cause:  # noqa: BLE001 - a corrupt file fails in any way; the message may hold values of tags
        raise DataError(f"no DICOM picture ({kind_of_failure(cause)}); {PICTURE}") from None
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if rows < 1 or columns < 1:
        raise DataError(f"no DICOM picture (its header says {columns} x {rows} pixels); {PICTURE}")
    if rows * columns > limit:
        raise DataError(f"DICOM picture is too large ({columns} x {rows}); at most {limit} pixels a frame")
    return dataset


def refuse_bombs(source: str | Path | BinaryIO) -> None:
    """Refuse files whose size cannot be bounded before they are read."""
    if isinstance(source, str | Path):
        try:
            with open(source, "rb") as file:
                return refuse_bombs(file)
        except OSError as cause:
            raise DataError(f"no DICOM picture ({cause.strerror or 'unreadable'}); {PICTURE}") from None
    place = source.tell()
    size = source.seek(0, os.SEEK_END) - place
    source.seek(place)
    head = source.read(4096)
    source.seek(place)
    if size > MAX_BYTES:
        raise DataError(f"DICOM file is too large ({size >> 20} MiB); at most {MAX_BYTES >> 20} MiB")
    if DEFLATED in head:
        raise DataError("DICOM file is deflated as a whole, its size is not known before; convert it to a plain one")
    return None


def kind_of_failure(cause: BaseException) -> str:
    """What went wrong, without a word of the file."""
    names = {"InvalidDicomError": "not a DICOM file", "EOFError": "cut off", "AttributeError": "no Rows and Columns"}
    if isinstance(cause, OSError):
        return cause.strerror or "unreadable"
    return names.get(type(cause).__name__, f"corrupt: {type(cause).__name__}")


def count_frames(source: str | Path | BinaryIO) -> int:
    """How many frames a DICOM file has, 1 for an ordinary one."""
    return frames_of(open_dicom(source))


def frames_of(dataset: Dataset) -> int:
    """How many frames a file says that it has, 1 where it says nothing.

    Raises:
        DataError: The number of frames is none.
    """
    try:
        with quiet():
            frames = int(dataset.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        frames = 0
    if frames < 1:
        raise DataError("DICOM tag NumberOfFrames is no number above 0; mend the file")
    return frames


def read_dicom(
    source: str | Path | BinaryIO, frame: int | None = None, window: Window | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """Decode one frame of a DICOM file for display.

    Args:
        source: A file, or an open binary stream.
        frame: Counted from 0; None is the first one.
        window: Which values become black and white; None goes by the file.
        max_pixels: Largest accepted frame; None is MAX_PIXELS.

    Returns:
        uint8 array of shape (rows, columns, 3), RGB.

    Raises:
        DataError: No DICOM picture, a frame that is not there, or pixels that cannot be decoded.
    """
    return decode_frame(open_dicom(source, max_pixels), frame or 0, window)


def decode_frame(dataset: Dataset, index: int = 0, window: Window | None = None) -> np.ndarray:
    """Decode one frame of an opened file (see `read_dicom`)."""
    frames = frames_of(dataset)
    if not 0 <= index < frames:
        raise DataError(f"DICOM frame {index} is not there; the file has frames 0 to {frames - 1}")
    try:
        with quiet():
            check_codestream(dataset, index)
            return display_frame(dataset, index, window or Window())
    except DataError:
        raise
    except Exception as cause:  # each of pydicom's decoder plugins raises its own kinds of error
        message = " ".join(str(cause).split())[:200]
        remedy = "convert the file to an uncompressed one"
        raise DataError(f"DICOM pixels cannot be decoded ({message}); {remedy}") from cause


def check_codestream(dataset: Dataset, index: int) -> None:
    """Refuse a compressed frame that says another size than the file: it would be decoded at its own."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset or not syntax.is_encapsulated:
        return
    from PIL import Image
    from pydicom.encaps import get_frame

    wanted = (int(dataset.Columns), int(dataset.Rows))
    data = get_frame(dataset.PixelData, index, number_of_frames=frames_of(dataset))
    try:
        with Image.open(io.BytesIO(data)) as picture:
            size = picture.size
    except OSError:  # no JPEG: RLE grows by at most 64, and its length is bounded by what the header says
        raw = wanted[0] * wanted[1] * int(dataset.SamplesPerPixel) * ((int(dataset.BitsAllocated) + 7) // 8)
        if len(data) > 2 * raw + 1024:
            raise DataError(f"DICOM frame {index} holds {len(data)} bytes for {raw}; the file is corrupt") from None
        return
    if size != wanted:
        got, said = f"{size[0]} x {size[1]}", f"{wanted[0]} x {wanted[1]}"
        raise DataError(f"DICOM frame {index} is {got} where the header says {said}; the file is corrupt, leave it out")


def display_frame(dataset: Dataset, index: int, window: Window) -> np.ndarray:
    from pydicom.pixels import apply_color_lut, pixel_array

    raw = pixel_array(dataset, index=index)
    if raw.ndim == 3:
        return raw.astype(np.uint8) if raw.dtype == np.uint8 else spread(raw.astype(np.float64))
    photometric = str(dataset.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        colour = apply_color_lut(raw, dataset)
        return colour if colour.dtype == np.uint8 else (colour >> 8).astype(np.uint8)
    tags = frame_tags(dataset, index)
    grey = grey_levels(rescaled(raw, tags), tags, window, padding_of(raw, dataset))
    if photometric == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[:, :, None], 3, axis=2)


def frame_tags(dataset: Dataset, index: int) -> Dataset:
    """What the file says of the display of one frame: its own tags before the shared ones before the file's."""
    from pydicom.dataset import Dataset

    tags = Dataset()
    tags.update({dataset[keyword].tag: dataset[keyword] for keyword in DISPLAY_TAGS if keyword in dataset})
    each = dataset.get(EACH) or []
    for groups in [*(dataset.get(SHARED) or [])[:1], *each[index : index + 1]]:
        for name in DISPLAY_GROUPS:
            for item in (groups.get(name) or [])[:1]:
                tags.update({item[key].tag: item[key] for key in DISPLAY_TAGS if key in item})
    return tags


def padding_of(raw: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """True where a stored value is the filling around a round or cut picture; None where the file names no such value.

    Args:
        raw: Stored values, shape (rows, columns).
        dataset: The file, for PixelPaddingValue and PixelPaddingRangeLimit.
    """
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    mask: np.ndarray = (raw >= low) & (raw <= high)
    return mask if mask.any() else None

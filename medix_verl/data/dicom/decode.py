# SPDX-License-Identifier: Apache-2.0
"""Open DICOM files within size limits and decode their frames to 8-bit RGB for display.

Steps: rescale, window or VOI table (see `window`), MONOCHROME1 inverted so that high values are bright, palette and YBR
colours converted to RGB. In an enhanced multi-frame file, each frame uses its own tags. Sizes are checked before a
pixel is decoded, including the size in the header of a compressed frame. Error messages contain no tag values, and
pydicom's warnings, which do, are suppressed: a value in a log may be a patient's name.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from medix_verl.data.dicom.lookup_tables import Range, palette_colours
from medix_verl.data.dicom.pixel_data import check_codestream, check_frames, is_encapsulated
from medix_verl.data.dicom.window import Window, finite, grey_levels, rescaled, spread
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
    "kind_of_failure",
    "open_dicom",
    "quiet",
    "read_dicom",
]

MAX_PIXELS = 64_000_000
"""Largest accepted frame, in pixels: above every clinical detector, small enough for the memory of a data worker."""
MAX_BYTES = 1 << 30
"""Largest accepted file, in bytes; the pixel data is read into memory as a whole."""

MAGIC = (128, b"DICM")
DEFLATED = b"1.2.840.10008.1.2.1.99"
SHARED, EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
DISPLAY_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
DISPLAY_TAGS = (
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)
MORE_DECODERS = (
    "type `pip install 'medix-verl[dicom]'` for further decoders (JPEG-LS, lossless and 12-bit JPEG), "
    "or convert the file to an uncompressed one"
)
PICTURE = "give a DICOM file that holds an image"


def is_dicom(data: bytes) -> bool:
    """Whether the bytes start with the DICOM preamble and magic."""
    start, magic = MAGIC
    return data[start : start + len(magic)] == magic


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress pydicom's warnings and logging: its messages quote tag values."""
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
        DataError: Not a DICOM file, no image, or too large. The message contains no tag value.
    """
    import pydicom

    refuse_bombs(source)
    try:
        with quiet():
            dataset = pydicom.dcmread(source)
            rows, columns = int(dataset.Rows), int(dataset.Columns)
    except Exception as cause:  # noqa: BLE001 - corrupt files raise any type; the message may contain tag values
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
    """The kind of failure, without any content of the file."""
    names = {"InvalidDicomError": "not a DICOM file", "EOFError": "cut off", "AttributeError": "no Rows and Columns"}
    if isinstance(cause, OSError):
        return cause.strerror or "unreadable"
    return names.get(type(cause).__name__, f"corrupt: {type(cause).__name__}")


def count_frames(source: str | Path | BinaryIO) -> int:
    """Number of frames of a DICOM file; 1 for a single-frame file."""
    return frames_of(open_dicom(source))


def frames_of(dataset: Dataset) -> int:
    """The number of frames that a file states; 1 if it states none.

    Raises:
        DataError: The number of frames is not a positive integer.
    """
    try:
        with quiet():
            frames = int(dataset.get("NumberOfFrames") or 1)
    except Exception:  # noqa: BLE001 - the value is parsed on access; corrupt values raise any type
        frames = 0
    if frames < 1:
        raise DataError("DICOM tag NumberOfFrames is not a number above 0; fix the file")
    return frames


def read_dicom(
    source: str | Path | BinaryIO, frame: int | None = None, window: Window | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """Decode one frame of a DICOM file for display.

    Args:
        source: A file, or an open binary stream.
        frame: Index from 0; None: the first one.
        window: Which values become black and white; None: as the file states.
        max_pixels: Largest accepted frame; None: MAX_PIXELS.

    Returns:
        uint8 array of shape (rows, columns, 3), RGB.

    Raises:
        DataError: Not a DICOM image, frame index out of range, or pixels that cannot be decoded.
    """
    return decode_frame(open_dicom(source, max_pixels), frame or 0, window)


def decode_frame(dataset: Dataset, index: int = 0, window: Window | None = None) -> np.ndarray:
    """Decode one frame of an opened file (see `read_dicom`)."""
    frames = frames_of(dataset)
    if not 0 <= index < frames:
        raise DataError(f"DICOM frame {index} is not there; the file has frames 0 to {frames - 1}")
    try:
        with quiet():
            check_decoder(dataset)
            check_frames(dataset, frames)
            check_codestream(dataset, index, frames)
            return display_frame(dataset, index, window or Window())
    except DataError:
        raise
    except Exception as cause:  # each decoder plugin of pydicom raises its own exception types
        remedy = "get or convert the file again"
        if is_encapsulated(dataset):
            remedy = "convert the file to an uncompressed one" if has_more_decoders() else MORE_DECODERS
        # pydicom wraps decoder messages in RuntimeError; the message of any other error may quote a tag value.
        said = " ".join(str(cause).split()) if type(cause) is RuntimeError else kind_of_failure(cause)
        raise DataError(f"DICOM pixels cannot be decoded ({said}); {remedy}") from cause


def check_decoder(dataset: Dataset) -> None:
    """Refuse a compression for which no decoder is installed; the message says what to install.

    Raises:
        DataError: No decoder is installed.
    """
    if not is_encapsulated(dataset):
        return
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        known, ready = True, get_decoder(syntax).is_available
    except NotImplementedError:
        known, ready = False, False
    if not ready:
        remedy = MORE_DECODERS if known and not has_more_decoders() else "convert the file to an uncompressed one"
        raise DataError(f"DICOM pixels cannot be decoded (no decoder for {syntax.name} is installed); {remedy}")


def has_more_decoders() -> bool:
    """Whether the decoders of the extra `dicom` are installed."""
    return all(find_spec(name) is not None for name in ("pylibjpeg", "libjpeg", "openjpeg"))


def display_frame(dataset: Dataset, index: int, window: Window) -> np.ndarray:
    from pydicom.pixels import pixel_array

    raw = pixel_array(dataset, index=index)
    photometric = str(dataset.PhotometricInterpretation).strip().upper()
    padding = None
    if raw.ndim == 3:
        shown = raw if raw.dtype == np.uint8 else spread(finite(raw.astype(np.float64)))
    elif photometric == "PALETTE COLOR":
        shown = palette_colours(raw, dataset, stored_range(raw, dataset))
    else:
        padding = padding_of(raw, dataset)
        tags = frame_tags(dataset, index)
        values, units = rescaled(raw, tags, stored_range(raw, dataset))
        grey = grey_levels(values, tags, window, units, padding)
        shown = np.repeat((255 - grey if photometric == "MONOCHROME1" else grey)[:, :, None], 3, axis=2)
    refuse_lost_contrast(shown, raw, padding)
    return shown


def stored_range(raw: np.ndarray, dataset: Dataset) -> Range:
    """Lowest and highest value that the pixel type can store; for floats, the actual minimum and maximum."""
    if raw.dtype.kind == "f":
        known = finite(raw)
        return float(known.min()), float(known.max())
    bits = int(dataset.get("BitsStored") or 8 * raw.dtype.itemsize)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if raw.dtype.kind == "i" else (0, (1 << bits) - 1)
    return float(low), float(high)


def refuse_lost_contrast(shown: np.ndarray, raw: np.ndarray, padding: np.ndarray | None) -> None:
    """Refuse a frame displayed in a single shade although its stored values differ: its content would be invisible.

    Args:
        shown: uint8 (rows, columns, 3).
        raw: Stored values, (rows, columns) or (rows, columns, 3).
        padding: True where a stored value is padding.
    """
    if (shown != shown[0, 0]).any():
        return
    inside = finite(raw if padding is None or padding.all() else raw[~padding])
    first = inside[0, 0] if padding is None or padding.all() else inside[0]
    if (inside != first).any():
        what = f"the frame would be one shade of grey ({int(shown[0, 0, 0])}) although its stored values differ"
        raise DataError(f"{what}: its window or table leaves them out; give --set window=full or CENTRE/WIDTH")


def frame_tags(dataset: Dataset, index: int) -> dict[str, Any]:
    """Display tags of one frame. Precedence: the frame's own tags, then the shared ones, then the file's."""
    tags = values_of(dataset)
    each = dataset.get(EACH) or []
    for groups in [*(dataset.get(SHARED) or [])[:1], *each[index : index + 1]]:
        for name in DISPLAY_GROUPS:
            for item in (groups.get(name) or [])[:1]:
                tags.update(values_of(item))
    return tags


def values_of(dataset: Dataset) -> dict[str, Any]:
    """Values of the display tags that are present; for a value that does not parse, its raw text parts."""
    return {keyword: value_of(dataset, keyword) for keyword in DISPLAY_TAGS if keyword in dataset}


def value_of(dataset: Dataset, keyword: str) -> Any:
    try:
        return dataset[keyword].value
    except Exception:  # an invalid number raises a different exception type for each value representation
        written = dataset.get_item(keyword).value
        if not isinstance(written, bytes):
            raise
        return [text.strip() for text in written.decode("latin-1").split("\\")]


def padding_of(raw: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Mask of padding pixels around a round or cropped picture; None if the file defines no padding value.

    Args:
        raw: Stored values, shape (rows, columns).
        dataset: The file; PixelPaddingValue and PixelPaddingRangeLimit, or their float variants, are read from it.
    """
    kind = raw.dtype.kind
    prefix = ("DoubleFloat" if raw.dtype.itemsize == 8 else "Float") if kind == "f" else ""
    ends = [dataset.get(f"{prefix}{name}") for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    known = [end if kind == "f" else as_stored(end, kind) for end in ends if isinstance(end, int | float)]
    if not known or not isinstance(ends[0], int | float):
        return None
    mask: np.ndarray = (raw >= min(known)) & (raw <= max(known))
    return mask if mask.any() else None


def as_stored(value: float, kind: str) -> int:
    """Convert a 16-bit word to the pixels' signedness (`i`: signed): some files write -2000 as 63536 or vice versa."""
    word = int(value)
    if kind == "i" and 0x8000 <= word <= 0xFFFF:
        return word - 0x10000
    return word + 0x10000 if kind == "u" and -0x8000 <= word < 0 else word

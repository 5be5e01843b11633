# SPDX-License-Identifier: Apache-2.0
"""Check that a DICOM file's pixel data contains the frames that its header states, in number and size.

Only lengths and markers are read; nothing is allocated or decoded. A file with three frames and no NumberOfFrames is
refused, because its first frame alone may not be the picture that the question is about. A header that states
2,147,483,647 frames is refused by the file's length.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from medix_verl.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["check_codestream", "check_frames", "is_encapsulated", "room_for"]

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
SOI, SOC_SIZ, JP2 = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0c\x6a\x50\x20\x20"
FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Second bytes of the JPEG start-of-frame markers, which precede the frame size; F7 is JPEG-LS."""
MOST_COLOURS = 4
STARTS = (SOI + b"\xff", SOC_SIZ, JP2)
"""First bytes of a JPEG (also lossless, JPEG-LS), of a JPEG 2000 codestream and of a JP2 file."""
ITEM_HEAD = 8
"""Bytes of a fragment's header: the minimum size of a compressed frame."""
HALF = "YBR_FULL_422"
RLE = "1.2.840.10008.1.2.5"


def room_for(dataset: Dataset, size: int) -> int:
    """The largest number of frames that fits in a file of this size, computed from the header alone.

    Args:
        dataset: The file's meta and, if present, Rows, Columns, SamplesPerPixel and BitsAllocated.
        size: Bytes of the file.
    """
    return size // ITEM_HEAD if is_encapsulated(dataset) else 8 * size // max(frame_bits(dataset), 1)


def check_frames(dataset: Dataset, frames: int) -> None:
    """Refuse pixel data with fewer or more frames than the file states.

    Args:
        dataset: The file, with its pixel data read but not decoded.
        frames: The number of frames that the file states.

    Raises:
        DataError: The numbers differ.
    """
    if is_encapsulated(dataset):
        check_fragments(dataset, frames)
        return
    data = next((dataset[keyword].value for keyword in PIXELS if keyword in dataset), b"") or b""
    bits = frame_bits(dataset)
    wanted = -(-frames * bits // 8)
    if len(data) < wanted:
        found = f"the pixel data has {len(data)} of {wanted} bytes for {frames} frames"
        raise DataError(f"DICOM pixels cannot be decoded ({found}); get or convert the file again")
    # An odd length is padded to even, and some files have trailing bytes that are not a frame.
    if 8 * (len(data) - wanted - wanted % 2) >= bits:
        raise too_many(8 * len(data) // bits, dataset)


def check_fragments(dataset: Dataset, frames: int) -> None:
    """`check_frames` for compressed data: frames are counted by offset tables, else by the start of each fragment."""
    from pydicom.encaps import generate_fragments, parse_basic_offsets

    buffer = io.BytesIO(dataset.PixelData)
    offsets = parse_basic_offsets(buffer)
    table = dataset.get("ExtendedOffsetTable")
    fragments = [fragment[: len(STARTS[-1])] for fragment in generate_fragments(buffer)]
    if len(fragments) < frames:
        found = f"the pixel data has {len(fragments)} parts for {frames} frames"
        raise DataError(f"DICOM pixels cannot be decoded ({found}); get or convert the file again")
    if table:
        held = len(table) // 8
    elif offsets:
        held = len(offsets)
    elif dataset.file_meta.TransferSyntaxUID == RLE:
        held = len(fragments)  # in RLE, each frame is one fragment
    else:
        held = sum(fragment.startswith(STARTS) for fragment in fragments)
    if held > frames:
        raise too_many(held, dataset)


def too_many(held: int, dataset: Dataset) -> DataError:
    said = dataset.get("NumberOfFrames")
    says = "is missing" if said in (None, "") else f"says {int(said)}"
    return DataError(f"DICOM pixel data holds {held} frames and NumberOfFrames {says}; set it, or take the file apart")


def is_encapsulated(dataset: Dataset) -> bool:
    """Whether the pixel data is compressed (encapsulated), frame by frame."""
    from pydicom.uid import UID

    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    # A damaged file may have two values here.
    return isinstance(syntax, UID) and bool(syntax.is_transfer_syntax and syntax.is_encapsulated)


def frame_bits(dataset: Dataset) -> int:
    """Bits of one uncompressed frame."""
    numbers = [int(dataset.get(key) or 1) for key in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")]
    bits = numbers[0] * numbers[1] * numbers[2] * numbers[3]
    # In 4:2:2, two neighbouring pixels share their two colour samples.
    return bits // 3 * 2 if dataset.get("PhotometricInterpretation") == HALF else bits


def check_codestream(dataset: Dataset, index: int, frames: int) -> None:
    """Refuse a compressed frame whose own size differs from the header's: decoders use the frame's own size.

    Raises:
        DataError: The sizes differ, or the frame is invalid or longer than its uncompressed pixels.
    """
    if not is_encapsulated(dataset):
        return
    from pydicom.encaps import get_frame

    wanted = (int(dataset.Columns), int(dataset.Rows))
    data = get_frame(dataset.PixelData, index, number_of_frames=frames)
    found = codestream_size(data)
    if found is None:  # not a JPEG: RLE expands by at most 64, so its output is bounded by the header's size
        raw = -(-frame_bits(dataset) // 8)
        if len(data) > 2 * raw + 1024:
            raise DataError(f"DICOM frame {index} holds {len(data)} bytes for {raw}; the file is corrupt")
        return
    if found != wanted:
        got, said = f"{found[0]} x {found[1]}", f"{wanted[0]} x {wanted[1]}"
        raise DataError(f"DICOM frame {index} is {got} where the header says {said}; the file is corrupt, leave it out")


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """Width and height stated in a compressed frame; None if it is not a JPEG of any kind.

    Raises:
        DataError: It states more colour components than a picture can have, or is truncated.
    """
    if data.startswith(JP2):
        data = data[codestream_start(data) :]
    if data.startswith(SOC_SIZ) and len(data) >= 42:
        right, low, left, top = struct.unpack(">4L", data[8:24])
        refuse_colours(int.from_bytes(data[40:42], "big"))
        return right - left, low - top
    return jpeg_size(data) if data.startswith(SOI) else None


def codestream_start(data: bytes) -> int:
    """Offset of the JPEG 2000 codestream in a JP2 file.

    A box of length 0 extends to the end of the file, so only the codestream's box may have it. pydicom's own search
    does not terminate on such a box (`get_j2k_parameters` of 3.0.2).

    Raises:
        DataError: A box has no length, or there is no codestream.
    """
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"jp2c":
            return at + 8
        if length < 8:
            break
        at += length
    raise DataError("DICOM frame is a JPEG 2000 file whose boxes have no length; the file is corrupt, leave it out")


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, lossless JPEG or JPEG-LS; None if parsing the markers does not reach them."""
    at = len(SOI)
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in FRAME_MARKERS:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            refuse_colours(data[at + 9])
            return width, height
        alone = marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8
        at += 1 if marker == 0xFF else 2 if alone else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def refuse_colours(count: int) -> None:
    if count > MOST_COLOURS:
        raise DataError(f"DICOM frame has {count} colours; at most {MOST_COLOURS}: the file is corrupt, leave it out")

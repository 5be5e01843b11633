# SPDX-License-Identifier: Apache-2.0
"""Pixel data and the frames that the header promises: what is there is told from lengths, and nothing is cut off."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from helpers import dicom_files as files
from medix_verl.data.dicom.decode import decode_frame, read_dicom
from medix_verl.data.dicom.pixel_data import check_codestream, codestream_size, room_for
from medix_verl.data.dicom.series import read_headers
from medix_verl.errors import DataError

PAGES = np.stack([files.RAMP, files.RAMP.T, files.RAMP[::-1]])


def shown(file: Dataset, frame: int = 0) -> np.ndarray:
    return read_dicom(io.BytesIO(files.encode(file)), frame)


@pytest.mark.parametrize(("said", "why"), [(None, "is missing"), ("", "is missing"), (1, "says 1"), (2, "says 2")])
def test_pages_that_the_file_does_not_count_are_refused(said: object, why: str) -> None:
    file = files.dataset(PAGES, frames=3)
    if said is None:
        del file.NumberOfFrames
    else:
        file.NumberOfFrames = said
    with pytest.raises(DataError, match=f"DICOM pixel data holds 3 frames and NumberOfFrames {why}; set it, or take"):
        shown(file)


def test_pages_of_floats_are_counted_too() -> None:
    tags = {"Rows": 4, "Columns": 4, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    file = files.dataset(None, BitsAllocated=32, FloatPixelData=PAGES.astype("<f4").tobytes(), **tags)
    with pytest.raises(DataError, match="holds 3 frames and NumberOfFrames is missing"):
        shown(file)
    file.NumberOfFrames = 3
    assert (shown(file, 2) == shown(files.dataset(PAGES[2]))).all()


@pytest.mark.parametrize("frames", [4, 2_147_483_647])
def test_frames_that_are_not_there_are_refused_undecoded(frames: int) -> None:
    file = files.dataset(PAGES, frames=3, NumberOfFrames=frames)
    with pytest.raises(DataError, match=f"the pixel data has 96 of {32 * frames} bytes for {frames} frames"):
        decode_frame(file, frames - 1)


@pytest.mark.parametrize(
    ("pixels", "more", "why"),
    [
        (np.arange(1, dtype=np.uint8).reshape(1, 1), 0, "one byte and its padding"),
        (np.arange(9, dtype=np.uint8).reshape(3, 3), 8, "less than a frame behind the pixels, as some files have"),
        (np.arange(9, dtype=np.uint8).reshape(3, 3), 0, "an odd length, padded"),
    ],
)
def test_padding_is_no_page(pixels: np.ndarray, more: int, why: str) -> None:
    file = files.dataset(pixels)
    file.PixelData += b"\0" * more
    assert shown(file).shape == (*pixels.shape, 3), why


def test_colours_at_half_their_width_are_counted_so() -> None:
    file = files.dataset(np.full((4, 4, 3), 128, np.uint8), PhotometricInterpretation="YBR_FULL_422", NumberOfFrames=3)
    file.PixelData = bytes([128]) * (16 * 2 * 3)
    assert (shown(file, 2) == 128).all()
    file.NumberOfFrames = 2
    with pytest.raises(DataError, match="holds 3 frames and NumberOfFrames says 2"):
        shown(file)


def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), shade).save(buffer, "JPEG")
    return buffer.getvalue() + b"\0" * (len(buffer.getvalue()) % 2)


def compressed(parts: list[bytes], offsets: bool = True, frames: int | None = None, **tags: object) -> Dataset:
    file = files.dataset(np.zeros((4, 4), np.uint8), WindowCenter=128, WindowWidth=256, **tags)
    file.PixelData = encapsulate(parts, has_bot=offsets)
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    if frames is not None:
        file.NumberOfFrames = frames
    return file


@pytest.mark.parametrize("offsets", [True, False])
def test_compressed_pages_that_the_file_does_not_count_are_refused(offsets: bool) -> None:
    parts = [jpeg(shade) for shade in (40, 120, 200)]
    with pytest.raises(DataError, match="holds 3 frames and NumberOfFrames is missing; set it"):
        shown(compressed(parts, offsets))
    whole = compressed(parts, offsets, 3)
    assert [int(shown(whole, number)[0, 0, 0]) for number in range(3)] == [40, 120, 200]
    with pytest.raises(DataError, match="the pixel data has 3 parts for 2147483647 frames"):
        shown(compressed(parts, offsets, 2_147_483_647), 5)


def test_pages_by_an_extended_table_and_run_lengths_are_counted() -> None:
    file = compressed([jpeg(40)])
    file.PixelData, file.ExtendedOffsetTable, file.ExtendedOffsetTableLengths = encapsulate_extended(
        [jpeg(40), jpeg(90)]
    )
    with pytest.raises(DataError, match="holds 2 frames and NumberOfFrames is missing"):
        shown(file)
    runs = struct.pack("<16L", 1, 64, *[0] * 14) + bytes([0, 7, 0, 9]) + bytes([0xF3, 7])
    file = compressed([runs, runs], offsets=False)
    file.file_meta.TransferSyntaxUID = RLELossless
    with pytest.raises(DataError, match="holds 2 frames and NumberOfFrames is missing"):
        shown(file)


def test_a_frame_in_several_fragments_is_one() -> None:
    whole = jpeg(120)
    middle = len(whole) // 4 * 2
    file = compressed([whole[:middle], whole[middle:]], offsets=False)
    assert (shown(file) == 120).all()


def test_a_header_that_promises_more_than_its_file_holds_is_a_fault(tmp_path: Path) -> None:
    files.write(tmp_path / "f.dcm", files.dataset(PAGES, frames=3, NumberOfFrames=2_147_483_647))
    files.write(tmp_path / "g.dcm", files.dataset(PAGES, frames=3))
    bad, good = read_headers(tmp_path, ["f.dcm", "g.dcm"])
    size = (tmp_path / "f.dcm").stat().st_size
    assert (bad.frames, bad.has_picture) == (1, False)
    assert bad.fault == f"NumberOfFrames says 2147483647, and the file has {size} bytes"
    assert (good.frames, good.has_picture, good.fault) == (3, True, "")
    assert room_for(compressed([jpeg(1)]), 800) == 100


def lossless(height: int = 4, width: int = 4, colours: int = 1, marker: int = 0xF7) -> bytes:
    """The head of a JPEG-LS frame, behind a comment and fill bytes."""
    frame = struct.pack(">BHHB", 8, height, width, colours) + bytes(3 * min(colours, 4))
    segments = [(0xFE, b"a comment"), (marker, frame), (0xDA, b"\1\1\0\0\0\0")]
    data = b"".join(b"\xff\xff" + struct.pack(">BH", kind, len(body) + 2) + body for kind, body in segments)
    return b"\xff\xd8" + data + bytes(20)


def box(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">L", len(content) + 8 if length is None else length) + kind + content


def codestream(width: int = 4, height: int = 4, colours: int = 1) -> bytes:
    size = struct.pack(">HHLLLLLLLLH", 41, 0, width, height, 0, 0, width, height, 0, 0, colours)
    return b"\xff\x4f\xff\x51" + size + b"\7\1\1" + bytes(20)


JP2 = box(b"jP  ", b"\x0d\x0a\x87\x0a")
TOO_LARGE = "DICOM frame 0 is 9000 x 9000 where the header says 4 x 4"


@pytest.mark.parametrize(
    ("data", "syntax", "message"),
    [
        (
            JP2 + box(b"jp2h", b"", 0) + box(b"jp2c", codestream()),
            JPEG2000,
            "boxes have no length; the file is corrupt",
        ),
        (JP2 + box(b"jp2h", b"", 7) + bytes(40), JPEG2000, "boxes have no length"),
        (JP2, JPEG2000, "boxes have no length"),
        (JP2 + box(b"jp2c", codestream(9000, 9000)), JPEG2000, TOO_LARGE),
        (JP2 + box(b"jp2h", b"abcd") + box(b"jp2c", codestream(9000, 9000), 0), JPEG2000, TOO_LARGE),
        (codestream(9000, 9000), JPEG2000, TOO_LARGE),
        (codestream(colours=16384), JPEG2000, "DICOM frame has 16384 colours; at most 4: the file is corrupt"),
        (lossless(9000, 9000), JPEGLSLossless, TOO_LARGE),
        (lossless(9000, 9000, marker=0xC3), JPEGLosslessSV1, TOO_LARGE),
        (lossless(colours=200), JPEGLSLossless, "DICOM frame has 200 colours"),
        (b"\0" * 5000, JPEG2000, "DICOM frame 0 holds 5000 bytes for 16; the file is corrupt"),
    ],
)
def test_a_hostile_codestream_is_refused_undecoded(data: bytes, syntax: str, message: str) -> None:
    file = compressed([data + b"\0" * (len(data) % 2)])
    file.file_meta.TransferSyntaxUID = syntax
    with pytest.raises(DataError, match=message):
        check_codestream(file, 0, 1)


def test_the_size_of_every_kind_of_codestream_is_found() -> None:
    parts = [lossless(3, 5), lossless(3, 5, marker=0xC3), codestream(5, 3), JP2 + box(b"jp2c", codestream(5, 3), 0)]
    assert [codestream_size(part) for part in parts] == [(5, 3)] * 4
    assert codestream_size(jpeg(1)) == (4, 4)
    assert [codestream_size(part) for part in (b"", b"\xff\xd8", b"\xff\xd8\xff", b"RLE", b"\xff\xd8 no marker")] == [
        None
    ] * 5

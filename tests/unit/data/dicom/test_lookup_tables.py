# SPDX-License-Identifier: Apache-2.0
"""Lookup tables of DICOM files in every encoding: the same table gives the same picture, whoever wrote it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from helpers import dicom_files as files
from medix_verl.data.dicom.decode import read_dicom
from medix_verl.data.dicom.lookup_tables import first_value, read_table
from medix_verl.errors import DataError

STORED = np.arange(16, dtype=np.uint16).reshape(4, 4) * 256
DESCRIPTOR, DATA = 0x00283002, 0x00283006
STEPS = np.where(np.arange(4096) < 2048, np.arange(4096) // 2, 4095)
"""A table with a step: a reader that takes slope and intercept instead gives another picture."""


def table(entries: np.ndarray, first: int = 0, bits: int = 16, kind: str = "OW", signed: bool = False) -> Dataset:
    made = files.item()
    made.add_new(DESCRIPTOR, "SS" if signed else "US", [len(entries), first, bits])
    words = entries.astype("u1" if kind == "OB" else "<u2")
    made.add_new(DATA, "OW" if kind == "OB" else kind, entries.tolist() if kind == "US" else words.tobytes())
    return made


def encode(file: Dataset, syntax: str | None = None) -> bytes:
    if syntax is None:
        return files.encode(file)
    file.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    file.save_as(buffer, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return buffer.getvalue()


def shown(file: Dataset, syntax: str | None = None) -> np.ndarray:
    return read_dicom(io.BytesIO(encode(file, syntax)))[:, :, 0]


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
@pytest.mark.parametrize("kind", ["US", "OW"])
@pytest.mark.parametrize("bits", [12, 16])
def test_a_modality_table_is_read_in_every_encoding(syntax: str | None, kind: str, bits: int) -> None:
    file = files.dataset(STORED, BitsStored=12, HighBit=11, ModalityLUTSequence=[table(STEPS, 0, bits, kind)])
    expected = (STEPS[STORED] / STEPS[STORED].max() * 255).round()
    assert (shown(file, syntax) == expected).all()


def test_a_modality_table_stands_before_slope_and_window_after_it() -> None:
    tags = {"RescaleSlope": 7, "RescaleIntercept": 3, "WindowCenter": 500, "WindowWidth": 1001}
    file = files.dataset(STORED, BitsStored=12, HighBit=11, ModalityLUTSequence=[table(STEPS)], **tags)
    expected = (np.clip((STEPS[STORED] - 499.5) / 1000 + 0.5, 0, 1) * 255).round()
    assert (shown(file) == expected).all()


def test_a_modality_table_of_signed_pixels_starts_below_0() -> None:
    signed = STORED.astype(np.int16) - 2048
    for first, of_signed in ((-2048, True), (63488, False)):
        file = files.dataset(signed, ModalityLUTSequence=[table(STEPS, first, signed=of_signed)])
        assert (shown(file, ImplicitVRLittleEndian) == (STEPS[STORED] / 4095 * 255).round()).all()


@pytest.mark.parametrize(
    ("syntax", "signed", "first"),
    [(None, True, -1024), (None, False, 64512), (ImplicitVRLittleEndian, False, 64512)],
)
def test_a_voi_table_that_starts_at_minus_1024_is_the_same_in_every_file(
    syntax: str | None, signed: bool, first: int
) -> None:
    steps = table(STEPS, first, 12, signed=signed)
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": [steps]}
    file = files.dataset(STORED, BitsStored=12, HighBit=11, **tags)
    assert (shown(file, syntax) == (STEPS[STORED] / 4095 * 255).round()).all()


@pytest.mark.parametrize(
    ("word", "count", "values", "first", "why"),
    [
        (-1024, 4096, (-1024, 3071), -1024, "signed and written so"),
        (64512, 4096, (-1024, 3071), -1024, "signed and written as unsigned"),
        (64512, 4096, (0, 65535), 64512, "unsigned, and such values occur"),
        (-1024, 1000, (0, 65535), 64512, "unsigned and written as signed"),
        (64512, 4096, (0, 4095), -1024, "no value is as high as 64512"),
        (40000, 4096, (-1024, 64511), 40000, "no value is as low as -25536"),
        (0, 4096, (-1024, 3071), 0, "no sign to choose"),
        (32767, 10, (0, 65535), 32767, "the highest word without a sign"),
    ],
)
def test_the_first_value_is_read_by_what_can_occur(
    word: int, count: int, values: tuple[int, int], first: int, why: str
) -> None:
    assert first_value(word, count, values) == first, why


def test_a_table_of_many_entries_is_counted_though_its_descriptor_is_signed() -> None:
    data = np.arange(40_000).astype("<u2").tobytes()
    made = read_table([40_000 - 65536, 0, 16], data, True, (0, 65535), "VOI table")
    assert (made.first, len(made.entries), made.entries[-1]) == (0, 40_000, 39_999)
    unread = np.array([40_000, 0, 16], dtype="<u2").tobytes()
    assert (read_table(unread, data, True, (0, 65535), "VOI table").entries == made.entries).all()


def test_a_table_that_is_not_whole_is_refused() -> None:
    short = table(STEPS[:100])
    short.add_new(DESCRIPTOR, "US", [4096, 0, 16])
    with pytest.raises(DataError, match="the modality table has 100 of 4096 entries; fix the file or leave it out"):
        shown(files.dataset(STORED, ModalityLUTSequence=[short]))
    nothing = files.item(LUTExplanation="none")
    with pytest.raises(DataError, match="the VOI table has no descriptor of three numbers"):
        shown(files.dataset(STORED, VOILUTSequence=[nothing]))


INDEX = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
RISING = np.arange(256)
FALLING = RISING[::-1]


def palette(
    entries: dict[str, np.ndarray], bits: int, dtype: str, first: int = 0, pixels: np.ndarray = INDEX
) -> Dataset:
    tags: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, values in entries.items():
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [len(values), first, bits]
        data = values.astype(dtype).tobytes()
        tags[f"{colour}PaletteColorLookupTableData"] = data + b"\0" * (len(data) % 2)
    return files.dataset(pixels, **tags)


@pytest.mark.parametrize(
    ("bits", "scale", "dtype", "why"),
    [
        (16, 256, "<u2", "16 bits"),
        (16, 257, "<u2", "16 bits, white is 65535"),
        (8, 1, "u1", "8 bits in bytes"),
        (8, 1, "<u2", "8 bits in the lower half of words"),
        (8, 256, "<u2", "8 bits in the upper half of words"),
        (16, 1, "<u2", "16 bits are claimed, 8 are used"),
    ],
)
def test_a_palette_is_read_in_every_width(bits: int, scale: int, dtype: str, why: str) -> None:
    entries = {"Red": RISING * scale, "Green": FALLING * scale, "Blue": RISING * scale // 2 // scale * scale}
    pixels = read_dicom(io.BytesIO(encode(palette(entries, bits, dtype))))
    assert (pixels[:, :, 0] == INDEX).all() and (pixels[:, :, 1] == 255 - INDEX).all(), why
    assert (pixels[:, :, 2] == INDEX // 2).all(), why


def test_a_palette_begins_where_it_says_and_an_odd_number_of_bytes_is_padded() -> None:
    entries = {colour: np.arange(101) * 2 for colour in ("Red", "Green", "Blue")}
    pixels = read_dicom(io.BytesIO(encode(palette(entries, 8, "u1", first=100))))
    assert (pixels[:, :, 1] == np.clip(INDEX.astype(int) - 100, 0, 100) * 2).all()


def test_a_palette_with_an_alpha_table_gives_three_colours() -> None:
    file = palette({"Red": RISING, "Green": RISING, "Blue": RISING}, 8, "u1")
    file.AlphaPaletteColorLookupTableDescriptor = [256, 0, 8]
    file.AlphaPaletteColorLookupTableData = RISING.astype("u1").tobytes()
    assert read_dicom(io.BytesIO(encode(file))).shape == (4, 4, 3)


def test_a_big_endian_file_is_read_in_its_order() -> None:
    little = palette({"Red": RISING * 256, "Green": FALLING * 256, "Blue": RISING * 256}, 16, "<u2")
    big = palette({"Red": RISING * 256, "Green": FALLING * 256, "Blue": RISING * 256}, 16, ">u2")
    big["PixelData"].VR = "OB"
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    buffer = io.BytesIO()
    dcmwrite(buffer, big, implicit_vr=False, little_endian=False)
    assert (read_dicom(io.BytesIO(buffer.getvalue())) == read_dicom(io.BytesIO(encode(little)))).all()

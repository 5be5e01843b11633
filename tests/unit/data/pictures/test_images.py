# SPDX-License-Identifier: Apache-2.0
"""Pictures: what is decoded and how, and that every unusable one is refused by the row's name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

from medix_verl.data.pictures import images
from medix_verl.data.pictures.images import count_frames, load_image, read_dicom
from medix_verl.data.pictures.token_counts import image_size
from medix_verl.errors import DataError
from medix_verl.types import ImageRef


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def noise(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def wheel_dicom(name: str) -> str:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return path


def dicom_bytes(pixels: np.ndarray, **tags: object) -> bytes:
    """A small uncompressed CT with the given stored values and display tags."""
    dataset = pydicom.dcmread(wheel_dicom("CT_small.dcm"))
    for keyword in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "PixelPaddingValue"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.astype("<i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


RAMP = np.arange(16, dtype=np.int16).reshape(4, 4) * 100


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb_of_the_same_size(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    image = load_image(ImageRef(bytes=encoded(noise().convert(mode), kind)), "r")
    assert image.mode == "RGB" and image.size == (40, 30)


def test_sixteen_bit_grey_is_spread_and_not_clipped() -> None:
    deep = Image.fromarray(np.linspace(0, 40_000, 64).reshape(8, 8).astype(np.uint16))
    pixels = np.asarray(load_image(ImageRef(bytes=encoded(deep)), "r"))
    assert pixels.min() == 0 and pixels.max() == 255 and len(np.unique(pixels)) > 60


STROKE = np.zeros((30, 40), dtype=np.uint8)
"""Opaque in a cross, transparent elsewhere; every colour beneath is black."""
STROKE[14:16, :] = STROKE[:, 19:21] = 255


def drawing(mode: str) -> bytes:
    """A black cross on nothing, in a mode of Pillow."""
    alpha = Image.fromarray(STROKE)
    if mode in ("RGBA", "LA"):
        image = Image.new(mode, alpha.size)
        image.putalpha(alpha)
        return encoded(image)
    if mode == "TIFF, premultiplied":
        image = Image.new("RGBA", alpha.size)
        image.putalpha(alpha)
        return encoded(image, "TIFF", tiffinfo={338: 1})
    # One entry of the palette, one grey level or one colour is transparent.
    image = Image.fromarray(np.where(STROKE == 255, 0, 1).astype(np.uint8))
    if mode == "P":
        image.putpalette([0, 0, 0, 0, 0, 0])
        return encoded(image, transparency=1)
    if mode == "P, GIF":
        image.putpalette([0, 0, 0, 0, 0, 0])
        return encoded(image, "GIF", transparency=1)
    return encoded(image.convert(mode), transparency=1 if mode == "L" else (1, 1, 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "TIFF, premultiplied", "P", "P, GIF", "L", "RGB"])
def test_a_transparent_drawing_is_black_on_white(mode: str) -> None:
    pixels = np.asarray(load_image(ImageRef(bytes=drawing(mode)), "r"))
    assert (pixels == np.where(STROKE == 255, 0, 255)[:, :, None]).all()


def test_half_transparent_ink_is_mixed_with_white_and_opaque_ink_stays() -> None:
    ink = np.zeros((4, 4, 4), dtype=np.uint8)
    ink[:, :, 0], ink[:2, :, 3], ink[2:, :, 3] = 200, 255, 128
    pixels = np.asarray(load_image(ImageRef(bytes=encoded(Image.fromarray(ink))), "r"))
    assert (pixels[:2] == (200, 0, 0)).all()
    assert np.abs(pixels[2:].astype(int) - (227, 127, 127)).max() <= 1
    opaque = np.dstack([np.asarray(noise()), np.full((30, 40), 255, np.uint8)])
    assert (np.asarray(load_image(ImageRef(bytes=encoded(Image.fromarray(opaque))), "r")) == np.asarray(noise())).all()


@pytest.mark.parametrize(("value", "shade"), [(np.nan, 0), (np.inf, 255), (-np.inf, 0)])
def test_a_float_picture_with_one_value_that_is_no_number_is_shown(value: float, shade: int) -> None:
    grey = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    grey[3, 3] = value
    pixels = np.asarray(load_image(ImageRef(bytes=encoded(Image.fromarray(grey), "TIFF")), "r"))[:, :, 0]
    assert pixels[3, 3] == shade and pixels[0, 0] == 0 and pixels[7, 7] == 255 and len(np.unique(pixels)) > 60


def test_a_float_picture_without_a_number_is_refused() -> None:
    nothing = Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32))
    with pytest.raises(DataError, match="row 'r': its picture: no pixel value is a finite number; leave the picture"):
        load_image(ImageRef(bytes=encoded(nothing, "TIFF")), "r")


def test_a_turned_photograph_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(ImageRef(bytes=encoded(noise(), "JPEG", exif=exif)), "r").size == (30, 40)


def tag(number: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHL", number, kind, count) + value


TURNED = tag(0x0112, 3, 1, struct.pack("<HH", 6, 0))
NOT_WRITABLE = {
    "a number of 64 bits where 32 are written": tag(0x0136, 16, 1, struct.pack("<L", 8)),
    "a type that does not exist": tag(0x9999, 77, 1, b"abcd"),
    "a text as a number": tag(0x0131, 3, 1, struct.pack("<L", 1)),
    "values that lie behind the end": tag(0x011A, 5, 1, struct.pack("<L", 9_999_999)),
    "a further list behind the end": tag(0x8769, 4, 1, struct.pack("<L", 0xFFFFFFF0)),
    "a further list that is a text": tag(0x8769, 2, 4, b"aaaa"),
    "places as bytes": tag(0x8825, 7, 4, b"\1\2\3\4"),
}


def exif_of(*tags: bytes) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(tags) + b"\0\0\0\0"


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("why", NOT_WRITABLE)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_exif_data_that_cannot_be_written_anew_is_read(kind: str, why: str) -> None:
    data = encoded(noise(), kind, exif=exif_of(TURNED, NOT_WRITABLE[why]))
    assert load_image(ImageRef(bytes=data), "r").size == (30, 40), why


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("notes", [b"Exif\0\0", b"Exif\0\0II", b"Exif\0\0garbage, and more", exif_of(TURNED)[:20]])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_exif_data_that_cannot_be_read_leaves_the_pixels(kind: str, notes: bytes) -> None:
    plain = load_image(ImageRef(bytes=encoded(noise(), kind)), "r")
    assert (np.asarray(load_image(ImageRef(bytes=encoded(noise(), kind, exif=notes)), "r")) == np.asarray(plain)).all()


@pytest.mark.parametrize("orientation", range(1, 10))
def test_every_orientation_is_set_upright_as_pillow_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise(), exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (np.asarray(load_image(ImageRef(bytes=data), "r")) == np.asarray(expected)).all()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


LARGE = zlib.compress(bytes(3 << 20))
NOTES = {
    "profile": chunk(b"iCCP", b"profile\0\0" + LARGE),
    "compressed text": chunk(b"zTXt", b"comment\0\0" + LARGE),
    "text of the world": chunk(b"iTXt", b"comment\0\1\0\0\0" + LARGE),
    "many texts": chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(1 << 20))) * 65,
}


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("note", NOTES)
def test_a_png_with_a_large_note_is_used(note: str, behind: bool) -> None:
    data = encoded(noise())
    at = len(data) - 12 if behind else 33
    pixels = np.asarray(load_image(ImageRef(bytes=data[:at] + NOTES[note] + data[at:]), "r"))
    assert (pixels == np.asarray(noise())).all()


def test_a_png_with_a_large_note_keeps_its_colours_and_its_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(noise().convert("P"), transparency=0, exif=exif)
    noted = data[:33] + NOTES["profile"] + data[33:]
    plain = load_image(ImageRef(bytes=data), "r")
    assert plain.size == (30, 40)
    assert (np.asarray(load_image(ImageRef(bytes=noted), "r")) == np.asarray(plain)).all()


def test_a_cut_off_png_with_a_large_note_is_refused() -> None:
    data = encoded(noise())
    with pytest.raises(DataError, match="row 'r': its picture is cut off or corrupt"):
        load_image(ImageRef(bytes=(data[:33] + NOTES["profile"] + data[33:])[:-900]), "r")


@pytest.mark.parametrize(
    "failure",
    [KeyError("x"), NotImplementedError("x"), RuntimeError("x"), MemoryError(), RecursionError(), struct.error("x")],
    ids=repr,
)
def test_whatever_a_decoder_raises_is_the_rows_refusal(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    data = encoded(noise())
    monkeypatch.setattr(PngImageFile, "load", fail)
    with pytest.raises(DataError, match=f"row 'r7': its picture is cut off or corrupt .{type(failure).__name__}"):
        load_image(ImageRef(bytes=data), "r7")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=f"row 'r7': its picture is not a readable picture .*{type(failure).__name__}"):
        load_image(ImageRef(bytes=data), "r7")
    with pytest.raises(DataError, match="row 'r7': its picture is not a readable picture"):
        image_size(ImageRef(bytes=data), "r7")


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n{} loop\n%%EOF\n",
        b"\xc5\xd0\xd3\xc6"
        + struct.pack("<LL", 32, 40)
        + bytes(20)
        + b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
        b"DDS " + struct.pack("<LL", 124, 0x1007) + bytes(116),
    ],
    ids=["EPS", "EPS with a preview", "DDS"],
)
def test_formats_that_are_not_for_pictures_of_patients_are_not_opened(data: bytes) -> None:
    with pytest.raises(
        DataError, match="is not a readable picture .*; accepted: PNG, JPEG, TIFF, .*DICOM; fix or drop"
    ):
        load_image(ImageRef(bytes=data), "r")


def test_a_relative_path_starts_at_the_first_folder_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    noise().save(tmp_path / "b" / "p.png")
    assert load_image(ImageRef(path="p.png"), "r", tmp_path / "b").size == (40, 30)
    assert load_image(ImageRef(path="p.png"), "r", [str(tmp_path), str(tmp_path / "b")]).size == (40, 30)


def test_a_missing_file_names_row_and_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 'r7': picture .*gone\.png cannot be read \(No such file"):
        load_image(ImageRef(path="gone.png"), "r7", tmp_path)


@pytest.mark.parametrize("ref", [ImageRef(), ImageRef(bytes=b"x", path="y")])
def test_a_reference_needs_exactly_one_source(ref: ImageRef) -> None:
    with pytest.raises(DataError, match="row 'r': a picture needs exactly one of bytes and path"):
        load_image(ref, "r")


@pytest.mark.parametrize("data", [b"no picture at all", b"\x89PNG\r\n\x1a\n", b""])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match=r"row 'r': its picture is not a readable picture"):
        load_image(ImageRef(bytes=data), "r")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_off_picture_is_refused(kind: str) -> None:
    data = encoded(noise(), kind)
    with pytest.raises(DataError, match="row 'r': its picture is cut off or corrupt"):
        load_image(ImageRef(bytes=data[: len(data) * 2 // 3]), "r")


def test_a_png_with_wrong_pixels_is_refused() -> None:
    data = bytearray(encoded(noise()))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(DataError, match="row 'r': its picture is cut off or corrupt"):
        load_image(ImageRef(bytes=bytes(data)), "r")


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match=r"row 'r': its picture is too large \(40 x 30\); at most 1000 pixels"):
        load_image(ImageRef(bytes=encoded(noise())), "r")
    with pytest.raises(DataError, match=r"row 'r': its picture: DICOM picture is too large \(128 x 128\)"):
        load_image(ImageRef(bytes=Path(wheel_dicom("CT_small.dcm")).read_bytes()), "r")


def test_a_decompression_bomb_is_refused() -> None:
    header = encoded(Image.new("1", (1, 1)))
    # Width and height of the header chunk, with its checksum: a picture of 30 000 x 30 000 that is a few bytes long.
    bomb = header[:8] + chunk(b"IHDR", struct.pack(">II", 30_000, 30_000) + header[24:29]) + header[33:]
    with pytest.raises(DataError, match="row 'r': its picture is too large"):
        load_image(ImageRef(bytes=bomb), "r")


def test_rescale_and_window_follow_the_file() -> None:
    data = dicom_bytes(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=500, WindowWidth=1001)
    grey = read_dicom(io.BytesIO(data))[:, :, 0].astype(int)
    units = RAMP * 2 - 1000
    assert grey.shape == (4, 4)
    assert (grey[units <= 0] == 0).all() and (grey[units >= 1000] == 255).all()
    assert grey[1, 3] == round(((400 - 499.5) / 1000 + 0.5) * 255)


def test_monochrome1_is_turned_bright_is_high() -> None:
    plain = read_dicom(io.BytesIO(dicom_bytes(RAMP)))
    turned = read_dicom(io.BytesIO(dicom_bytes(RAMP, PhotometricInterpretation="MONOCHROME1")))
    assert plain[0, 0, 0] == 0 and plain[-1, -1, 0] == 255
    assert (turned == 255 - plain).all()


def test_the_first_of_several_windows_is_used() -> None:
    one = dicom_bytes(RAMP, WindowCenter=300, WindowWidth=200)
    two = dicom_bytes(RAMP, WindowCenter=[300, 900], WindowWidth=[200, 50])
    assert (read_dicom(io.BytesIO(one)) == read_dicom(io.BytesIO(two))).all()


@pytest.mark.parametrize("function", ["SIGMOID", "LINEAR_EXACT"])
def test_other_window_functions_rise_through_the_centre(function: str) -> None:
    data = dicom_bytes(RAMP, WindowCenter=700, WindowWidth=400, VOILUTFunction=function)
    values = read_dicom(io.BytesIO(data))[:, :, 0].ravel().astype(int)
    assert values[7] == 128 and values[0] < 3 and values[-1] > 252
    assert (np.diff(values) >= 0).all()


def test_a_flat_picture_is_black_and_no_division_by_zero() -> None:
    assert read_dicom(io.BytesIO(dicom_bytes(np.full((4, 4), 7)))).max() == 0


@pytest.mark.parametrize(
    ("name", "shape", "coloured"),
    [
        ("CT_small.dcm", (128, 128, 3), False),
        ("MR_small_RLE.dcm", (64, 64, 3), False),
        ("MR_small_bigendian.dcm", (64, 64, 3), False),
        ("JPEG2000.dcm", (1024, 256, 3), False),
        ("examples_rgb_color.dcm", (240, 320, 3), True),
        ("examples_palette.dcm", (350, 800, 3), True),
        ("examples_jpeg2k.dcm", (480, 640, 3), True),
    ],
)
def test_files_of_the_wheel_decode(name: str, shape: tuple[int, ...], coloured: bool) -> None:
    pixels = read_dicom(wheel_dicom(name))
    assert pixels.shape == shape and pixels.dtype == np.uint8
    assert len(np.unique(pixels)) > 20
    assert bool((pixels[:, :, 0] != pixels[:, :, 2]).any()) is coloured


def test_the_same_image_in_other_encodings_decodes_the_same() -> None:
    plain = read_dicom(wheel_dicom("MR_small.dcm"))
    for name in ("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm"):
        assert (read_dicom(wheel_dicom(name)) == plain).all()


def test_frames_are_counted_and_chosen() -> None:
    path = wheel_dicom("examples_ybr_color.dcm")
    assert count_frames(path) == 30 and count_frames(wheel_dicom("CT_small.dcm")) == 1
    first, last = read_dicom(path), read_dicom(path, 29)
    assert (first == read_dicom(path, 0)).all() and (first != last).any()
    with pytest.raises(DataError, match="DICOM frame 30 is not there; the file has frames 0 to 29"):
        read_dicom(path, 30)


def test_dicom_bytes_are_recognised_in_a_row() -> None:
    data = Path(wheel_dicom("CT_small.dcm")).read_bytes()
    assert load_image(ImageRef(bytes=data), "r").size == (128, 128)


def test_unusable_dicom_is_refused() -> None:
    with pytest.raises(DataError, match="DICOM pixels cannot be decoded .*convert the file"):
        read_dicom(wheel_dicom("MR_truncated.dcm"))
    with pytest.raises(DataError, match="row 'r9': its picture: DICOM pixels cannot be decoded"):
        load_image(ImageRef(bytes=Path(wheel_dicom("MR_truncated.dcm")).read_bytes()), "r9")
    with pytest.raises(DataError, match="no DICOM picture .*give a DICOM file that holds an image"):
        read_dicom(io.BytesIO(b"plain text"))
    with pytest.raises(DataError, match="no DICOM picture"):
        read_dicom(wheel_dicom("rtplan.dcm"))


@pytest.mark.parametrize("tag", [b"\x28\x00\x08\x00", b"\x28\x00\x10\x00", b"\x28\x00\x00\x01"])
def test_a_tag_of_an_unknown_kind_refuses_the_row_by_its_id(tag: bytes) -> None:
    """pydicom reads a value when it is asked for, and raises NotImplementedError then."""
    data = dicom_bytes(np.zeros((8, 8), np.uint8), NumberOfFrames=1)
    at = data.index(tag) + len(tag)
    with pytest.raises(DataError, match="row 'r7': its picture"):
        load_image(ImageRef(bytes=data[:at] + b"Io" + data[at + 2 :]), "r7")

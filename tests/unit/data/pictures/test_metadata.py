# SPDX-License-Identifier: Apache-2.0
"""What is written beside the pixels goes, and the picture stays: same pixels, same way up, in every format."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from medix_verl.data.pictures.images import load_image
from medix_verl.data.pictures.metadata import strip_notes
from medix_verl.errors import DataError
from medix_verl.types import ImageRef

NAME = b"Kowalski"
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int = 6) -> Image.Exif:
    made = Image.Exif()
    made[0x0112], made[0x010E], made[0x013B] = orientation, "Kowalski Anna", "Kowalski Anna"
    return made


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(load_image(ImageRef(bytes=data), "r"))


def png_texts() -> PngImagePlugin.PngInfo:
    made = PngImagePlugin.PngInfo()
    made.add_text("Patient", "Kowalski Anna")
    made.add_itxt("Patient", "Kowalski Anna")
    made.add(b"kOWa", b"Kowalski")
    made.add(b"tIME", b"\7\xe8\1\1\1\1\1")
    return made


def tags(**values: object) -> TiffImagePlugin.ImageFileDirectory_v2:
    made = TiffImagePlugin.ImageFileDirectory_v2()
    made[270], made[274] = "Kowalski Anna", 6
    return made


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content) + 8) + kind + content


GREY16 = Image.fromarray((np.arange(1200).reshape(30, 40) * 50).astype(np.uint16))
FLOATS = Image.fromarray(np.linspace(-1, 1, 1200, dtype=np.float32).reshape(30, 40))
CLEAR = Image.fromarray(np.dstack([np.asarray(NOISE), np.tile(np.arange(40, dtype=np.uint8) * 6, (30, 1))]))
JPEG = encoded(NOISE, "JPEG", exif=exif(), comment=b"Kowalski Anna")
GIF_COMMENT = b"\x21\xfe\x08Kowalski\x00"
PROGRESSIVE = encoded(NOISE, "JPEG", exif=exif(), progressive=True)
APP13 = b"\xff\xed" + struct.pack(">H", 10) + NAME
JP2 = encoded(NOISE, "JPEG2000")

NOTED = {
    "JPEG": JPEG,
    "progressive JPEG": PROGRESSIVE,
    "JPEG with a further segment": JPEG[:2] + APP13 + JPEG[2:],
    "JPEG behind its end": encoded(NOISE, "JPEG") + b"Kowalski",
    "JPEG of four inks": encoded(NOISE.convert("CMYK"), "JPEG", comment=b"Kowalski"),
    "JPEG with a second picture": encoded(NOISE, "MPO", save_all=True, append_images=[NOISE], exif=exif()),
    "PNG": encoded(NOISE, "PNG", exif=exif(), pnginfo=png_texts()),
    "PNG of a palette": encoded(NOISE.convert("P"), "PNG", transparency=3, pnginfo=png_texts()),
    "PNG of 16 bits": encoded(GREY16, "PNG", pnginfo=png_texts()),
    "PNG behind its end": encoded(NOISE, "PNG") + b"Kowalski",
    "GIF": encoded(NOISE.convert("P"), "GIF", comment=b"Kowalski Anna"),
    "GIF behind its end": encoded(NOISE.convert("P"), "GIF") + b"Kowalski",
    "WebP": encoded(NOISE, "WEBP", exif=exif(), xmp=b"<x>Kowalski</x>"),
    "WebP without loss": encoded(CLEAR, "WEBP", lossless=True, exif=exif()),
    "TIFF": encoded(NOISE, "TIFF", tiffinfo=tags()),
    "TIFF of 16 bits": encoded(GREY16, "TIFF", tiffinfo=tags()),
    "TIFF of floats": encoded(FLOATS, "TIFF", tiffinfo=tags()),
    "TIFF of 32 bits": encoded(
        Image.fromarray(np.arange(1200, dtype=np.int32).reshape(30, 40) * 90_000), "TIFF", tiffinfo=tags()
    ),
    "BigTIFF": encoded(NOISE, "TIFF", tiffinfo=tags(), big_tiff=True),
    "TIFF with premultiplied colours": encoded(CLEAR, "TIFF", tiffinfo={270: "Kowalski Anna", 338: 1}),
    "TIFF of four inks": encoded(NOISE.convert("CMYK"), "TIFF", tiffinfo=tags()),
    "TIFF of several pages": encoded(NOISE, "TIFF", save_all=True, append_images=[NOISE], tiffinfo=tags()),
    "JPEG 2000": JP2 + box(b"uuid", b"0123456789abcdef" + NAME) + box(b"xml ", b"<x>Kowalski</x>"),
    "AVIF": encoded(NOISE, "AVIF", exif=exif(), xmp=b"<x>Kowalski</x>"),
    "PPM": b"P6\n# Kowalski\n2 2\n255\n" + bytes(range(12)),
}


@pytest.mark.parametrize("kind", NOTED)
def test_notes_go_and_the_picture_stays(kind: str) -> None:
    data = NOTED[kind]
    assert b"Kowalski" in data
    bare = strip_notes(data)
    assert b"Kowalski" not in bare and (pixels(bare) == pixels(data)).all()
    assert strip_notes(bare) == bare
    with Image.open(io.BytesIO(bare)) as image:
        assert set(image.getexif()) - {0x0112} <= {254, *range(256, 260), 262, 273, 277, 278, 279, 284, 339}


PLAIN = {
    "JPEG": encoded(NOISE, "JPEG", icc_profile=b"a profile"),
    "PNG": encoded(CLEAR, "PNG", icc_profile=b"a profile", dpi=(300, 300)),
    "GIF": encoded(NOISE.convert("P"), "GIF", loop=0, save_all=True, append_images=[CLEAR.convert("P")]),
    "WebP": encoded(CLEAR, "WEBP", icc_profile=b"a profile"),
    "TIFF": encoded(NOISE, "TIFF"),
    "JPEG 2000": JP2,
    "BMP": encoded(NOISE, "BMP"),
    "no picture": b"no picture at all",
    "nothing": b"",
    "a DICOM file": bytes(128) + b"DICM",
    "a JPEG that is cut off": encoded(NOISE, "JPEG")[:-300],
    "a PNG that is cut off": encoded(NOISE, "PNG")[:-300],
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_file_without_notes_stays_as_it_is(kind: str) -> None:
    assert strip_notes(PLAIN[kind]) == PLAIN[kind]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_of_exif_data_the_orientation_is_kept(kind: str, orientation: int) -> None:
    data = encoded(NOISE, kind, exif=exif(orientation))
    bare = strip_notes(data)
    assert (pixels(bare) == pixels(data)).all() and b"Kowalski" not in bare


def test_notes_of_a_cut_off_picture_go_too() -> None:
    for data in (JPEG[:-300], NOTED["PNG"][:-300]):
        assert b"Kowalski" not in strip_notes(data)
        with pytest.raises(DataError, match="cut off or corrupt"):
            pixels(strip_notes(data))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(NOTED)), st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_raises_nothing(kind: str, data: st.DataObject) -> None:
    whole = bytearray(NOTED[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    assert isinstance(strip_notes(cut), bytes)


def test_a_large_text_is_not_unpacked() -> None:
    packed = zlib.compress(bytes(64 << 20))
    note = b"zTXtcomment\0\0" + packed
    data = encoded(NOISE, "PNG")
    noted = data[:33] + struct.pack(">L", len(note) - 4) + note + struct.pack(">L", zlib.crc32(note)) + data[33:]
    assert strip_notes(noted) == data

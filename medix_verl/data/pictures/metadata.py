# SPDX-License-Identifier: Apache-2.0
"""Remove metadata from pictures: EXIF data, comments, texts, thumbnails and trailing bytes.

Such metadata can contain names, dates and places, which must not get into a training file. The pixels stay bit-exact;
the colour profile and other data needed for display are kept. Of EXIF data only the orientation is kept, in a new
block. A file without metadata is returned unchanged. Formats from which metadata cannot be cut out are re-encoded as
PNG (floats as TIFF).
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from medix_verl.data.pictures.images import ALPHA_MODES, PNG, open_checked, orientation_of

__all__ = ["strip_notes"]

SOI, EOI, SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Marker that ends a scan's data; inside the data, a byte FF is followed by 0 or a restart marker."""
JPEG_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Application segments that are kept -> the bytes with which they must begin."""
PNG_KEPT = frozenset(
    [
        b"tRNS",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"sBIT",
        b"pHYs",
        b"bKGD",
        b"hIST",
        b"cICP",
        b"acTL",
        b"fcTL",
        b"fdAT",
    ]
)
WEBP_KEPT = frozenset([b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"])
WEBP_EXIF, WEBP_XMP = 0x08, 0x04
JP2 = b"\x00\x00\x00\x0c\x6a\x50\x20\x20"
JP2_KEPT = frozenset([b"jP  ", b"ftyp", b"jp2h", b"jp2c"])
PPM = tuple(b"P%c%c" % (kind, end) for kind in b"1234567f" for end in b" \t\r\n#")
TIFF_KEPT = frozenset(
    [
        *(*range(254, 260), 262, 263, 266, 273, 274, *range(277, 285), 290, 291, 292, 293, 296),
        *(317, 318, 319, 320, 322, 323, 324, 325, 332, 338, 339, 340, 341, 347, 529, 530, 531, 532, 34675),
    ]
)
"""Tags for the layout and display of the pixels."""
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


class Unfollowed(ValueError):
    """A file's structure does not conform to its format."""


def strip_notes(data: bytes) -> bytes:
    """Return a picture's bytes without metadata; the same object if it has none or cannot be read."""
    try:
        cut = cutter_of(data)
        return data if cut is None else cut(data)
    except (Unfollowed, IndexError, struct.error):
        return written_anew(data)


def cutter_of(data: bytes) -> Callable[[bytes], bytes] | None:
    if data.startswith(SOI):
        return cut_jpeg
    if data.startswith(PNG):
        return cut_png
    if data.startswith((b"GIF87a", b"GIF89a")):
        return cut_gif
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return cut_webp
    if data.startswith(JP2):
        return cut_jp2
    if data.startswith((b"II", b"MM")):
        return cut_tiff
    # PPM has comments in its header, AVIF metadata among its items.
    return written_anew if data[4:8] == b"ftyp" or data.startswith(PPM) else None


def cut_jpeg(data: bytes) -> bytes:
    """Remove application segments and comments that are not needed, and bytes after the end marker."""
    kept, at, noted = [SOI], 2, False
    while True:
        if data[at] != 0xFF:
            raise Unfollowed
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == EOI[1]:
            break
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        if end > len(data) or end < at + 4:
            raise Unfollowed
        if marker == SOS:
            found = JPEG_MARKER.search(data, end)
            if found is None:
                # Either truncated, which the later check refuses, or only without end marker, which decoders accept.
                kept.append(data[at:])
                at = len(data) - 2
                break
            end = found.start()
        note = marker == 0xFE or (
            0xE0 <= marker <= 0xEF and not data.startswith(JPEG_KEPT.get(marker, b"\0\0"), at + 4)
        )
        noted = noted or note
        if not note:
            kept.append(data[at:end])
        at = end
    if not noted and at + 2 == len(data):
        return data
    turned = turn_of(data) if noted else b""
    exif = b"Exif\0\0" + turned
    head = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif if turned else b""
    return b"".join([SOI, head, *kept[1:], EOI if data[at : at + 2] == EOI else b""])


def cut_png(data: bytes) -> bytes:
    """Remove texts, EXIF data and times, and bytes after the end chunk."""
    kept, at, noted, ended = [PNG], len(PNG), False, False
    while not ended and at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        note = bool(kind[0] & 0x20) and kind not in PNG_KEPT
        noted, ended = noted or note, kind == b"IEND"
        if not note:
            kept.append(data[at:end])
        at = end
    if not noted and (not ended or at == len(data)):
        return data
    turned = turn_of(data) if noted else b""
    if turned:
        body = b"eXIf" + turned
        kept.insert(2, struct.pack(">L", len(turned)) + body + struct.pack(">L", zlib.crc32(body)))
    return b"".join(kept if ended else [*kept, data[at:]])


def cut_gif(data: bytes) -> bytes:
    """Remove comments, texts, application blocks (except the loop count), and bytes after the trailer."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    kept = [data[:at]]
    while data[at] != 0x3B:
        start = at
        if data[at] == 0x21:
            label, at = data[at + 1], at + 2
            note = label in (0xFE, 0x01) or (label == 0xFF and data[at + 1 : at + 12] != b"NETSCAPE2.0")
        elif data[at] == 0x2C:
            note = False
            at += 11 + (3 << ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0)
        else:
            raise Unfollowed
        while data[at]:
            at += data[at] + 1
        at += 1
        if not note:
            kept.append(data[start:at])
    made = b"".join([*kept, b";"])
    return data if made == data else made


def cut_webp(data: bytes) -> bytes:
    """Remove EXIF and XMP data and unknown chunks."""
    kept, at, noted = [], 12, False
    while at + 8 <= len(data):
        kind, end = data[at : at + 4], at + 8 + struct.unpack("<L", data[at + 4 : at + 8])[0]
        end += end % 2
        noted = noted or kind not in WEBP_KEPT
        if kind in WEBP_KEPT:
            kept.append(data[at:end])
        at = end
    if not noted:
        return data
    turned = turn_of(data)
    if turned:
        kept.append(b"EXIF" + struct.pack("<L", len(turned)) + turned)
    if kept and kept[0].startswith(b"VP8X"):
        flags = kept[0][8] & ~(WEBP_EXIF | WEBP_XMP) | (WEBP_EXIF if turned else 0)
        kept[0] = kept[0][:8] + bytes([flags]) + kept[0][9:]
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def cut_jp2(data: bytes) -> bytes:
    """Remove the boxes of JPEG 2000 that contain no picture data."""
    kept, at = [], 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if length == 0 and kind == b"jp2c":
            length = len(data) - at
        if length < 8:
            raise Unfollowed
        if kind in JP2_KEPT:
            kept.append(data[at : at + length])
        at += length
    made = b"".join(kept)
    return data if made == data else made


def cut_tiff(data: bytes) -> bytes:
    """Re-encode a TIFF if it has tags that are not about the pixels, or further pages."""
    try:
        with open_checked(data, "", "the picture") as image:
            tags = getattr(image, "tag_v2", None)
            plain = tags is not None and set(tags) <= TIFF_KEPT and not getattr(image, "is_animated", True)
    except Exception:  # noqa: BLE001 - a picture that cannot be opened is refused by a later check
        return data
    return data if plain else written_anew(data)


def turn_of(data: bytes) -> bytes:
    """Return EXIF data with only the picture's orientation; empty if it is upright."""
    try:
        with open_checked(data, "", "the picture") as image:
            said = orientation_of(image) or 1
    except Exception:  # noqa: BLE001 - a picture that cannot be opened is refused by a later check
        return b""
    tag = struct.pack(">HHLHH", 0x0112, 3, 1, said, 0)
    return b"MM\0*\0\0\0\x08\0\x01" + tag + b"\0\0\0\0" if said != 1 else b""


def written_anew(data: bytes) -> bytes:
    """Re-encode a picture from its pixels; return the same bytes if it cannot be decoded."""
    try:
        with open_checked(data, "", "the picture") as image:
            image.load()
            # Pillow has already made a TIFF upright when loading it.
            turned = turn_of(data) if image.format != "TIFF" else b""
            options: dict[str, Any] = {"exif": b"Exif\0\0" + turned} if turned else {}
            if "transparency" in image.info:
                options["transparency"] = image.info["transparency"]
            buffer = io.BytesIO()
            if image.mode in ("I", "F"):
                Image.fromarray(np.asarray(image)).save(buffer, "TIFF")
            else:
                pixels_of(image).save(buffer, "PNG", **options)
            return buffer.getvalue()
    except Exception:  # noqa: BLE001 - a picture that cannot be decoded is refused by a later check
        return data


def pixels_of(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that PNG supports, without metadata."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    made = image if image.mode in PNG_MODES else image.convert("RGBA" if image.mode in ALPHA_MODES else "RGB")
    made.info = {}
    return made

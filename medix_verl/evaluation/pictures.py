# SPDX-License-Identifier: Apache-2.0
"""Pictures as an evaluation shows them: under which condition, known by which hash, and where they are kept.

`real` shows each question its own pictures, `blank` grey ones of the same size, `shuffled` those of another question
of the task (arXiv 2603.03437: what of the accuracy survives?). A picture is known by the hash of its decoded pixels,
as in medix_verl.data.fingerprints. Pictures that came by value are kept as files under that hash, once each, so that
memory stays flat; those of credentialed tasks are written nowhere.
"""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from medix_verl.data.images import load_image
from medix_verl.errors import DataError
from medix_verl.evaluation.records import CONDITIONS
from medix_verl.runtime.files import atomic_write
from medix_verl.types import ImageRef, Sample

__all__ = ["Item", "Picture", "data_uri", "keep_picture", "prepare", "show_as"]

MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
"""Formats that servers take as they are; anything else (DICOM, TIFF, 16 bit) is sent as PNG."""
PLAIN = ("RGB", "L")
GREY = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture."""

    hash: str
    """32 hexadecimal digits: the hash of its pixels."""
    size: tuple[int, int]
    """Width and height."""
    media: str
    """Its media type."""
    path: Path | None = None
    data: bytes | None = None
    """Exactly one of path and data is there, none for a blank."""


@dataclass(frozen=True, slots=True)
class Item:
    """A sample, its pictures, and those that are shown in their place."""

    sample: Sample
    pictures: tuple[Picture, ...] = ()
    shown: tuple[Picture, ...] = ()


def prepare(sample: Sample, folder: Path | None, base: Path) -> Item:
    """A sample with its own pictures, each decoded once to know that it can be.

    Args:
        sample: What the loader gave.
        folder: Where pictures that came by value are kept; None keeps them in memory.
        base: Where relative paths start.

    Raises:
        DataError: A picture cannot be used.
    """
    pictures = tuple(keep_picture(ref, sample.id, folder, base) for ref in sample.images)
    # Without its bytes, which the picture has now.
    plain = replace(sample, images=tuple(ImageRef(path=picture.hash) for picture in pictures))
    return Item(plain, pictures, pictures)


def keep_picture(ref: ImageRef, row_id: str, folder: Path | None, base: Path) -> Picture:
    """Decode a picture, hash it, and keep what is sent of it."""
    from medix_verl.data.fingerprints import mark_picture

    image = load_image(ref, row_id, base)
    name = mark_picture(image).pixels.hex()
    raw = ref.bytes if ref.bytes is not None else (base / str(ref.path)).read_bytes()
    media = media_of(raw)
    if media is None:
        raw, media = encode(image), MEDIA["PNG"]
    elif ref.path is not None:
        return Picture(name, image.size, media, path=(base / ref.path).absolute())
    if folder is None:
        return Picture(name, image.size, media, data=raw)
    path = folder / f"{name}.{media.removeprefix('image/')}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            part.write_bytes(raw)
    return Picture(name, image.size, media, path=path.absolute())


def media_of(raw: bytes) -> str | None:
    """The media type of an encoded picture that servers show as it is; None for one that must be encoded anew."""
    try:
        with Image.open(io.BytesIO(raw)) as image:
            # A camera's note on the orientation would be applied by one server and not by the next.
            upright = image.getexif().get(0x0112, 1) == 1
            return MEDIA.get(image.format or "") if upright and image.mode in PLAIN else None
    except (OSError, ValueError, SyntaxError):
        return None


def encode(image: Image.Image) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def show_as(items: Sequence[Item], condition: str, seed: int) -> list[Item]:
    """Put other pictures in the place of the real ones.

    Args:
        items: A task's questions.
        condition: One of CONDITIONS.
        seed: Of the exchange; the same items and seed give the same exchange.

    Raises:
        DataError: No such condition, no pictures, or none that could be exchanged.
    """
    if condition not in CONDITIONS:
        raise DataError(f"--images is {condition!r}; accepted: {', '.join(CONDITIONS)}")
    if condition == "real":
        return list(items)
    if not any(item.pictures for item in items):
        raise DataError(f"--images {condition} for a task without pictures; give it for vlm tasks only")
    if condition == "blank":
        return [replace(item, shown=tuple(map(blank, item.pictures))) for item in items]
    return shuffled(items, seed)


def blank(picture: Picture) -> Picture:
    """A grey picture of the same size, which is drawn when it is sent."""
    return replace(picture, media=MEDIA["PNG"], path=None, data=None)


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """Give each question the pictures of another one, that has as many, and none in common with it.

    Raises:
        DataError: There is no such other question for one of them.
    """
    groups: dict[int, list[Item]] = {}
    for item in sorted(items, key=lambda item: item.sample.id):
        groups.setdefault(len(item.pictures), []).append(item)
    given: dict[str, tuple[Picture, ...]] = {}
    for count, group in sorted(groups.items()):
        order = list(group)
        random.Random(seed).shuffle(order)
        for place, item in enumerate(order):
            given[item.sample.id] = other_pictures(item, order, place) if count else ()
    return [replace(item, shown=given[item.sample.id]) for item in items]


def other_pictures(item: Item, order: Sequence[Item], place: int) -> tuple[Picture, ...]:
    """The pictures of the next question in the order that shows none of this one's."""
    own = {picture.hash for picture in item.pictures}
    for step in range(1, len(order)):
        other = order[(place + step) % len(order)].pictures
        if own.isdisjoint(picture.hash for picture in other):
            return other
    raise DataError(
        f"--images shuffled: {item.sample.id} has no other question with {len(own)} other pictures; raise --limit"
    )


def data_uri(picture: Picture) -> str:
    """A picture as it goes over the wire."""
    if picture.path is not None:
        raw = picture.path.read_bytes()
    else:
        raw = picture.data if picture.data is not None else encode(Image.new("RGB", picture.size, GREY))
    return f"data:{picture.media};base64,{base64.b64encode(raw).decode('ascii')}"

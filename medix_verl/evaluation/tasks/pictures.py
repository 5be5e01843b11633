# SPDX-License-Identifier: Apache-2.0
"""Prepares the pictures of an evaluation: decoding, hashing, storing, and replacing them under a condition.

`real` sends each question's own pictures, `blank` grey ones of the same size, `shuffled` those of another question of
the task, to measure how much of the accuracy depends on the picture (arXiv 2603.03437). A picture is identified by the
hash of its decoded pixels, as in medix_verl.data.duplicates.fingerprints. Pictures given as bytes are stored once each
in files named by that hash, so that memory use does not grow; those of credentialed tasks are never written to disk.
"""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from medix_verl.data.pictures.images import load_image, naming_place, open_checked, orientation_of
from medix_verl.errors import DataError
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.store.records import CONDITIONS
from medix_verl.runtime.files import atomic_write
from medix_verl.types import ImageRef, Sample

if TYPE_CHECKING:
    from medix_verl.data.duplicates.fingerprints import PictureMarks

__all__ = ["Item", "Picture", "as_ref", "data_uri", "keep_picture", "kept_refs", "near_hashes", "prepare", "show_as"]

MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
"""Formats that are sent unchanged; anything else (DICOM, TIFF, 16 bit) is sent as PNG."""
PLAIN = ("RGB", "L")
GREY = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture."""

    hash: str
    """Hash of its pixels, 32 hexadecimal digits."""
    size: tuple[int, int]
    """Width and height."""
    media: str
    """Its media type."""
    perceptual: str = ""
    """Its perceptual hashes, 80 hexadecimal digits, to find modified copies (`near_hashes`)."""
    path: Path | None = None
    data: bytes | None = None
    """Exactly one of path and data is set; neither for a blank picture."""


@dataclass(frozen=True, slots=True)
class Item:
    """A sample, its own pictures, and the pictures that are sent to the model."""

    sample: Sample
    pictures: tuple[Picture, ...] = ()
    shown: tuple[Picture, ...] = ()


def prepare(sample: Sample, folder: Path | None, base: Path) -> Item:
    """A sample with its own pictures, each decoded once as a check.

    Args:
        sample: A sample from the loader.
        folder: Where pictures given as bytes are stored; None keeps them in memory.
        base: Folder that relative paths start from.

    Raises:
        DataError: A picture cannot be used.
    """
    kept = []
    for number, ref in enumerate(sample.images, 1):
        with naming_place(number, len(sample.images)):
            kept.append(keep_picture(ref, sample.id, folder, base))
    pictures = tuple(kept)
    # The sample's copy of the bytes is dropped; the Picture has them.
    plain = replace(sample, images=tuple(ImageRef(path=picture.hash) for picture in pictures))
    return Item(plain, pictures, pictures)


def keep_picture(ref: ImageRef, row_id: str, folder: Path | None, base: Path) -> Picture:
    """Decode a picture, hash it, and store the bytes that will be sent."""
    from medix_verl.data.duplicates.fingerprints import mark_picture

    image = load_image(ref, row_id, base)
    marks = mark_picture(image, named=True)
    name, near = marks.name.hex(), near_hashes(marks)
    raw = ref.bytes if ref.bytes is not None else (base / str(ref.path)).read_bytes()
    media = media_of(raw)
    if media is None:
        raw, media = encode(image), MEDIA["PNG"]
    elif ref.path is not None:
        return Picture(name, image.size, media, near, path=(base / ref.path).absolute())
    if folder is None:
        return Picture(name, image.size, media, near, data=raw)
    path = folder / f"{name}.{media.removeprefix('image/')}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            part.write_bytes(raw)
    return Picture(name, image.size, media, near, path=path.absolute())


def near_hashes(marks: PictureMarks) -> str:
    """The perceptual hashes of a picture as in a record: 8 and 32 bytes, hexadecimal."""
    return marks.perceptual.to_bytes(8, "big").hex() + marks.detail.hex()


def media_of(raw: bytes) -> str | None:
    """The media type of an encoded picture that can be sent unchanged; None for one that must be re-encoded."""
    with open_checked(raw, "", "the picture") as image:
        # Servers differ in whether they apply the EXIF orientation, and in the colour that they give to transparent
        # pixels.
        plain = image.mode in PLAIN and "transparency" not in image.info
        return MEDIA.get(image.format or "") if plain and orientation_of(image) == 1 else None


def encode(image: Image.Image) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def show_as(items: Sequence[Item], condition: str, seed: int) -> list[Item]:
    """Replace the pictures that are sent, according to the condition.

    Args:
        items: A task's questions.
        condition: One of CONDITIONS.
        seed: Seed of the shuffle; the same items and seed give the same result.

    Raises:
        DataError: No such condition, no pictures, or no pictures to exchange with.
    """
    if condition not in CONDITIONS:
        raise DataError(f"{setting('choices.condition')} is {condition!r}; accepted: {', '.join(CONDITIONS)}")
    if condition == "real":
        return list(items)
    if not any(item.pictures for item in items):
        raise DataError(
            f"{setting('choices.condition', condition)} for a task without pictures; give it for vlm tasks only"
        )
    if condition == "blank":
        return [replace(item, shown=tuple(map(blank, item.pictures))) for item in items]
    return shuffled(items, seed)


def blank(picture: Picture) -> Picture:
    """A grey picture of the same size; its pixels are generated when it is sent."""
    return replace(picture, media=MEDIA["PNG"], path=None, data=None)


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """Give each question the pictures of another question with the same number of pictures and none in common.

    Raises:
        DataError: A question has no such other question.
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
    """The pictures of the next question in the order that has none of this question's pictures."""
    own = {picture.hash for picture in item.pictures}
    for step in range(1, len(order)):
        other = order[(place + step) % len(order)].pictures
        if own.isdisjoint(picture.hash for picture in other):
            return other
    raise DataError(
        f"{setting('choices.condition', 'shuffled')}: {item.sample.id} has no other question with {len(own)} "
        f"other pictures; "
        f"raise {setting('choices.limit')}"
    )


def as_ref(picture: Picture) -> ImageRef:
    """A picture as an ImageRef for a judge.

    Raises:
        DataError: It is a blank picture.
    """
    if picture.path is None and picture.data is None:
        raise DataError("a blank picture is not a picture of the question")
    return ImageRef(path=str(picture.path)) if picture.path is not None else ImageRef(bytes=picture.data)


def kept_refs(hashes: Sequence[str], folder: Path, row_id: str) -> tuple[ImageRef, ...]:
    """The pictures stored in an evaluation's folder, by their hashes.

    Raises:
        DataError: A picture was not stored: it was a file of the user's own, or of a credentialed task.
    """
    found = []
    for name in hashes:
        places = (folder / f"{name}.{media.removeprefix('image/')}" for media in MEDIA.values())
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise DataError(
                f"row {row_id!r}: its picture was not kept in {folder}; evaluate again with "
                f"{setting('judge.images', True)}, or judge "
                "again without"
            )
        found.append(ImageRef(path=str(path.absolute())))
    return tuple(found)


def data_uri(picture: Picture) -> str:
    """A picture as a base64 data URI, as it is sent to the server."""
    if picture.path is not None:
        raw = picture.path.read_bytes()
    else:
        raw = picture.data if picture.data is not None else encode(Image.new("RGB", picture.size, GREY))
    return f"data:{picture.media};base64,{base64.b64encode(raw).decode('ascii')}"

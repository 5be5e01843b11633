# SPDX-License-Identifier: Apache-2.0
"""What a chat message carries for a picture while it travels from the data loader to the rollout, and how it is opened.

verl's V1 trainer copies a row's messages by value: to the agent loop, to a reward process, and for each of its n
trajectories into the queue. So what is in them counts n + 1 times and more. `data.medix.images` says what that is:

    encoded   the picture's file as it is (JPEG, PNG, DICOM), decoded in the agent loop
    files     its path; the folder must be visible to every node; pictures that a parquet file embeds are first put
              into the store `data.medix.image_store`
    pixels    the decoded picture, scaled down to the pixel budget

A JPEG of 400 x 400 travels as 40 KB encoded, 0.8 KB as a path and 481 KB as pixels (benchmarks/images_in_flight.py);
what verl itself adds to each trajectory, the model's inputs, is 6.3 MB at the recipe's budget and follows `max_pixels`
and `min_pixels` alone. So `encoded` is the default: it needs no shared folder.

Whatever travels, the model sees the same pixels: one decoder (`images.load_image`) and one scaling. A picture above the
budget is scaled down here, to the very size that the processor would give it (`lengths.fit`); any other is left to the
processor, because a picture that is scaled up is only heavier to carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.image_store import ImageStore
from medix_verl.data.images import load_image, read_bytes
from medix_verl.data.lengths import PixelRule, bounds_of, fit
from medix_verl.errors import ConfigError, DataError
from medix_verl.specs import Choice, check
from medix_verl.types import ImageRef

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FORMS", "budget", "open_message", "scaled", "to_message"]

FORMS = ("encoded", "files", "pixels")
MERGE = 2
"""Patches a side that one token covers, in all models of the Qwen-VL family; verl's agent loop does not pass it."""


def budget(patch: int, kwargs: Mapping[str, Any] | None) -> PixelRule | None:
    """The recipe's pixel budget, None where it has none (the processor's own bounds then apply behind the queue)."""
    low, high = bounds_of(kwargs)
    return None if low is None or high is None else PixelRule(low, high, patch, MERGE)


def to_message(
    ref: ImageRef, row_id: str, folder: str, form: str, rule: PixelRule | None, store: str | None
) -> dict[str, Any]:
    """The item of a chat message for one picture of a row.

    Args:
        ref: The picture.
        row_id: Carried along, so that an error in the agent loop can name the row.
        folder: Where relative paths start.
        form: One of FORMS.
        rule: The pixel budget, for `pixels`.
        store: Folder for embedded pictures, for `files`.

    Raises:
        DataError: The picture cannot be read.
        ConfigError: The form is not known, or needs a store that is not named.
    """
    check("data.medix.images", form, Choice(FORMS))
    # Decoded here for every form: what cannot be stops the run with its row's id, while in the agent loop it would only
    # fail one trajectory after the other, as if a judge had.
    image = load_image(ref, row_id, folder)
    if form == "pixels":
        return {"image": scaled(image, row_id, rule)}
    if form == "encoded":
        return {"image": read_bytes(ref, row_id, folder)[0], "row": row_id}
    return {"image": str(place_of(ref, row_id, folder, store)), "row": row_id}


def place_of(ref: ImageRef, row_id: str, folder: str, store: str | None) -> Path:
    """The picture's file, absolute, because the agent loop runs in another folder."""
    if ref.bytes is None:
        return (Path(folder) / str(ref.path)).resolve()
    if not store:
        raise ConfigError(
            f"row {row_id!r} embeds its picture and data.medix.images is files: set data.medix.image_store=FOLDER, "
            "one that every node sees, or data.medix.images=encoded"
        )
    place = Path(store).expanduser().resolve()
    return place.parent / str(ImageStore(place).put(ref.bytes).path)


def open_message(item: Mapping[str, Any], rule: PixelRule | None) -> Image.Image:
    """The picture of a chat message's item, decoded and scaled, whatever form it travelled in.

    Raises:
        DataError: It cannot be read; the row is named.
    """
    image, row_id = item["image"], str(item.get("row"))
    if isinstance(image, bytes):
        image = load_image(ImageRef(bytes=image), row_id)
    elif isinstance(image, str):
        image = load_image(ImageRef(path=image), row_id)
    return scaled(image, row_id, rule)


def scaled(image: Image.Image, row_id: str, rule: PixelRule | None) -> Image.Image:
    """The picture, scaled down to the processor's own size where it is above the budget."""
    if rule is None or image.width * image.height <= rule.max_pixels:
        return image
    try:
        return image.resize(fit(*image.size, rule))
    except DataError as cause:
        raise DataError(f"row {row_id!r}: {cause}") from cause

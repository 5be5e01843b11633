# SPDX-License-Identifier: Apache-2.0
"""Put pictures into chat messages in the data loader, and open them again in the rollout.

verl's V1 trainer copies a row's messages by value: to the agent loop, to a reward process, and into the queue for each
of its n trajectories. A picture is therefore copied at least n + 1 times. `data.medix.images` selects its form:

    encoded   the picture's file content (JPEG, PNG, DICOM), decoded in the agent loop
    files     its path; the folder must be visible to every node; pictures that a parquet file embeds are first put
              into the store `data.medix.image_store`
    pixels    the decoded picture, scaled down to the pixel budget

A JPEG of 400 x 400 takes 40 KB encoded, 0.8 KB as a path and 481 KB as pixels (benchmarks/images_in_flight.py). The
model's inputs, which verl adds to each trajectory, take 6.3 MB at the recipe's budget and depend only on `max_pixels`
and `min_pixels`. `encoded` is the default, because it needs no shared folder.

In every form the model sees the same pixels: there is one decoder (`images.load_image`) and one scaling. A picture
above the budget is scaled down here, to exactly the processor's size (`token_counts.fit`). Other pictures are scaled by
the processor, because upscaling them here would only increase the message size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.pictures.image_store import ImageStore
from medix_verl.data.pictures.images import load_image, read_bytes
from medix_verl.data.pictures.stamp import as_it_was
from medix_verl.data.pictures.token_counts import PixelRule, bounds_of, fit
from medix_verl.errors import ConfigError, DataError
from medix_verl.specs import Choice, check
from medix_verl.types import ImageRef

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FORMS", "budget", "open_message", "scaled", "to_message"]

FORMS = ("encoded", "files", "pixels")
MERGE = 2
"""Patches per side of one token, in all models of the Qwen-VL family; verl's agent loop does not pass it."""


def budget(patch: int, kwargs: Mapping[str, Any] | None) -> PixelRule | None:
    """Return the recipe's pixel budget; None if it has none (the processor's bounds then apply after the transfer)."""
    low, high = bounds_of(kwargs)
    return None if low is None or high is None else PixelRule(low, high, patch, MERGE)


def to_message(
    ref: ImageRef,
    row_id: str,
    folder: str,
    form: str,
    rule: PixelRule | None,
    store: str | None,
    decoded: bool = False,
) -> dict[str, Any]:
    """Build the item of a chat message for one picture of a row.

    Args:
        ref: The picture.
        row_id: Part of the item, so that an error in the agent loop can name the row.
        folder: Base of relative paths.
        form: One of FORMS.
        rule: The pixel budget, for `pixels`.
        store: Folder for embedded pictures, for `files`.
        decoded: Whether the row's file has the stamp (see `stamp`).

    Raises:
        DataError: The picture cannot be read.
        ConfigError: The form is unknown, or needs a store and none is given.
    """
    check("data.medix.images", form, Choice(FORMS))
    if form == "pixels":
        return {"image": scaled(load_image(ref, row_id, folder), row_id, rule)}
    data, _ = read_bytes(ref, row_id, folder)
    if not (decoded and as_it_was(ref, data)):
        # Decoded here too, so that an unreadable picture stops the run with its row's id. In the agent loop it would
        # only fail single trajectories, which looks like a failed judge.
        load_image(ref, row_id, folder)
    if form == "encoded":
        return {"image": data, "row": row_id}
    return {"image": str(place_of(ref, row_id, folder, store)), "row": row_id}


def place_of(ref: ImageRef, row_id: str, folder: str, store: str | None) -> Path:
    """Return the absolute path of the picture's file, because the agent loop runs in another folder."""
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
    """Decode and scale the picture of a chat message's item, in any of FORMS.

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
    """Scale a picture down to the processor's size if it is above the budget."""
    if rule is None or image.width * image.height <= rule.max_pixels:
        return image
    try:
        return image.resize(fit(*image.size, rule))
    except DataError as cause:
        raise DataError(f"row {row_id!r}: {cause}") from cause

# SPDX-License-Identifier: Apache-2.0
"""Count the tokens of pictures and prompts from the pictures' sizes, without decoding them.

The rule is that of Qwen2-VL to Qwen3-VL: both sides are rounded to whole merged patches, the area is scaled to between
`min_pixels` and `max_pixels`, and each merged patch is one token. The result equals that of the model's processor.
Without a model, the tokens of a prompt's text are overestimated from its length. A picture with an aspect ratio above
200 is refused here, because the processor would refuse it during the run.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from medix_verl.data.dicom.decode import is_dicom, open_dicom
from medix_verl.data.io.file_limits import MAX_FILE_BYTES, open_regular
from medix_verl.data.pictures.images import open_checked
from medix_verl.data.prompts import build_messages, render_prompt
from medix_verl.errors import ConfigError, DataError
from medix_verl.specs import Integer, spec
from medix_verl.types import ImageRef, Sample

__all__ = [
    "Count",
    "PixelRule",
    "count_by_model",
    "count_by_rule",
    "fit",
    "image_size",
    "image_tokens",
    "picture_tokens",
    "rule_of",
]

MAX_RATIO = 200
HEAD = 1 << 16
"""Bytes read first from a file, which nearly always contain the picture's size; else the rest is read."""
BYTES_A_TOKEN = 3
"""Bytes of UTF-8 text per token, a low estimate: English has four, Chinese three or more."""
CHAT_TOKENS = 32
"""Tokens that a chat template adds to one user turn, a high estimate."""

Pixels = Annotated[int, Integer(1)]
Count = Callable[[Sample, Sequence[tuple[int, int]]], int]
"""Tokens of a sample's prompt, given the width and height of each of its pictures."""


@spec("pixel rule", label="{key}")
class PixelRule:
    """A model processor's rule for the size of a picture."""

    min_pixels: Pixels
    max_pixels: Pixels
    patch: Pixels = 16
    """Side of a patch in pixels: 14 for Qwen2.5-VL, 16 for Qwen3-VL."""
    merge: Pixels = 2
    """Patches per side of one token."""

    def __post_init__(self) -> None:
        if self.min_pixels > self.max_pixels:
            raise ConfigError(f"min_pixels is {self.min_pixels}, above max_pixels {self.max_pixels}; lower it")


def fit(width: int, height: int, rule: PixelRule) -> tuple[int, int]:
    """Return the width and height, in pixels, to which the processor resizes a picture of this size.

    Raises:
        DataError: One side is more than 200 times the other.
    """
    if max(width, height) > MAX_RATIO * min(width, height):
        raise DataError(f"a picture of {width} x {height} is too narrow; one side may be {MAX_RATIO} times the other")
    unit = rule.patch * rule.merge
    wide, high = round(width / unit) * unit, round(height / unit) * unit
    if wide * high > rule.max_pixels:
        scale = math.sqrt(width * height / rule.max_pixels)
        wide, high = (max(unit, math.floor(side / scale / unit) * unit) for side in (width, height))
    elif wide * high < rule.min_pixels:
        scale = math.sqrt(rule.min_pixels / (width * height))
        wide, high = (math.ceil(side * scale / unit) * unit for side in (width, height))
    return wide, high


def image_tokens(width: int, height: int, rule: PixelRule) -> int:
    """Return the number of tokens of a picture of this size, without start and end markers."""
    wide, high = fit(width, height, rule)
    return wide * high // (rule.patch * rule.merge) ** 2


def rule_of(processor: Any, kwargs: Mapping[str, Any] | None = None) -> PixelRule | None:
    """Return the rule of a model's processor, or None if it uses a different kind of rule.

    Args:
        processor: The result of transformers' AutoProcessor, or None.
        kwargs: `data.mm_processor_kwargs`; the processor uses its pixel bounds only if both are set.

    Raises:
        ConfigError: Only one of the bounds is set.
    """
    images = getattr(processor, "image_processor", None)
    patch, merge = getattr(images, "patch_size", None), getattr(images, "merge_size", None)
    size = getattr(images, "size", None)
    low, high = bounds_of(kwargs)
    if not isinstance(patch, int) or not isinstance(merge, int) or size is None:
        return None
    if low is None or high is None:
        low, high = (lookup(size, name) for name in ("shortest_edge", "longest_edge"))
    return PixelRule(low, high, patch, merge) if low and high else None


def bounds_of(kwargs: Mapping[str, Any] | None) -> tuple[int | None, int | None]:
    """Return the pixel bounds of `data.mm_processor_kwargs`: both, or neither.

    Raises:
        ConfigError: Only one is set; transformers would ignore it without a warning.
    """
    low, high = (kwargs or {}).get("min_pixels"), (kwargs or {}).get("max_pixels")
    if (low is None) != (high is None):
        raise ConfigError(f"data.mm_processor_kwargs has min_pixels={low} and max_pixels={high}; set both, or neither")
    return low, high


def lookup(size: Any, name: str) -> Any:
    return size.get(name) if isinstance(size, Mapping) else getattr(size, name, None)


def image_size(ref: ImageRef, row_id: str, folder: str | Path = ".") -> tuple[int, int]:
    """Return width and height of a picture, in pixels, from its header.

    Raises:
        DataError: It cannot be read, is not a picture, or is too large.
    """
    if ref.bytes is not None:
        return head_size(ref.bytes, row_id, "its picture")
    path = Path(folder) / str(ref.path)
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
            try:
                return head_size(head, row_id, f"picture {path}")
            except DataError:
                # A JPEG's header may be longer than HEAD. A picture that is too large is refused again here.
                return head_size(head + file.read(MAX_FILE_BYTES), row_id, f"picture {path}")
    except OSError as cause:
        reason = cause.strerror or cause
        raise DataError(f"row {row_id!r}: picture {path} cannot be read ({reason}); check the folder") from cause


def head_size(data: bytes, row_id: str, label: str) -> tuple[int, int]:
    if is_dicom(data):
        try:
            dataset = open_dicom(io.BytesIO(data))
        except DataError as cause:
            raise DataError(f"row {row_id!r}: {label}: {cause}") from cause
        return int(dataset.Columns), int(dataset.Rows)
    with open_checked(data, row_id, label) as image:
        return image.size


def picture_tokens(sizes: Iterable[tuple[int, int]], rule: PixelRule, row_id: str) -> int:
    """Return the tokens of a row's pictures, minus one placeholder per picture that the prompt's text contains."""
    try:
        return sum(image_tokens(width, height, rule) - 1 for width, height in sizes)
    except DataError as cause:
        raise DataError(f"row {row_id!r}: {cause}") from cause


def count_by_rule(rule: PixelRule, template: str = "medix") -> Count:
    """Return a counter that needs no model: pictures by the rule, text by its bytes, as an overestimate."""

    def count(sample: Sample, sizes: Sequence[tuple[int, int]]) -> int:
        text = -(-len(render_prompt(sample, template).encode()) // BYTES_A_TOKEN)
        return CHAT_TOKENS + text + picture_tokens(sizes, rule, sample.id) + 3 * len(sizes)

    return count


def count_by_model(
    model: str,
    template: str = "medix",
    kwargs: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Count:
    """Return an exact counter that uses a model's tokenizer, chat template and pixel rule.

    Args:
        model: Folder or hub name.
        template: One of `prompts.template_names()`.
        kwargs: `data.mm_processor_kwargs` of the recipe.
        say: Called with a one-line message about the patch size that is used.

    Raises:
        ConfigError: The model cannot be loaded, or uses a different kind of rule for picture sizes.
    """
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(model)
    except (OSError, ValueError) as cause:
        reason = " ".join(str(cause).split())[:200]
        raise ConfigError(f"the model {model} has no processor that loads ({reason}); give its folder") from cause
    rule = rule_of(processor, kwargs)
    if rule is None:
        raise ConfigError(f"the model {model} sizes pictures by a rule that is not known here; leave the model out")
    merged = f"{rule.merge} x {rule.merge} of them a token"
    say(f"prompts are counted by {model}: patches of {rule.patch} x {rule.patch} pixels, {merged}")

    def count(sample: Sample, sizes: Sequence[tuple[int, int]]) -> int:
        messages = build_messages(sample, [""] * len(sample.images), template)
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        tokens = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        return tokens + picture_tokens(sizes, rule, sample.id)

    return count

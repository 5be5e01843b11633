# SPDX-License-Identifier: Apache-2.0
"""How many tokens a picture and a prompt become, found from the picture's size alone; nothing is decoded.

The rule is the one of Qwen2-VL to Qwen3-VL: both sides are rounded to whole merged patches, and the area is brought
between `min_pixels` and `max_pixels`; one token a merged patch. It gives the very number that the model's processor
gives. Without a model, a prompt's text is estimated from its length, on the safe side. A picture whose sides differ by
more than 200 times is refused, as the processor would in the middle of a run.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from medix_verl.data.dicom import is_dicom, open_dicom
from medix_verl.data.images import open_checked
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
"""Bytes of a file that nearly always hold the picture's size; the rest is read where they do not."""
BYTES_A_TOKEN = 3
"""Of UTF-8 text, on the safe side: English has four, Chinese three and more."""
CHAT_TOKENS = 32
"""What a chat template adds to one user turn, on the safe side."""

Pixels = Annotated[int, Integer(1)]
Count = Callable[[Sample, Sequence[tuple[int, int]]], int]
"""Tokens of a sample's prompt, given the width and height of each of its pictures."""


@spec("pixel rule", label="{key}")
class PixelRule:
    """How a model's processor sizes a picture."""

    min_pixels: Pixels
    max_pixels: Pixels
    patch: Pixels = 16
    """Pixels of a patch in pixels: 14 for Qwen2.5-VL, 16 for Qwen3-VL."""
    merge: Pixels = 2
    """Patches a side that become one token."""

    def __post_init__(self) -> None:
        if self.min_pixels > self.max_pixels:
            raise ConfigError(f"min_pixels is {self.min_pixels}, above max_pixels {self.max_pixels}; lower it")


def fit(width: int, height: int, rule: PixelRule) -> tuple[int, int]:
    """Width and height, in pixels, that the processor gives a picture of this size.

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
    """Tokens that a picture of this size becomes, start and end marks not counted."""
    wide, high = fit(width, height, rule)
    return wide * high // (rule.patch * rule.merge) ** 2


def rule_of(processor: Any, kwargs: Mapping[str, Any] | None = None) -> PixelRule | None:
    """The rule of a model's processor, or None where it has another one.

    Args:
        processor: What transformers' AutoProcessor gave, or None.
        kwargs: `data.mm_processor_kwargs`; the processor heeds its pixel bounds only where both are set.

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
    """The pixel bounds of `data.mm_processor_kwargs`: both, or neither.

    Raises:
        ConfigError: Only one is set, which transformers would pass over in silence.
    """
    low, high = (kwargs or {}).get("min_pixels"), (kwargs or {}).get("max_pixels")
    if (low is None) != (high is None):
        raise ConfigError(f"data.mm_processor_kwargs has min_pixels={low} and max_pixels={high}; set both, or neither")
    return low, high


def lookup(size: Any, name: str) -> Any:
    return size.get(name) if isinstance(size, Mapping) else getattr(size, name, None)


def image_size(ref: ImageRef, row_id: str, folder: str | Path = ".") -> tuple[int, int]:
    """Width and height of a picture, in pixels, from its head.

    Raises:
        DataError: It cannot be read, is no picture, or is too large.
    """
    if ref.bytes is not None:
        return head_size(ref.bytes, row_id, "its picture")
    path = Path(folder) / str(ref.path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            try:
                return head_size(head, row_id, f"picture {path}")
            except DataError:
                # A JPEG may have a long preamble; and a picture that is too large is so with all its bytes.
                return head_size(head + file.read(), row_id, f"picture {path}")
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
    """Tokens of a row's pictures, less the one placeholder each that the prompt's text holds already."""
    try:
        return sum(image_tokens(width, height, rule) - 1 for width, height in sizes)
    except DataError as cause:
        raise DataError(f"row {row_id!r}: {cause}") from cause


def count_by_rule(rule: PixelRule, template: str = "medix") -> Count:
    """Estimate prompts without a model: pictures by the rule, text by its bytes; rather too many than too few."""

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
    """Count prompts exactly, with a model's own tokenizer, chat template and pixel rule.

    Args:
        model: Folder or hub name.
        template: One of `prompts.template_names()`.
        kwargs: `data.mm_processor_kwargs` of the recipe.
        say: Told in one line by which patches pictures are counted.

    Raises:
        ConfigError: The model cannot be loaded, or sizes pictures by another rule.
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

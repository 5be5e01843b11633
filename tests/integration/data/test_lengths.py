# SPDX-License-Identifier: Apache-2.0
"""Lengths that were found from sizes are the very numbers that the real processor gives."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medix_verl.data.pictures.token_counts import PixelRule, count_by_model, image_tokens, rule_of
from medix_verl.data.prompts import build_messages
from medix_verl.errors import ConfigError
from medix_verl.types import ImageRef, Sample

pytestmark = pytest.mark.timeout(120)
BUDGETS: list[dict[str, int]] = [
    {},
    {"min_pixels": 4096, "max_pixels": 9216},
    {"min_pixels": 65536, "max_pixels": 262144},
]


@pytest.fixture(scope="module")
def processor(demo_folder: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(demo_folder / "policy")


def draw_sizes() -> list[tuple[int, int]]:
    drawn = random.Random(0)
    edges = [(1, 1), (15, 15), (16, 16), (17, 900), (400, 400), (1000, 5), (48, 80), (96, 96), (2000, 2000)]
    return edges + [(drawn.randint(1, 900), drawn.randint(5, 900)) for _ in range(40)]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_pictures(processor: Any, budget: dict[str, int]) -> None:
    rule = rule_of(processor, budget)
    assert rule is not None
    for width, height in draw_sizes():
        seen = processor.image_processor(images=[Image.new("RGB", (width, height))], return_tensors="pt", **budget)
        grid = seen["image_grid_thw"][0].tolist()
        assert image_tokens(width, height, rule) == grid[0] * grid[1] * grid[2] // 4, (width, height)


def test_another_patch_size() -> None:
    """Qwen2.5-VL's."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    rule = PixelRule(3136, 1003520, patch=14)
    for width, height in draw_sizes():
        high, wide = smart_resize(height, width, 28, 3136, 1003520)
        assert image_tokens(width, height, rule) == high * wide // 28**2


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_whole_prompts(processor: Any, demo_folder: Path, count: int, budget: dict[str, int]) -> None:
    sizes = draw_sizes()[4 : 4 + count]
    images = [Image.new("RGB", size) for size in sizes]
    refs = []
    for image in images:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        refs.append(ImageRef(bytes=stream.getvalue()))
    sample = Sample("s", "s", "Which organ is this?", "lung", "X_RAY" if count else None, images=tuple(refs))
    text = processor.apply_chat_template(build_messages(sample, images), add_generation_prompt=True, tokenize=False)
    whole = processor(text=[text], images=images or None, **budget)["input_ids"][0]
    said: list[str] = []
    assert count_by_model(str(demo_folder / "policy"), kwargs=budget, say=said.append)(sample, sizes) == len(whole)
    patch = processor.image_processor.patch_size
    assert len(said) == 1 and f"policy: patches of {patch} x {patch} pixels" in said[0]


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no processor that loads .*; give its folder"):
        count_by_model(str(tmp_path))

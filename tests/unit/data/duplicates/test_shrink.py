# SPDX-License-Identifier: Apache-2.0
"""Small copies are Pillow's, level for level, so that perceptual hashes stay what they were."""

import numpy as np
import pytest
from PIL import Image

from medix_verl.data.duplicates.shrink import shrink

SIZES = [
    *((1, 1), (1, 700), (700, 1), (32, 32), (64, 64), (32, 64), (64, 32), (31, 33), (63, 65), (400, 400), (640, 480)),
    *((1023, 767), (5, 900), (900, 5), (2600, 1900), (333, 333)),
]
"""Width and height: smaller, as large, larger; one side alone."""


def by_pillow(levels: np.ndarray, side: int, rows_first: bool) -> np.ndarray:
    """Each pass alone, because versions of Pillow differ in which they begin with."""
    height, width = levels.shape
    between = (side, height) if rows_first else (width, side)
    way = Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(levels).resize(between, way).resize((side, side), way))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("side", [32, 64])
def test_every_level_is_pillows(size: tuple[int, int], side: int) -> None:
    width, height = size
    rng = np.random.default_rng(width * height)
    for levels in (
        rng.integers(0, 256, (height, width), dtype=np.uint8),
        (rng.integers(0, 2, (height, width)) * 255).astype(np.uint8),  # overshoots on both sides
    ):
        rows_first = height <= side or height - side <= 2 * (width - side)
        assert np.array_equal(shrink(levels, side), by_pillow(levels, side, rows_first))


@pytest.mark.parametrize(
    ("size", "rows_first"),
    [((400, 736), True), ((400, 737), False), ((40, 64), True), ((40, 65), False)],
    ids=str,
)
def test_a_tall_picture_begins_with_its_columns(size: tuple[int, int], rows_first: bool) -> None:
    levels = np.random.default_rng(5).integers(0, 2, size[::-1]).astype(np.uint8) * 255
    assert np.array_equal(shrink(levels, 64), by_pillow(levels, 64, rows_first))
    if size[1] > 65:
        assert not np.array_equal(shrink(levels, 64), by_pillow(levels, 64, not rows_first))

# SPDX-License-Identifier: Apache-2.0
"""Tokens from sizes: the rule's properties, sizes from file heads, and the estimate without a model.

That the rule gives the very number of the model's processor is tested in tests/integration/data/test_lengths.py.
"""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medix_verl.data.pictures.token_counts import PixelRule, count_by_rule, fit, image_size, image_tokens, rule_of
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import ImageRef, Sample

RULE = PixelRule(min_pixels=262144, max_pixels=4194304)


def encoded(width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (9, 9, 9)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("size", "rule", "fitted", "tokens"),
    [
        ((400, 400), RULE, (512, 512), 256),
        ((2000, 2000), RULE, (1984, 1984), 3844),
        ((4000, 4000), RULE, (2048, 2048), 4096),
        ((400, 400), PixelRule(4096, 9216), (96, 96), 9),
        ((400, 400), PixelRule(3136, 1003520, patch=14), (392, 392), 196),
        ((1, 1), PixelRule(4096, 9216), (64, 64), 4),
    ],
)
def test_known_sizes(size: tuple[int, int], rule: PixelRule, fitted: tuple[int, int], tokens: int) -> None:
    assert fit(*size, rule) == fitted
    assert image_tokens(*size, rule) == tokens


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_fitted_picture_stays_as_it_is(width: int, height: int) -> None:
    """Or a picture scaled before the queue would be scaled again behind it."""
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(DataError, match="too narrow; one side may be 200 times the other"):
            fit(width, height, RULE)
        return
    wide, high = fit(width, height, RULE)
    assert wide % 32 == high % 32 == 0
    assert fit(height, width, RULE) == (high, wide)
    if max(wide, high) <= 200 * min(wide, high) and wide * high >= RULE.min_pixels:
        assert wide * high <= RULE.max_pixels * 1.2
        if wide * high <= RULE.max_pixels:
            assert fit(wide, high, RULE) == (wide, high)


def test_a_rule_refuses_nonsense() -> None:
    with pytest.raises(ConfigError, match="min_pixels is 10, above max_pixels 5; lower it"):
        PixelRule(10, 5)
    with pytest.raises(ConfigError, match="patch is 0"):
        PixelRule(1, 5, patch=0)


def processor(**fields: Any) -> Any:
    return SimpleNamespace(image_processor=SimpleNamespace(**fields))


SIZE = {"shortest_edge": 4096, "longest_edge": 9216}


@pytest.mark.parametrize(
    ("given", "kwargs", "expected"),
    [
        (processor(patch_size=16, merge_size=2, size=SIZE), None, PixelRule(4096, 9216)),
        (processor(patch_size=14, merge_size=2, size=SimpleNamespace(**SIZE)), {}, PixelRule(4096, 9216, 14)),
        (processor(patch_size=16, merge_size=2, size=SIZE), {"min_pixels": 1, "max_pixels": 2}, PixelRule(1, 2)),
        (processor(patch_size=16, merge_size=2, size={"height": 224, "width": 224}), None, None),
        (processor(size=SIZE), None, None),
        (None, {}, None),
    ],
)
def test_the_rule_of_a_processor(given: Any, kwargs: Any, expected: PixelRule | None) -> None:
    assert rule_of(given, kwargs) == expected


def test_half_a_budget_is_refused() -> None:
    """transformers passes over a single bound in silence."""
    with pytest.raises(ConfigError, match="has min_pixels=None and max_pixels=9; set both, or neither"):
        rule_of(processor(patch_size=16, merge_size=2, size=SIZE), {"max_pixels": 9})


def test_sizes_from_heads(tmp_path: Path) -> None:
    assert image_size(ImageRef(bytes=encoded(30, 20)), "r") == (30, 20)
    (tmp_path / "a.png").write_bytes(encoded(31, 21))
    assert image_size(ImageRef(path="a.png"), "r", tmp_path) == (31, 21)
    # A preamble longer than what is read at first: 2 x 65533 bytes of comments.
    jpeg = encoded(32, 22, "JPEG")
    comment = b"\xff\xfe\xff\xff" + b"c" * 65533
    (tmp_path / "b.jpg").write_bytes(jpeg[:2] + comment * 2 + jpeg[2:])
    assert image_size(ImageRef(path="b.jpg"), "r", tmp_path) == (32, 22)


def test_pictures_that_have_no_size(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 'r7': its picture is not a readable picture"):
        image_size(ImageRef(bytes=b"nothing"), "r7")
    with pytest.raises(DataError, match=r"row 'r8': picture .*gone\.png cannot be read"):
        image_size(ImageRef(path="gone.png"), "r8", tmp_path)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"row 'r9': picture .*bad\.png is not a readable picture"):
        image_size(ImageRef(path="bad.png"), "r9", tmp_path)
    dicom = b"\x00" * 128 + b"DICM" + b"rubbish"
    with pytest.raises(DataError, match="row 'r10': its picture"):
        image_size(ImageRef(bytes=dicom), "r10")


def test_the_estimate_without_a_model() -> None:
    count = count_by_rule(RULE, "medix_short")
    text = Sample("t", "s", "What is this?", "this")
    longer = Sample("t", "s", "What is this? " * 90, "this")
    picture = Sample("p", "s", "What is this?", "this", images=(ImageRef(bytes=b"x"),))
    assert count(longer, []) > count(text, []) + 300
    assert 256 <= count(picture, [(400, 400)]) - count(text, []) <= 300
    with pytest.raises(DataError, match="row 'p': a picture of 1000 x 2 is too narrow"):
        count(picture, [(1000, 2)])

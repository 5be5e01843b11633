# SPDX-License-Identifier: Apache-2.0
"""What a message carries for a picture, and that the same pixels come out whatever it carries."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medix_verl.data.pictures.messages import FORMS, budget, open_message, to_message
from medix_verl.data.pictures.token_counts import PixelRule, fit
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import ImageRef

RULE = PixelRule(64 * 64, 96 * 96)


def noise(width: int, height: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def carried(data: bytes, form: str, tmp_path: Path) -> dict[str, Any]:
    return to_message(ImageRef(bytes=data), "r1", str(tmp_path), form, RULE, str(tmp_path / "store"))


@pytest.mark.parametrize(("width", "height", "expected"), [(300, 200, True), (90, 40, False), (20, 20, False)])
def test_every_form_ends_in_the_same_pixels(width: int, height: int, expected: bool, tmp_path: Path) -> None:
    data = noise(width, height)
    arrived = [open_message(pickle.loads(pickle.dumps(carried(data, form, tmp_path))), RULE) for form in FORMS]
    assert {image.size for image in arrived} == {fit(width, height, RULE) if expected else (width, height)}
    assert len({image.tobytes() for image in arrived}) == 1


def test_what_each_form_weighs(tmp_path: Path) -> None:
    weights = {form: len(pickle.dumps(carried(noise(300, 200, "JPEG"), form, tmp_path))) for form in FORMS}
    wide, high = fit(300, 200, RULE)
    assert weights["pixels"] >= wide * high * 3, "scaled down before it travels"
    assert weights["pixels"] < 300 * 200 * 3
    assert weights["files"] < 400


def test_a_path_is_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(noise(90, 40))
    item = to_message(ImageRef(path="a.png"), "r1", str(tmp_path), "files", RULE, None)
    assert item == {"image": str(tmp_path / "a.png"), "row": "r1"}
    encoded = to_message(ImageRef(path="a.png"), "r1", str(tmp_path), "encoded", RULE, None)
    assert encoded == {"image": noise(90, 40), "row": "r1"}


def test_an_embedded_picture_needs_a_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"row 'r1' embeds its picture .* set data\.medix\.image_store=FOLDER"):
        to_message(ImageRef(bytes=noise(9, 9)), "r1", str(tmp_path), "files", RULE, "")


def test_an_unknown_form(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.medix\.images is 'pixel'; accepted: .*did you mean 'pixels'"):
        carried(noise(9, 9), "pixel", tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_an_unreadable_picture_does_not_leave(form: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 'r1': its picture is not a readable picture"):
        carried(b"nothing", form, tmp_path)
    with pytest.raises(DataError, match=r"row 'r1': picture .*gone\.png cannot be read"):
        to_message(ImageRef(path="gone.png"), "r1", str(tmp_path), form, RULE, None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_that_is_cut_off_does_not_leave(form: str, kind: str, tmp_path: Path) -> None:
    """Its header is whole; the agent loop would lose all answers to it, and nobody would hear why."""
    (tmp_path / "a").write_bytes(noise(90, 40, kind)[:-2000])
    with pytest.raises(DataError, match=r"row 'r1': picture .* is cut off or corrupt"):
        to_message(ImageRef(path="a"), "r1", str(tmp_path), form, RULE, None)


def test_a_picture_that_is_cut_off_on_its_way_is_named_where_it_is_opened() -> None:
    with pytest.raises(DataError, match="row 'r1': its picture is cut off or corrupt"):
        open_message({"image": noise(90, 40, "JPEG")[:-2000], "row": "r1"}, RULE)


def test_a_picture_that_is_too_narrow() -> None:
    with pytest.raises(DataError, match="row 'r1': a picture of 20000 x 2 is too narrow"):
        open_message({"image": Image.new("RGB", (20000, 2)), "row": "r1"}, RULE)


def test_the_budget() -> None:
    assert budget(14, {"min_pixels": 1, "max_pixels": 2}) == PixelRule(1, 2, 14)
    assert budget(16, None) is None and budget(16, {}) is None
    image = Image.new("RGB", (500, 500))
    assert open_message({"image": image}, None) is image
    with pytest.raises(ConfigError, match="set both, or neither"):
        budget(16, {"min_pixels": 1})

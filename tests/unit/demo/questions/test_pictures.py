# SPDX-License-Identifier: Apache-2.0
"""The sources: in the wheels, honest about their modality, and shared out without overlap."""

from __future__ import annotations

from itertools import product

import numpy as np
import pydicom
import pytest

from helpers.wheels import scikit_image
from medix_verl.demo.questions import pictures
from medix_verl.demo.questions.draw import crop_picture
from medix_verl.demo.questions.pictures import SOURCES, SourcePicture
from medix_verl.errors import SetupError
from medix_verl.types import MODALITIES

scikit_image()

TAG_OF_DICOM = {"CT": "CT_SCAN", "MR": "MRI_SCAN", "US": "ULTRASOUND", "NM": "SPECT"}

every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


@every_source
def test_a_source_loads_as_rgb(source: SourcePicture) -> None:
    for frame in {*source.train_frames, *source.val_frames}:
        pixels = source.loader(frame)
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert source.modality in MODALITIES


@every_source
def test_the_tag_of_a_dicom_source_is_what_its_file_says(source: SourcePicture) -> None:
    name = str(source.loader.args[0])  # type: ignore[attr-defined]  # loaders are functools.partial
    if not name.endswith(".dcm"):
        assert source.modality in ("FUNDUS_PHOTOGRAPHY", "MICROSCOPY")
        return
    dataset = pydicom.dcmread(pictures.wheel_file("pydicom", "data/test_files", name), stop_before_pixels=True)
    assert TAG_OF_DICOM[dataset.Modality] == source.modality


def pixel_box(source: SourcePicture, box: pictures.Box) -> tuple[int, int, int, int]:
    rows, columns = source.loader(source.train_frames[0]).shape[:2]
    return round(box[0] * columns), round(box[1] * rows), round(box[2] * columns), round(box[3] * rows)


@every_source
def test_the_splits_share_no_pixel(source: SourcePicture) -> None:
    if not set(source.train_frames) & set(source.val_frames):
        return
    for one, other in product(source.train_boxes, source.val_boxes):
        a, b = pixel_box(source, one), pixel_box(source, other)
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


class Recorder:
    """A picture whose pixels tell where they come from: red is the column, green the row, blue the frame."""

    def __call__(self, frame: int) -> np.ndarray:
        grid = np.zeros((200, 200, 3), dtype=np.uint8)
        grid[:, :, 0] = np.arange(200)[None]
        grid[:, :, 1] = np.arange(200)[:, None]
        grid[:, :, 2] = frame
        return grid


def test_crops_stay_inside_their_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medix_verl.demo.questions.draw.vary", lambda rng, part: part)
    source = SourcePicture(
        "probe", "CT_SCAN", "x", (), "", Recorder(), ((0.1, 0.0, 0.5, 1.0),), ((0.5, 0.2, 0.9, 0.8),), (3,), (5,)
    )
    for seed in range(40):
        for split, columns, rows, frame in (("train", (20, 99), (0, 199), 3), ("val", (100, 179), (40, 159), 5)):
            part = np.asarray(crop_picture(np.random.default_rng(seed), source, split))
            assert columns[0] <= part[:, :, 0].min() and part[:, :, 0].max() <= columns[1]
            assert rows[0] <= part[:, :, 1].min() and part[:, :, 1].max() <= rows[1]
            assert (part[:, :, 2] == frame).all()


def test_a_missing_wheel_or_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="the installed pydicom does not carry nothing.dcm; reinstall it"):
        pictures.wheel_file("pydicom", "data/test_files", "nothing.dcm")
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="come with scikit-image, which is not installed; pip install scikit-image"):
        pictures.wheel_file("skimage", "data", "retina.jpg")

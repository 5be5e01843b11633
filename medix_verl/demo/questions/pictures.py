# SPDX-License-Identifier: Apache-2.0
"""The demo's source pictures: real ones, from the installed wheels of pydicom and scikit-image.

Each source has the modality from its file, what it shows, its origin, and the part of it for each split. The parts are
disjoint: of a still picture, training uses one side of a line and validation the other (of the bone scan: alternating
bands), never the same pixel; of the ultrasound loop both use the same view, training frames 0 to 17 and validation
frames 22 to 29. So validation asks about unseen regions and frames of the same pictures, not about unseen patients.
Nothing is downloaded: a file missing in the wheel is a SetupError.

Modality tags are from the file's own `Modality` (CT, MR, US). A gamma camera's file has NM (nuclear medicine), which is
not in the closed vocabulary of tags; SPECT, its only gamma-camera tag, is used instead. scikit-image's pictures have no
such field: their tags are from its documentation (the cell is a quantitative phase image).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from medix_verl.data.pictures.images import read_dicom
from medix_verl.errors import SetupError

__all__ = ["SOURCES", "Box", "SourcePicture"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of the picture's width and height."""

PACKAGES = {"pydicom": "pydicom", "skimage": "scikit-image"}
PYDICOM_LICENCE = "pydicom test file (MIT; its README knows of no restriction)"
CC0 = "CC0 1.0 (scikit-image data)"
FREE = "no known copyright restrictions (scikit-image data)"


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """A source and its parts for each split."""

    name: str
    modality: str
    """One of medix_verl.types.MODALITIES."""
    shows: str
    """The right answer to "what is shown?"."""
    also: tuple[str, ...]
    """Other answers that are equally right."""
    licence: str
    loader: Callable[[int], np.ndarray]
    """From a frame number to uint8 RGB of shape (rows, columns, 3)."""
    train_boxes: tuple[Box, ...]
    val_boxes: tuple[Box, ...]
    train_frames: tuple[int, ...] = (0,)
    val_frames: tuple[int, ...] = (0,)

    def boxes(self, split: str) -> tuple[Box, ...]:
        """The parts of the picture for a split."""
        return self.train_boxes if split == "train" else self.val_boxes

    def frames(self, split: str) -> tuple[int, ...]:
        """The frames for a split."""
        return self.train_frames if split == "train" else self.val_frames


def wheel_file(module: str, folder: str, name: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        package = PACKAGES[module]
        raise SetupError(f"the demo's pictures come with {package}, which is not installed; pip install {package}")
    path = Path(spec.origin).parent / folder / name
    if not path.is_file():
        raise SetupError(f"the installed {module} does not carry {name}; reinstall it from its wheel")
    return path


@cache
def load_dicom(name: str, gain: float, frame: int) -> np.ndarray:
    pixels = read_dicom(wheel_file("pydicom", "data/test_files", name), frame)
    return pixels if gain == 1.0 else np.clip(pixels * gain, 0, 255).astype(np.uint8)


@cache
def load_plain(name: str, frame: int) -> np.ndarray:
    with Image.open(wheel_file("skimage", "data", name)) as image:
        return np.asarray(image.convert("RGB"))


def dicom(name: str, gain: float = 1.0) -> Callable[[int], np.ndarray]:
    """A loader for a DICOM file; `gain` brightens a picture whose maximum makes the rest dark."""
    return partial(load_dicom, name, gain)


def plain(name: str) -> Callable[[int], np.ndarray]:
    return partial(load_plain, name)


SKELETON_BANDS: tuple[Box, ...] = tuple((0.05, top / 100, 0.95, (top + 10) / 100) for top in range(5, 85, 10))

# The boxes exclude burnt-in text, rulers and empty margins, which reveal the modality or show nothing.
SOURCES: tuple[SourcePicture, ...] = (
    SourcePicture(
        "ct_spine",
        "CT_SCAN",
        "spine",
        ("vertebra", "the spine", "a vertebra", "vertebral column"),
        PYDICOM_LICENCE,
        dicom("CT_small.dcm"),
        ((0.05, 0.0, 0.5, 0.62),),
        ((0.5, 0.0, 0.95, 0.62),),
    ),
    SourcePicture(
        "ct_skull",
        "CT_SCAN",
        "head",
        ("skull", "the head", "brain", "cranium"),
        PYDICOM_LICENCE,
        dicom("J2K_pixelrep_mismatch.dcm"),
        ((0.10, 0.05, 0.5, 0.95),),
        ((0.5, 0.05, 0.90, 0.95),),
    ),
    SourcePicture(
        "mr_abdomen",
        "MRI_SCAN",
        "abdomen",
        ("the abdomen", "belly", "upper abdomen"),
        PYDICOM_LICENCE,
        dicom("examples_overlay.dcm"),
        ((0.08, 0.15, 0.5, 0.92),),
        ((0.5, 0.15, 0.92, 0.92),),
    ),
    SourcePicture(
        "us_heart",
        "ULTRASOUND",
        "heart",
        ("the heart", "cardiac chambers"),
        PYDICOM_LICENCE,
        dicom("examples_ybr_color.dcm"),
        ((0.22, 0.12, 0.78, 0.80),),
        ((0.22, 0.12, 0.78, 0.80),),
        tuple(range(18)),
        tuple(range(22, 30)),
    ),
    SourcePicture(
        "us_node",
        "ULTRASOUND",
        "lymph node",
        ("a lymph node", "node"),
        PYDICOM_LICENCE,
        dicom("examples_rgb_color.dcm"),
        ((0.12, 0.26, 0.5, 0.54),),
        ((0.5, 0.26, 0.88, 0.54),),
    ),
    SourcePicture(
        "nm_bones",
        "SPECT",
        "skeleton",
        ("the skeleton", "bones", "whole body"),
        PYDICOM_LICENCE,
        dicom("JPEG2000.dcm", gain=2.0),
        SKELETON_BANDS[::2],
        SKELETON_BANDS[1::2],
    ),
    SourcePicture(
        "fundus",
        "FUNDUS_PHOTOGRAPHY",
        "retina",
        ("the retina", "eye", "ocular fundus"),
        CC0,
        plain("retina.jpg"),
        ((0.10, 0.10, 0.5, 0.90),),
        ((0.5, 0.10, 0.90, 0.90),),
    ),
    SourcePicture(
        "ihc_colon",
        "MICROSCOPY",
        "colon",
        ("the colon", "colonic glands", "glands", "bowel"),
        FREE,
        plain("ihc.png"),
        ((0.0, 0.0, 0.55, 1.0),),
        ((0.55, 0.0, 1.0, 1.0),),
    ),
    SourcePicture(
        "microaneurysms",
        "FUNDUS_PHOTOGRAPHY",
        "retina",
        ("the retina", "eye", "microaneurysms", "retinal vessels"),
        CC0,
        plain("microaneurysms.png"),
        ((0.0, 0.0, 1.0, 0.5),),
        ((0.0, 0.5, 1.0, 1.0),),
    ),
    SourcePicture(
        "cell",
        "MICROSCOPY",
        "cell",
        ("a cell", "a single cell", "cell in saline"),
        CC0,
        plain("cell.png"),
        ((0.5, 0.40, 0.775, 0.73),),
        ((0.775, 0.40, 1.0, 0.73),),
    ),
)

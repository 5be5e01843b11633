# SPDX-License-Identifier: Apache-2.0
"""Every frame of pydicom's own test files beside pydicom's own pipeline: within one level, or refused for a reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing, pixel_array

from medix_verl.data.dicom.decode import decode_frame, frames_of, open_dicom
from medix_verl.data.dicom.window import spread
from medix_verl.errors import DataError

LOST = {"dicomdirtests/77654033/CT2/17166", "dicomdirtests/77654033/CT2/17196"}
"""Every value lies above the window 30/100 that the file gives: pydicom's picture is all white."""


def opened() -> Iterator[tuple[str, Dataset]]:
    for path in sorted(get_testdata_files()):
        name = Path(path).as_posix().partition("test_files/")[2]
        try:
            dataset = open_dicom(path)
            frames_of(dataset)
        except DataError:
            continue
        yield name, dataset


def by_pydicom(dataset: Dataset, index: int) -> np.ndarray:
    """One frame by pydicom's functions for display, scaled to 0..255."""
    raw = pixel_array(dataset, index=index)
    if raw.ndim == 3:
        return raw if raw.dtype == np.uint8 else spread(raw.astype(np.float64))
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colour = apply_color_lut(raw, dataset)
        return colour if colour.dtype == np.uint8 else (colour >> 8).astype(np.uint8)
    values = np.asarray(apply_modality_lut(raw, dataset))
    if dataset.get("VOILUTSequence"):
        shown = apply_voi(values, dataset)
        grey = shown / shown.max() * 255.0
    elif dataset.get("WindowCenter") not in (None, ""):
        bits = int(dataset.BitsStored)
        signed = dataset.PixelRepresentation == 1
        ends = np.array([-(1 << (bits - 1)), (1 << (bits - 1)) - 1] if signed else [0, (1 << bits) - 1])
        low, high = sorted(np.asarray(apply_modality_lut(ends, dataset)).astype(float))
        grey = (np.asarray(apply_windowing(values, dataset)) - low) / (high - low) * 255.0
    else:
        grey = spread(values.astype(np.float64)).astype(np.float64)
    grey = 255.0 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey
    return np.repeat(grey[:, :, None], 3, axis=2)


def test_every_frame_is_within_one_level_of_pydicoms_own() -> None:
    frames, lost = 0, set()
    for name, dataset in opened():
        for index in range(frames_of(dataset)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    theirs = by_pydicom(dataset, index)
                except Exception:  # noqa: BLE001 - what pydicom cannot decode is refused here
                    with pytest.raises(DataError):
                        decode_frame(dataset, index)
                    continue
                try:
                    ours = decode_frame(dataset, index)
                except DataError as cause:
                    ours, why = None, str(cause)
            if ours is None:
                assert "one shade of grey (255) although its stored values differ" in why, name
                assert (theirs == theirs[0, 0]).all(), name
                lost.add(name)
                continue
            assert np.abs(ours.astype(np.float64) - theirs).max() <= 1, f"{name} frame {index}"
            frames += 1
    assert lost == LOST and frames >= 150

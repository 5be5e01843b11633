# SPDX-License-Identifier: Apache-2.0
"""Writes small DICOM files for the tests: every value is made up, and none is of a person."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ROOT = "1.2.826.0.1.3680043.8.498."
RAMP = np.arange(16, dtype=np.int16).reshape(4, 4) * 100
CLEAN = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "test"}


def uid(number: int) -> UID:
    return UID(f"{ROOT}{number}")


def dataset(pixels: np.ndarray | None = RAMP, frames: int | None = None, **tags: object) -> FileDataset:
    """A picture without a person: `pixels` is (rows, columns), (frames, rows, columns) or (rows, columns, 3)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = str(tags.get("SOPClassUID", CT))
    meta.MediaStorageSOPInstanceUID = str(tags.get("SOPInstanceUID", uid(1)))
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Modality, file.PatientName, file.PatientID = "CT", "", ""
    file.StudyInstanceUID, file.SeriesInstanceUID = uid(100), uid(200)
    if pixels is not None:
        put_pixels(file, pixels, frames)
    for keyword, value in tags.items():
        setattr(file, keyword, value)
    return file


def put_pixels(file: Dataset, pixels: np.ndarray, frames: int | None) -> None:
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3 and frames is None
    shape = pixels.shape[:2] if colour else pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    file.Rows, file.Columns = shape
    file.SamplesPerPixel = 3 if colour else 1
    file.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        file.PlanarConfiguration = 0
    file.BitsAllocated = file.BitsStored = bits
    file.HighBit = bits - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    if frames is not None:
        file.NumberOfFrames = frames
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    file.PixelData = data + b"\0" * (len(data) % 2)


def encode(file: Dataset) -> bytes:
    buffer = io.BytesIO()
    file.save_as(buffer)
    return buffer.getvalue()


def write(path: Path, file: Dataset | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(dataset() if file is None else file))
    return path


def item(**tags: object) -> Dataset:
    made = Dataset()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made

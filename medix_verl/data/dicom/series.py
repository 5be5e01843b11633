# SPDX-License-Identifier: Apache-2.0
"""Folders of DICOM files: reads headers, sorts series and selects pictures of a series.

Only the tags that sorting needs are read, and no pixels. A series is sorted by InstanceNumber if the numbers are
complete and unique, otherwise by the position along the slice normal, otherwise by name. Of a patient, only a number
in order of appearance is kept; it identifies pictures of the same patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.dicom.decode import is_dicom, kind_of_failure, quiet
from medix_verl.data.dicom.pixel_data import room_for
from medix_verl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = [
    "PICKS",
    "FrameChoice",
    "Header",
    "SeriesChoice",
    "choose_series",
    "parse_frames",
    "pick_frames",
    "read_headers",
    "sort_series",
]

PICKS = ("only", "largest", "all")
TAGS = (
    "BitsAllocated",
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "IssuerOfPatientID",
    "Modality",
    "NumberOfFrames",
    "PatientID",
    "PhotometricInterpretation",
    "Rows",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "StudyInstanceUID",
)
FRAMES_ACCEPTED = "accepted: first, middle, all, every:N, or numbers from 0 such as 0,4,8"


@dataclass(frozen=True, slots=True)
class Header:
    """Header of one file, read without its pixels."""

    name: str
    """Path relative to the folder, with `/`."""
    study: str = ""
    series: str = ""
    instance: str = ""
    """SOPInstanceUID."""
    modality: str = ""
    """The DICOM code; `SPECT` for tomographic nuclear medicine."""
    description: str = ""
    number: int | None = None
    place: float | None = None
    """Position along the normal of the slice, in mm."""
    frames: int = 1
    patient: int = 0
    """Number of the patient, from 1 in order of appearance; 0 if the file states none."""
    has_picture: bool = True
    fault: str = ""
    """Why the file cannot be read; empty if it can."""
    order: int = 0
    """Position among the folder's DICOM files by name, from 1."""

    def label(self, keep_names: bool) -> str:
        """The file's name in messages. By default it is a number, since a file name may be the patient's name."""
        return self.name if keep_names else f"DICOM file {self.order} of the folder"


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """Which series of a study are used: of those that match, the only one, the largest or all."""

    description: str = ""
    """A regular expression searched in SeriesDescription, case-insensitive."""
    modality: str = ""
    """A DICOM code such as CT."""
    pick: str = "only"
    """One of PICKS; `only` refuses a study in which several series match."""

    def __post_init__(self) -> None:
        """Refuse an unknown `pick` or an invalid regular expression."""
        if self.pick not in PICKS:
            raise ConfigError(f"series is {self.pick!r}; accepted: {', '.join(PICKS)}")
        try:
            re.compile(self.description)
        except re.error as cause:
            got = f"description is {self.description!r}, no regular expression ({cause})"
            raise ConfigError(f"{got}; accepted: a pattern such as 'axial|T2'") from cause


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """Which pictures of a sorted list are used."""

    kind: str = "middle"
    """`first`, `middle`, `all`, `every` or `list`."""
    step: int = 1
    numbers: tuple[int, ...] = ()
    cap: int = 8
    """Maximum number of pictures; `all` and `every` are subsampled evenly to it, a longer list is refused."""

    def __post_init__(self) -> None:
        """Refuse a list that is longer than the cap."""
        if len(self.numbers) > self.cap:
            got = f"frames names {len(self.numbers)} pictures, max_frames is {self.cap}"
            raise ConfigError(f"{got}; name fewer or raise max_frames")


def parse_frames(text: str, cap: int) -> FrameChoice:
    """Read `first`, `middle`, `all`, `every:N` or a list of numbers.

    Raises:
        ConfigError: The text is none of these.
    """
    if text in ("first", "middle", "all"):
        return FrameChoice(text, cap=cap)
    if (found := re.fullmatch(r"every:(\d{1,6})", text)) and int(found[1]) > 0:
        return FrameChoice("every", step=int(found[1]), cap=cap)
    if re.fullmatch(r"\d{1,6}(?:,\d{1,6})*", text):
        return FrameChoice("list", numbers=tuple(int(number) for number in text.split(",")), cap=cap)
    raise ConfigError(f"frames is {text!r}; {FRAMES_ACCEPTED}")


def pick_frames(choice: FrameChoice, count: int) -> list[int]:
    """Indices of the chosen pictures out of `count`, in order.

    Raises:
        DataError: A listed number is out of range.
    """
    if choice.kind == "list":
        absent = [number for number in choice.numbers if number >= count]
        if absent:
            raise DataError(f"frame {absent[0]} is not there; there are frames 0 to {count - 1}")
        return list(choice.numbers)
    if choice.kind in ("first", "middle"):
        return [0 if choice.kind == "first" else count // 2]
    wanted = range(0, count, choice.step)
    if len(wanted) <= choice.cap:
        return list(wanted)
    # Evenly spaced from first to last, so that a subsampled series still covers the whole organ.
    last = len(wanted) - 1
    return [wanted[round(place * last / max(choice.cap - 1, 1))] for place in range(choice.cap)]


def read_headers(root: Path, names: Iterable[str]) -> Iterator[Header]:
    """Headers of the DICOM files among the given files, in the same order; other files are skipped.

    Args:
        root: The folder.
        names: Paths relative to the folder.
    """
    patients: dict[tuple[str, str], int] = {}
    order = 0
    for name in names:
        with (root / name).open("rb") as file:
            found = is_dicom(file.read(132))
        if found and Path(name).name.upper() != "DICOMDIR":
            order += 1
            yield replace(read_header(root / name, name, patients), order=order)
        elif Path(name).suffix.lower() in (".dcm", ".dicom"):
            order += 1
            yield Header(name, fault="not a DICOM file", has_picture=False, order=order)


def read_header(path: Path, name: str, patients: dict[tuple[str, str], int]) -> Header:
    import pydicom

    try:
        with quiet():
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
            header = header_of(dataset, name, patients)
            size = path.stat().st_size
            if header.has_picture and header.frames > room_for(dataset, size):
                fault = f"NumberOfFrames says {header.frames}, and the file has {size} bytes"
                return replace(header, fault=fault, frames=1, has_picture=False)
            return header
    except Exception as cause:  # noqa: BLE001 - corrupt files raise any type; the message may contain tag values
        return Header(name, fault=kind_of_failure(cause), has_picture=False)


def header_of(dataset: Dataset, name: str, patients: dict[tuple[str, str], int]) -> Header:
    modality = str(dataset.get("Modality") or "").strip().upper()
    patient = (str(dataset.get("IssuerOfPatientID") or ""), str(dataset.get("PatientID") or "").strip())
    number = dataset.get("InstanceNumber")
    return Header(
        name=name,
        study=str(dataset.get("StudyInstanceUID") or ""),
        series=str(dataset.get("SeriesInstanceUID") or ""),
        instance=str(dataset.get("SOPInstanceUID") or ""),
        modality="SPECT" if modality == "NM" and "TOMO" in str(dataset.get("ImageType") or "") else modality,
        description=str(dataset.get("SeriesDescription") or ""),
        number=None if number in (None, "") else int(number),
        place=place_of(dataset.get("ImagePositionPatient"), dataset.get("ImageOrientationPatient")),
        frames=max(int(dataset.get("NumberOfFrames") or 1), 1),
        patient=patients.setdefault(patient, len(patients) + 1) if patient[1] else 0,
        has_picture="Rows" in dataset,
    )


def place_of(position: Any, orientation: Any) -> float | None:
    """Position of a slice along its normal, in mm (DICOM PS3.3 C.7.6.2.1.1); None if the file does not state it."""
    if not position or not orientation or len(position) != 3 or len(orientation) != 6:
        return None
    ax, ay, az, bx, by, bz = (float(item) for item in orientation)
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return sum(float(at) * along for at, along in zip(position, normal, strict=True))


def sort_series(headers: Iterable[Header]) -> list[Header]:
    """The files of one series in viewing order; duplicates of an instance are removed."""
    once = {header.instance or header.name: header for header in sorted(headers, key=by_name, reverse=True)}
    files = sorted(once.values(), key=by_name)
    numbers = {header.number for header in files}
    if None not in numbers and len(numbers) == len(files):
        return sorted(files, key=lambda header: header.number or 0)
    if all(header.place is not None for header in files):
        return sorted(files, key=lambda header: (header.place or 0.0, header.number or 0))
    return files


def by_name(header: Header) -> str:
    return header.name


def choose_series(headers: Sequence[Header], choice: SeriesChoice) -> list[list[Header]]:
    """The chosen series of a study, each sorted; the largest series first, then by UID.

    Args:
        headers: Every file of the study that has a picture.
        choice: Which series are used.

    Raises:
        DataError: No series matches, or several match where only one is allowed.
    """
    pattern = re.compile(choice.description, re.IGNORECASE)
    groups: dict[str, list[Header]] = {}
    for header in headers:
        right = not choice.modality or header.modality == choice.modality.upper()
        if right and pattern.search(header.description):
            groups.setdefault(header.series, []).append(header)
    if not groups:
        wanted = f"description {choice.description!r}" if choice.description else f"modality {choice.modality!r}"
        raise DataError(f"no series of the study matches {wanted}; give another one with --set")
    series = sorted(
        (sort_series(group) for group in groups.values()), key=lambda files: (-count(files), files[0].series)
    )
    if choice.pick == "only" and len(series) > 1:
        remedy = "name one in the column series, or give --set description=..., modality=... or series=largest"
        raise DataError(f"the study has {len(series)} series that match; {remedy}")
    return series if choice.pick == "all" else series[:1]


def count(files: Sequence[Header]) -> int:
    """Number of pictures of a series, counting frames."""
    return sum(header.frames for header in files)

# SPDX-License-Identifier: Apache-2.0
"""A folder of DICOM files: their headers, their series in order, and which of a series' pictures are taken.

Only what sorting needs is read of a header, and no pixel. A series is sorted by InstanceNumber where each file has its
own, else by the place along the normal of its slices, else by name. Nothing here is kept of a patient but a number in
the order of appearance, by which pictures of one patient can be told to be of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.dicom import is_dicom, kind_of_failure, quiet
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
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "IssuerOfPatientID",
    "Modality",
    "NumberOfFrames",
    "PatientID",
    "Rows",
    "SOPInstanceUID",
    "SeriesDescription",
    "SeriesInstanceUID",
    "StudyInstanceUID",
)
FRAMES_ACCEPTED = "accepted: first, middle, all, every:N, or numbers from 0 such as 0,4,8"


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of one file before its pixels are read."""

    name: str
    """Its path from the folder's top, with `/`."""
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
    """Counted from 1 in the order of appearance; 0 where the file names none."""
    has_picture: bool = True
    fault: str = ""
    """Why the file cannot be read; empty where it can."""


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """Which series of a study are taken: those that match, and of these one, the largest or all."""

    description: str = ""
    """A regular expression that SeriesDescription holds, upper and lower case alike."""
    modality: str = ""
    """A DICOM code such as CT."""
    pick: str = "only"
    """One of PICKS; `only` refuses a study in which several match."""

    def __post_init__(self) -> None:
        """Refuse a choice that could not be made."""
        if self.pick not in PICKS:
            raise ConfigError(f"series is {self.pick!r}; accepted: {', '.join(PICKS)}")
        try:
            re.compile(self.description)
        except re.error as cause:
            got = f"description is {self.description!r}, no regular expression ({cause})"
            raise ConfigError(f"{got}; accepted: a pattern such as 'axial|T2'") from cause


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """Which pictures of a sorted list are taken."""

    kind: str = "middle"
    """`first`, `middle`, `all`, `every` or `list`."""
    step: int = 1
    numbers: tuple[int, ...] = ()
    cap: int = 8
    """The most that are taken; `all` and `every` are thinned out evenly to it, a list above it is refused."""

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
    """Which of `count` pictures are taken, in order.

    Raises:
        DataError: A number of the list is not there.
    """
    if choice.kind == "list":
        absent = [number for number in choice.numbers if number >= count]
        if absent:
            raise DataError(f"frame {absent[0]} is not there; there are frames 0 to {count - 1}")
        return list(choice.numbers)
    if choice.kind in ("first", "middle"):
        return [0 if choice.kind == "first" else count // 2]
    wanted = list(range(0, count, choice.step))
    if len(wanted) <= choice.cap:
        return wanted
    # Evenly from first to last, so that a thinned series still covers the whole organ.
    last = len(wanted) - 1
    return [wanted[round(place * last / max(choice.cap - 1, 1))] for place in range(choice.cap)]


def read_headers(root: Path, names: Iterable[str]) -> Iterator[Header]:
    """The headers of the DICOM files among some files, in their order; what is no DICOM file is left out.

    Args:
        root: The folder.
        names: Paths from it.
    """
    patients: dict[tuple[str, str], int] = {}
    for name in names:
        with (root / name).open("rb") as file:
            found = is_dicom(file.read(132))
        if found and Path(name).name.upper() != "DICOMDIR":
            yield read_header(root / name, name, patients)
        elif Path(name).suffix.lower() in (".dcm", ".dicom"):
            yield Header(name, fault="not a DICOM file", has_picture=False)


def read_header(path: Path, name: str, patients: dict[tuple[str, str], int]) -> Header:
    import pydicom

    try:
        with quiet():
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
            return header_of(dataset, name, patients)
    except Exception as cause:  # noqa: BLE001 - a corrupt file fails in any way; the message may hold values of tags
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
    """How far along its normal a slice lies, in mm (DICOM PS3.3 C.7.6.2.1.1); None where the file does not say."""
    if not position or not orientation or len(position) != 3 or len(orientation) != 6:
        return None
    ax, ay, az, bx, by, bz = (float(item) for item in orientation)
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return sum(float(at) * along for at, along in zip(position, normal, strict=True))


def sort_series(headers: Iterable[Header]) -> list[Header]:
    """The files of one series in the order in which they are looked at; a file that is there twice counts once."""
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
    """The series of a study that are taken, each sorted, the largest first, then by UID.

    Args:
        headers: Every file of the study that has a picture.
        choice: Which are taken.

    Raises:
        DataError: None matches, or several do where one is wanted.
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
    """Pictures of a series, frames counted."""
    return sum(header.frames for header in files)

# SPDX-License-Identifier: Apache-2.0
"""A folder of DICOM files and a table of questions about them, to rows with PNG pictures.

The table (JSONL or CSV, in the folder or named by `--set table=`) has the columns of `own`, and one of `file` (a path),
`files` (several), `series` or `study` (a UID) in place of the pictures; a row may have its own `frames` and `window`.
Only decoded pixels are taken: no tag travels. A file that tells who its patient is, or may hold burnt-in text, makes
its row a Refused (see `deidentify`), unless `--allow-identified` says otherwise; such rows are marked `credentialed`.
Files that no row names are given at the end, by name, each as a Refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medix_verl.data.converters import own_table
from medix_verl.data.converters.assemble import unique
from medix_verl.data.converters.base import SPLITS, Ids, Option, Refused, SetSpec
from medix_verl.data.converters.dicom_pictures import ALLOW_IDENTIFIED, Choices, for_row, take
from medix_verl.data.converters.own_table import (
    YES_NO,
    OwnTable,
    is_of,
    list_of,
    name_of,
    open_table,
    read_records,
    sample_of,
)
from medix_verl.data.dicom_series import (
    PICKS,
    Header,
    choose_series,
    pick_frames,
    read_headers,
    sort_series,
)
from medix_verl.data.modalities import Modality, read_modality
from medix_verl.data.source import Source
from medix_verl.data.tables import Record
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="dicom",
    title="Your own DICOM files",
    licence="yours",
    task="mixed",
    pictures=True,
    about="a folder of DICOM files and a JSONL or CSV table of questions about files, series or studies",
    splits={split: split for split in SPLITS},
    files="the DICOM files, in folders of any depth",
)
KEYS = ("file", "files", "series", "study")
OPTIONS: Mapping[str, Option] = {
    **own_table.OPTIONS,
    "frames": Option("middle", "pictures of a file or series: first, middle, all, every:N or numbers such as 0,4,8"),
    "max_frames": Option("8", "the most pictures of a row"),
    "window": Option("file", "grey levels: file, file:N, CENTRE/WIDTH such as 40/400, full"),
    "series": Option("only", "of the series of a study that match: the only one, the largest, all", PICKS),
    "description": Option("", "regular expression that the series' description holds"),
    "modality": Option("", "DICOM modality of the series, such as CT"),
    "burnt_in_unknown": Option("refuse", "files of kinds that often hold text and do not say", ("refuse", "accept")),
    ALLOW_IDENTIFIED: Option("no", "take files that tell who their patient is", YES_NO),
}


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of the folder, by the keys that a row may name them by."""

    root: Path
    files: Mapping[str, Header]
    series: Mapping[str, Sequence[Header]] = field(default_factory=dict)
    studies: Mapping[str, Sequence[Header]] = field(default_factory=dict)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each row of the table, then one for each file that no row names."""
    if not source.local:
        raise DataError(f"{source.place} is no local folder; DICOM files are read from a folder: give it with --source")
    choices = Choices.of(source.options)
    spec = replace(SPEC, credentialed=choices.allow_identified)
    table = open_table(source, split, spec, (*KEYS, "frames", "window"))
    place = Path(source.place).expanduser()
    folder = open_folder(place if place.is_dir() else place.parent, source.names("*"))
    return unique(items(table, split, folder, choices))


def open_folder(root: Path, names: Sequence[str]) -> Folder:
    headers = list(read_headers(root, names))
    if not headers:
        raise DataError(f"{root} has no DICOM file; give --source the folder with the files and the table")
    series: dict[str, list[Header]] = {}
    studies: dict[str, list[Header]] = {}
    for header in headers:
        if header.has_picture:
            series.setdefault(header.series, []).append(header)
            studies.setdefault(header.study, []).append(header)
    return Folder(root, {header.name: header for header in headers}, series, studies)


def items(table: OwnTable, split: str, folder: Folder, choices: Choices) -> Iterator[Sample | Refused]:
    ids, named = Ids(SPEC.name), set[str]()
    for record in read_records(table):
        if isinstance(record, Refused):
            yield record
            continue
        wanted, fault = files_of(record.values, folder)
        named.update(header.name for header in wanted)
        if is_of(record, split):
            yield convert(record, wanted, fault, table, split, folder, choices, ids)
    for header in folder.files.values():
        if header.name not in named and (header.has_picture or header.fault):
            reason = "unreadable file" if header.fault else "file without a row"
            yield Refused(header.name, reason, header.fault or f"no row of {table.path.name} names it")


def files_of(values: Mapping[str, Any], folder: Folder) -> tuple[list[Header], str]:
    """The files that a row names, in its order or unsorted, and what is wrong with how it names them."""
    keys = [key for key in KEYS if key in values]
    if len(keys) != 1:
        return [], f"the row names its files by {' and '.join(keys) or 'nothing'}; give one of {', '.join(KEYS)}"
    key = keys[0]
    try:
        names = list_of(values[key], key) if key == "files" else [str(values[key]).strip()]
    except DataError as cause:
        return [], str(cause)
    if key in ("series", "study"):
        found = list((folder.series if key == "series" else folder.studies).get((names or [""])[0], ()))
        return found, "" if found else f"no picture of the folder is of {key} {values[key]!r}"
    wanted = [file_of(name, folder) for name in names or ()]
    absent = [name for name, header in zip(names or (), wanted, strict=True) if header is None]
    return [header for header in wanted if header], f"there is no DICOM file {absent[0]!r}" if absent else ""


def file_of(name: str, folder: Folder) -> Header | None:
    """The file of that path, or the only one whose path ends so."""
    if name in folder.files:
        return folder.files[name]
    ends = [header for path, header in folder.files.items() if path.endswith(f"/{name}")]
    return ends[0] if len(ends) == 1 else None


def convert(
    record: Record,
    wanted: Sequence[Header],
    fault: str,
    table: OwnTable,
    split: str,
    folder: Folder,
    choices: Choices,
    ids: Ids,
) -> Sample | Refused:
    name, line = name_of(record), f"line {record.line}"
    if fault:
        return Refused(name, "no file", f"{line}: {fault}")
    try:
        own = for_row(record.values, choices)
        shots, count = shots_of(record.values, wanted, own)
    except (ConfigError, DataError) as cause:
        return Refused(name, "no choice", f"{line}: {cause}")
    taken = take(shots, folder.root, own)
    if isinstance(taken, Refused):
        return Refused(name, taken.reason, f"{line}: {taken.detail}")
    extra: dict[str, Any] = {"pictures_of": count} if count > len(shots) else {}
    patients = {header.patient for header, _ in shots}
    if len(patients) == 1 and 0 not in patients and "patient_id" not in record.values:
        extra["patient_id"] = f"patient-{patients.pop():05d}"
    return sample_of(record, table, split, ids, taken, modality_of(record.values, shots), **extra)


def shots_of(
    values: Mapping[str, Any], wanted: Sequence[Header], choices: Choices
) -> tuple[list[tuple[Header, int]], int]:
    """The frames that a row takes, each with its file, and out of how many."""
    if "file" in values or "files" in values:
        groups = [list(wanted)]
    elif "series" in values:
        groups = [sort_series(wanted)]
    else:
        groups = choose_series(wanted, choices.series)
    taken: list[tuple[Header, int]] = []
    count = 0
    for files in groups:
        frames = [(header, frame) for header in files for frame in range(header.frames)]
        whole = "files" in values and "frames" not in values and all(header.frames == 1 for header in files)
        picked = range(len(frames)) if whole else pick_frames(choices.frames, len(frames))
        taken += [frames[index] for index in picked]
        count += len(frames)
    if len(taken) > choices.frames.cap:
        raise DataError(f"the row takes {len(taken)} pictures, max_frames is {choices.frames.cap}; raise it")
    return taken, count


def modality_of(values: Mapping[str, Any], shots: Sequence[tuple[Header, int]]) -> Modality:
    """The row's own word, else the files'; no tag where the files are of several modalities."""
    if "modality" in values:
        return read_modality(values["modality"])
    codes = sorted({header.modality for header, _ in shots})
    return read_modality(codes[0]) if len(codes) == 1 else Modality(None, "+".join(codes), True)

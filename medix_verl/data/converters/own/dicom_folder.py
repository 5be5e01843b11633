# SPDX-License-Identifier: Apache-2.0
"""Convert a folder of DICOM files and a table of questions about them to rows with PNG pictures.

The table (JSONL or CSV, in the folder or named by `--set table=`) has the columns of `own`, with one of `file` (a
path), `files` (several), `series` or `study` (a UID) instead of the pictures; a row may have its own `frames` and
`window`. Only decoded pixels are copied, no DICOM tags. If a file identifies its patient or may contain burnt-in text,
its row becomes a Refused (see `deidentify`), unless `--allow-identified` is given; such rows are marked `credentialed`.
Files that no row names are yielded at the end, each as a Refused. File names and UIDs are not written to the output or
to messages, because a folder may be named after a patient: a file is reported by its number in name order, unless
`--keep-names` is given.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from medix_verl.data.converters.assemble import unique
from medix_verl.data.converters.base import SPLITS, Ids, Option, Refused, SetSpec
from medix_verl.data.converters.own.dicom_pictures import ALLOW_IDENTIFIED, Choices, for_row, take
from medix_verl.data.converters.own.split import Groups, row_key
from medix_verl.data.converters.own.table import OPTIONS as TABLE_OPTIONS
from medix_verl.data.converters.own.table import (
    YES_NO,
    OwnTable,
    list_of,
    name_of,
    of_split,
    open_table,
    read_records,
    sample_of,
    side_of,
)
from medix_verl.data.converters.pictures import KEEP_NAMES, KEEP_NAMES_OPTION
from medix_verl.data.dicom.series import (
    PICKS,
    Header,
    choose_series,
    pick_frames,
    read_headers,
    sort_series,
)
from medix_verl.data.io.tables import Record
from medix_verl.data.modalities import Modality, read_modality
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.runtime.bounded import Lost, in_child
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
    **TABLE_OPTIONS,
    "frames": Option("middle", "pictures of a file or series: first, middle, all, every:N or numbers such as 0,4,8"),
    "max_frames": Option("8", "the most pictures of a row"),
    "window": Option("file", "grey levels: file, file:N, CENTRE/WIDTH such as 40/400, full"),
    "series": Option("only", "of the series of a study that match: the only one, the largest, all", PICKS),
    "description": Option("", "regular expression that the series' description holds"),
    "modality": Option("", "DICOM modality of the series, such as CT"),
    "burnt_in_unknown": Option("refuse", "files of kinds that often hold text and do not say", ("refuse", "accept")),
    KEEP_NAMES: KEEP_NAMES_OPTION,
    ALLOW_IDENTIFIED: Option("no", "take files that tell who their patient is", YES_NO),
}


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of the folder, indexed by path, series and study."""

    root: Path
    files: Mapping[str, Header]
    series: Mapping[str, Sequence[Header]] = field(default_factory=dict)
    studies: Mapping[str, Sequence[Header]] = field(default_factory=dict)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """Yield one item for each row of the table, then one for each file that no row names."""
    if not source.local:
        raise DataError(
            f"{source.place} is not a local folder; DICOM files are read from a folder: give it with --source"
        )
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
    groups = groups_of(table, folder)

    def side(record: Record) -> str | Refused:
        files = [header.name for header in files_of(record.values, folder, True)[0]]
        named.update(files)
        known = replace(record, values={**patient_in(record.values, folder), **record.values})
        key = groups.of(files[0]) if groups is not None and files else row_key(record.values, files)
        return side_of(known, table, partial(str, key))

    for item in of_split(table, side):
        if isinstance(item, Refused):
            yield item
        else:
            yield convert(item, *files_of(item.values, folder, choices.keep_names), table, split, folder, choices, ids)
    for header in folder.files.values():
        if header.name not in named and (header.has_picture or header.fault):
            reason = "unreadable file" if header.fault else "file without a row"
            label = header.name if choices.keep_names else f"dicom-file-{header.order}"
            yield Refused(label, reason, header.fault or f"no row of {table.path.name} names it")


def groups_of(table: OwnTable, folder: Folder) -> Groups | None:
    """Return groups of files that rows have in common, if the table is split by picture; else None."""
    if table.splitting.by != "picture":
        return None
    groups = Groups()
    for record in read_records(table):
        if isinstance(record, Record):
            groups.join(header.name for header in files_of(record.values, folder, True)[0])
    return groups


def patient_in(values: Mapping[str, Any], folder: Folder) -> dict[str, str]:
    """Return the meta entry `patient_id` if a row's files are of one known patient; else empty."""
    return patient_of({header.patient for header in files_of(values, folder, True)[0]})


def patient_of(patients: set[int]) -> dict[str, str]:
    return {"patient_id": f"patient-{patients.pop():05d}"} if len(patients) == 1 and 0 not in patients else {}


def files_of(values: Mapping[str, Any], folder: Folder, keep_names: bool) -> tuple[list[Header], str]:
    """Return the files that a row names, and an error message (empty if none).

    Files of a `file` or `files` row are in the row's order; those of a series or study are unsorted.
    """
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
        which = f"{key} {values[key]!r}" if keep_names else f"the row's {key}"
        return found, "" if found else f"no picture of the folder is of {which}"
    wanted = [file_of(name, folder) for name in names or ()]
    absent = [place for place, header in enumerate(wanted) if header is None]
    which = "" if not absent else repr((names or ())[absent[0]]) if keep_names else f"number {absent[0] + 1} of the row"
    return [header for header in wanted if header], f"there is no DICOM file {which}" if absent else ""


def file_of(name: str, folder: Folder) -> Header | None:
    """Return the file of that path, or the only file whose path ends with it; else None."""
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
    taken = in_child(take, shots, folder.root, own)
    if isinstance(taken, Lost):
        return Refused(name, "unreadable picture", f"{line}: one of its DICOM files {taken.why}")
    if isinstance(taken, Refused):
        return Refused(name, taken.reason, f"{line}: {taken.detail}")
    extra: dict[str, Any] = {"pictures_of": count} if count > len(shots) else {}
    if "patient_id" not in record.values:
        extra |= patient_of({header.patient for header, _ in shots})
    return sample_of(record, table, split, ids, taken, modality_of(record.values, shots), **extra)


def shots_of(
    values: Mapping[str, Any], wanted: Sequence[Header], choices: Choices
) -> tuple[list[tuple[Header, int]], int]:
    """Return the selected frames, each as file and frame number, and the number of frames to select from."""
    if "file" in values or "files" in values:
        groups = [list(wanted)]
    elif "series" in values:
        groups = [sort_series(wanted)]
    else:
        groups = choose_series(wanted, choices.series)
    taken: list[tuple[Header, int]] = []
    count = 0
    for files in groups:
        ends = list(accumulate(header.frames for header in files))
        frames = ends[-1] if ends else 0
        whole = "files" in values and "frames" not in values and all(header.frames == 1 for header in files)
        # Frames are located by index: a list of all frames could be as long as a file's header claims.
        for index in range(frames) if whole else pick_frames(choices.frames, frames):
            place = bisect_right(ends, index)
            taken.append((files[place], index - ends[place] + files[place].frames))
        count += frames
    if len(taken) > choices.frames.cap:
        raise DataError(f"the row takes {len(taken)} pictures, max_frames is {choices.frames.cap}; raise it")
    return taken, count


def modality_of(values: Mapping[str, Any], shots: Sequence[tuple[Header, int]]) -> Modality:
    """Return the row's modality, else the files'; no tag if the files have several modalities."""
    if "modality" in values:
        return read_modality(values["modality"])
    codes = sorted({header.modality for header, _ in shots})
    return read_modality(codes[0]) if len(codes) == 1 else Modality(None, "+".join(codes), True)

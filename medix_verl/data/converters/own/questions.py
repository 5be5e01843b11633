# SPDX-License-Identifier: Apache-2.0
"""Convert a user's own questions: a JSONL or CSV table, with pictures in a folder or an archive.

Required columns: `question`, `answer`. Optional: `id`, `image` (a name) or `images` (several), `modality`, `options`,
`split`, `answer_type`, `patient_id`, `synonyms`, `tolerance`, `pass_rate` (0 to 1, for a curriculum), `rationale` (for
`--sft`), `credentialed` (yes, no), `data_source`. A row with `credentialed: yes`, or whose data set is derived from
MIMIC, must not leave this machine.

Picture names are relative to the table's folder or to `--set images_from=FOLDER`. They are not written to the output
unless `--keep-names` is given, because a folder may be named after a patient. A DICOM file is refused as a picture:
its bytes would copy patient data into the training file (`medix-verl prepare dicom` checks it and takes only pixels).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from medix_verl.data.converters.assemble import unique
from medix_verl.data.converters.base import SPLITS, Ids, Option, Refused, SetSpec
from medix_verl.data.converters.own.split import Groups, row_key
from medix_verl.data.converters.own.table import OPTIONS as TABLE_OPTIONS
from medix_verl.data.converters.own.table import (
    OwnTable,
    list_of,
    name_of,
    of_split,
    open_table,
    read_records,
    sample_of,
    side_of,
)
from medix_verl.data.converters.pictures import KEEP_NAMES, KEEP_NAMES_OPTION, NO_PICTURES, by_name
from medix_verl.data.dicom.decode import is_dicom
from medix_verl.data.io.tables import Record
from medix_verl.data.modalities import read_modality
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "has_pictures", "read"]

SPEC = SetSpec(
    name="own",
    title="Your own questions and pictures",
    licence="yours",
    task="mixed",
    pictures=True,
    about="a JSONL or CSV table with question, answer and the names of pictures",
    splits={split: split for split in SPLITS},
    files="the pictures, in a folder, a .zip or a .tar",
)
OPTIONS: Mapping[str, Option] = {
    **TABLE_OPTIONS,
    KEEP_NAMES: KEEP_NAMES_OPTION,
    "images_from": Option("", "folder or file with the pictures; default: where the table lies", place=True),
}


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each row of the table."""
    table = open_table(source, split, SPEC, ("image", "images"))
    keep = source.options[KEEP_NAMES] == "yes"
    return unique(items(table, split, pictures_of(source), keep))


def has_pictures(source: Source, split: str) -> bool:
    """Return whether a row of the table names a picture.

    Raises:
        DataError: There is no such table, or its columns are not accepted.
    """
    table = open_table(source, split, SPEC, ("image", "images"))
    rows = (item.values for item in read_records(table) if isinstance(item, Record))
    return any(row.get("image") or row.get("images") for row in rows)


def pictures_of(source: Source) -> Source:
    place = source.options["images_from"]
    if not place:
        return source
    if not Path(place).expanduser().exists():
        raise DataError(f"images_from is {place!r}: no such folder; give the folder that picture names start at")
    return Source(place)


def items(table: OwnTable, split: str, beside: Source, keep_names: bool) -> Iterator[Sample | Refused]:
    ids, places = Ids(SPEC.name), Places(beside, table)

    def side(record: Record) -> str | Refused:
        return side_of(record, table, partial(places.key, record.values))

    for item in of_split(table, side):
        yield item if isinstance(item, Refused) else convert(item, table, split, beside, ids, keep_names)


class Places:
    """Keys that decide the split of a row: its content, or its group of rows with common pictures."""

    def __init__(self, beside: Source, table: OwnTable) -> None:
        self._beside, self._by = beside, table.splitting.by
        self._groups, self._contents = Groups(), dict[str, str]()
        if self._by == "picture":
            for record in read_records(table):
                if isinstance(record, Record):
                    self._groups.join(map(self._content, self._names(record.values)))

    def key(self, values: Mapping[str, object]) -> str:
        """Return the key of a row; rows with equal keys are in the same split."""
        names = self._names(values)
        if self._by == "picture" and names:
            return self._groups.of(self._content(names[0]))
        return row_key(values, names)

    def _names(self, values: Mapping[str, object]) -> list[str]:
        try:
            return names_of(values)
        except DataError:
            return []

    def _content(self, name: str) -> str:
        """Return a hash of a picture's bytes, since the same picture may exist under two names."""
        if name not in self._contents:
            try:
                self._contents[name] = hashlib.sha256(self._beside.member(name)).hexdigest()
            except DataError:  # its row is refused later
                self._contents[name] = f"name {name}"
        return self._contents[name]


def convert(
    record: Record, table: OwnTable, split: str, beside: Source, ids: Ids, keep_names: bool
) -> Sample | Refused:
    values = record.values
    name = name_of(record)
    try:
        names = names_of(values)
    except DataError as cause:
        return Refused(name, "bad value", f"line {record.line}: {cause}")
    pictures = by_name(beside, names, keep_names) if names else NO_PICTURES
    if any(is_dicom(ref.bytes or b"") for ref in pictures.refs):
        remedy = "its tags may hold patient data; use `medix-verl prepare dicom`"
        return Refused(
            name, "DICOM picture", f"line {record.line}: {', '.join(names) if keep_names else 'a picture'}: {remedy}"
        )
    return sample_of(record, table, split, ids, pictures, read_modality(values.get("modality")))


def names_of(values: Mapping[str, object]) -> list[str]:
    one, several = values.get("image"), list_of(values.get("images"), "images")
    if one is not None and several is not None:
        raise DataError("both image and images are given; keep one of the two")
    if one is not None and not isinstance(one, str):
        raise DataError(f"image is {one!r}; accepted: the name of a picture file (several go into images)")
    return several or ([one.strip()] if isinstance(one, str) else [])

# SPDX-License-Identifier: Apache-2.0
"""A user's own questions: a JSONL or CSV table, and pictures in a folder or an archive.

Columns: `question`, `answer`; as needed `id`, `image` (a name) or `images` (several), `modality`, `options`, `split`,
`answer_type`, `patient_id`, `synonyms`, `tolerance`, `pass_rate` (0 to 1, for a curriculum). Picture names start at the
table's folder, or at `--set images_from=FOLDER`. A DICOM file is refused as a picture: its bytes would carry the
patient's data into the training file (`medix-verl prepare dicom` looks at it, and takes the pixels alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from medix_verl.data.converters import own_table
from medix_verl.data.converters.assemble import unique
from medix_verl.data.converters.base import SPLITS, Ids, Option, Refused, SetSpec
from medix_verl.data.converters.own_table import OwnTable, is_of, list_of, name_of, open_table, read_records, sample_of
from medix_verl.data.converters.pictures import NO_PICTURES, by_name
from medix_verl.data.dicom import is_dicom
from medix_verl.data.modalities import read_modality
from medix_verl.data.source import Source
from medix_verl.data.tables import Record
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

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
    **own_table.OPTIONS,
    "images_from": Option("", "folder or file with the pictures; default: where the table lies", place=True),
}


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each row of the table."""
    table = open_table(source, split, SPEC, ("image", "images"))
    return unique(items(table, split, pictures_of(source)))


def pictures_of(source: Source) -> Source:
    place = source.options["images_from"]
    if not place:
        return source
    if not Path(place).expanduser().exists():
        raise DataError(f"images_from is {place!r}: no such folder; give the folder that picture names start at")
    return Source(place)


def items(table: OwnTable, split: str, beside: Source) -> Iterator[Sample | Refused]:
    ids = Ids(SPEC.name)
    for record in read_records(table):
        if isinstance(record, Refused):
            yield record
        elif is_of(record, split):
            yield convert(record, table, split, beside, ids)


def convert(record: Record, table: OwnTable, split: str, beside: Source, ids: Ids) -> Sample | Refused:
    values = record.values
    name = name_of(record)
    try:
        names = names_of(values)
    except DataError as cause:
        return Refused(name, "bad value", f"line {record.line}: {cause}")
    pictures = by_name(beside, names) if names else NO_PICTURES
    if any(is_dicom(ref.bytes or b"") for ref in pictures.refs):
        remedy = "its tags may hold patient data; use `medix-verl prepare dicom`"
        return Refused(name, "DICOM picture", f"line {record.line}: {', '.join(names)}: {remedy}")
    return sample_of(record, table, split, ids, pictures, read_modality(values.get("modality")))


def names_of(values: Mapping[str, object]) -> list[str]:
    one, several = values.get("image"), list_of(values.get("images"), "images")
    if one is not None and several is not None:
        raise DataError("both image and images are given; keep one of the two")
    if one is not None and not isinstance(one, str):
        raise DataError(f"image is {one!r}; accepted: the name of a picture file (several go into images)")
    return several or ([one.strip()] if isinstance(one, str) else [])

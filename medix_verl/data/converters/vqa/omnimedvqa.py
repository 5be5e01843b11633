# SPDX-License-Identifier: Apache-2.0
"""OmniMedVQA: multiple-choice questions over 73 classification sets (foreverbeliever/OmniMedVQA).

Files: `OmniMedVQA.zip`, packed or unpacked: `QA_information/Open-access/*.json` (88,996 questions on 82,059
pictures of 42 sets) and `QA_information/Restricted-access/*.json`, each a list of objects with `dataset`,
`question_id`, `question_type`, `question`, `gt_answer` (the text), `option_A` ... `option_D` (fewer in some),
`modality_type`, `image_path` ("Images/..."). One object of `Chest CT Scan.json` has `modality` instead of
`modality_type`. The pictures of the restricted part must be requested from each source data set; a row without its
picture is refused as `no picture`.

The data set is for evaluation and has one split, test. `--set access=open|restricted|all` selects the part. Each
source data set has its own licence, so its name is kept in the meta (`origin`).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.data.converters.pictures import by_name
from medix_verl.data.io.archives import comparable, zip_member
from medix_verl.data.modalities import read_modality
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="omnimedvqa",
    title="OmniMedVQA",
    hub_id="foreverbeliever/OmniMedVQA",
    licence="mixed: that of each source set (meta: origin)",
    task="closed",
    pictures=True,
    about="Multiple choice over 73 classification sets and 12 modalities; for evaluation",
    splits={"test": "test"},
    rows={"test": 88996},
    files="OmniMedVQA.zip, or its folders QA_information and Images",
)
OPTIONS = {"access": Option("open", "the open or the restricted part", ("open", "restricted", "all"))}

_FOLDERS = {
    "open": ("Open-access",),
    "restricted": ("Restricted-access",),
    "all": ("Open-access", "Restricted-access"),
}
_LETTERS = "ABCD"
_COLUMNS = ("question_id", "question", "gt_answer", "option_A", "option_B", "image_path")
_OPTIONAL = ("option_C", "option_D", "dataset", "question_type", "modality_type", "modality")


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    folders = [f"QA_information/{folder}/*.json" for folder in _FOLDERS[source.options["access"]]]
    archives = [] if source.names(*folders) else source.names("OmniMedVQA*.zip")
    if archives:
        rows = packed_rows(source.path(archives[0]), [folder.removesuffix("*.json") for folder in folders])
    else:
        rows = source.rows(SPEC.splits[split], _COLUMNS, _OPTIONAL, files=folders)
    yield from unique(to_item(source, row, split, number) for number, row in enumerate(rows))


def to_item(source: Source, row: Mapping[str, Any], split: str, number: int) -> Sample | Refused:
    """One published row."""
    extra = {"origin": text_of(row.get("dataset")), "question_type": text_of(row.get("question_type"))}
    return assemble(
        SPEC,
        split,
        own_id(SPEC, row.get("question_id"), number),
        question=row.get("question"),
        answer=row.get("gt_answer"),
        choices=Choices({letter: row.get(f"option_{letter}") for letter in _LETTERS}),
        pictures=by_name(source, [text_of(row.get("image_path"))]),
        modality=read_modality(row.get("modality_type") or row.get("modality")),
        extra={key: value for key, value in extra.items() if value},
    )


def packed_rows(archive: Path, folders: list[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of the question files inside the archive, in the order of the file names.

    Raises:
        DataError: The archive has no such files, or a file is not a list of rows with the published columns.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            listed = [name for name in opened.namelist() if name.endswith(".json")]
            names = [name for name in listed if any(folder in comparable(name) for folder in folders)]
            if not names:
                remedy = "get it again, or unpack it and give --source FOLDER"
                raise DataError(f"{archive} has no {folders[0]}*.json; {remedy}")
            for name in sorted(names):
                yield from question_rows(zip_member(opened, name), f"{name} in {archive}")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as cause:
        raise DataError(f"{archive} is not a readable archive ({cause}); get it again") from cause


def question_rows(content: bytes, label: str) -> list[Mapping[str, Any]]:
    """The rows of one question file."""
    try:
        rows = json.loads(content.decode("utf-8-sig"))
    except ValueError as cause:
        raise DataError(f"{label} is not JSON ({cause}); get the archive again") from cause
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{label} is not a list of objects; get the archive again")
    missing = [column for column in _COLUMNS if rows and column not in rows[0]]
    if missing:
        raise DataError(f"{label} has no column {', '.join(missing)}; it has {', '.join(rows[0])}: is it the set's?")
    return rows

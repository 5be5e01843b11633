# SPDX-License-Identifier: Apache-2.0
"""MIMIC-CXR: chest X-ray studies with their reports. Credentialed: local files only, no remote services.

Files, as PhysioNet publishes them, anywhere below one folder: `mimic-cxr-2.0.0-split.csv.gz` (`dicom_id`, `study_id`,
`subject_id`, `split`: train, validate, test) and `mimic-cxr-2.0.0-metadata.csv.gz` (`dicom_id`, `ViewPosition`), each
also uncompressed; reports as `files/p10/p10000032/s50414267.txt`, in folders or in `mimic-cxr-reports.zip`; pictures as
`files/p10/p10000032/s50414267/<dicom_id>.jpg` (MIMIC-CXR-JPG) or `.dcm` (MIMIC-CXR). One item is one study.

The question asks for the report's findings and impression, or for one of them (`--set part=...`). Pictures are the
study's frontal views (PA, AP); `--set views=all` takes every view and needs no metadata file. `___` marks text that
PhysioNet removed for de-identification; it is kept. The DUA forbids sharing the data with third parties, including
online services.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from medix_verl.data.converters.assemble import assemble
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.data.converters.pictures import Pictures, by_name
from medix_verl.data.converters.radiology.report_parts import PART, QUESTIONS, compose, parts_of
from medix_verl.data.modalities import Modality
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="mimic-cxr",
    title="MIMIC-CXR",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    task="report",
    pictures=True,
    about="Reports of chest X-ray studies, frontal views; credentialed",
    splits={"train": "train", "val": "validate", "test": "test"},
    rows={"train": 222758, "val": 1808, "test": 3269},
    credential="training and signed data use agreement at https://physionet.org/content/mimic-cxr/",
    credentialed=True,
    files="mimic-cxr-2.0.0-split.csv.gz, mimic-cxr-2.0.0-metadata.csv.gz, reports and pictures below files/",
)
OPTIONS = {"part": PART, "views": Option("frontal", "which views of a study", ("frontal", "all"))}

_FRONTAL = frozenset({"PA", "AP"})
_X_RAY = Modality("X_RAY", "", True)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each study (see `base`).

    Raises:
        DataError: The source is not local, or a table is missing.
    """
    if not source.local:
        raise DataError(
            "mimic-cxr is credentialed and read from local files only: download it and give --source FOLDER"
        )
    views = view_positions(source) if source.options["views"] == "frontal" else None
    studies: dict[tuple[str, str], list[str]] = {}
    for row in table(source, "mimic-cxr-2.0.0-split.csv", ("dicom_id", "study_id", "subject_id", "split")):
        if row["split"] == SPEC.splits[split]:
            studies.setdefault((row["subject_id"], row["study_id"]), []).append(row["dicom_id"])
    for (subject, study), dicoms in studies.items():
        shown = [name for name in dicoms if views is None or views.get(name) in _FRONTAL]
        yield to_item(source, split, subject, study, shown)


def to_item(source: Source, split: str, subject: str, study: str, dicoms: list[str]) -> Sample | Refused:
    """One study."""
    row_id = f"mimic-cxr-s{study}"
    folder = f"files/p{subject[:2]}/p{subject}"
    try:
        report = source.member(f"{folder}/s{study}.txt").decode("utf-8")
    except DataError as cause:
        return Refused(row_id, "no report", str(cause))
    except UnicodeDecodeError as cause:
        return Refused(row_id, "broken text", f"the report is not UTF-8 ({cause.reason})")
    part = source.options["part"]
    return assemble(
        SPEC,
        split,
        row_id,
        question=QUESTIONS[part],
        answer=compose(*parts_of(report), part),
        pictures=pictures_of(source, f"{folder}/s{study}", dicoms),
        modality=_X_RAY,
        answer_type="open",
        extra={"patient_id": subject, "study_id": study},
    )


def pictures_of(source: Source, folder: str, dicoms: list[str]) -> Pictures:
    """Return the study's pictures: JPEG files, else DICOM files."""
    shown = by_name(source, [f"{folder}/{name}.jpg" for name in dicoms])
    if shown.missing and dicoms:
        as_dicom = by_name(source, [f"{folder}/{name}.dcm" for name in dicoms])
        shown = shown if as_dicom.missing else as_dicom
    return Pictures(shown.refs, tuple(dicoms), shown.missing if dicoms else "the study has no view of those wanted")


def view_positions(source: Source) -> dict[str, str]:
    """Picture -> its view."""
    rows = table(source, "mimic-cxr-2.0.0-metadata.csv", ("dicom_id", "ViewPosition"))
    return {row["dicom_id"]: row["ViewPosition"] for row in rows}


def table(source: Source, name: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the rows of one of PhysioNet's tables, gzip-compressed or not.

    Raises:
        DataError: The table is missing, cannot be read, or lacks a column.
    """
    found = source.names(name) or source.names(f"{name}.gz")
    if not found:
        raise DataError(f"{source.place} has no {name} or {name}.gz; download it from PhysioNet into the folder")
    path = source.path(found[0])
    try:
        with opened(path) as text:
            reader = csv.DictReader(text, strict=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                got = ", ".join(reader.fieldnames or ()) or "nothing"
                raise DataError(f"{path} has no column {', '.join(missing)}; it has {got}: is it PhysioNet's table?")
            for row in reader:
                yield {column: (row[column] or "").strip() for column in columns}
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as cause:
        raise DataError(f"{path} cannot be read ({cause}); download it again") from cause


def opened(path: Path) -> TextIO:
    """Open the table as text."""
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return path.open("r", encoding="utf-8-sig", newline="")

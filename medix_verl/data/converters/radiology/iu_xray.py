# SPDX-License-Identifier: Apache-2.0
"""IU X-Ray (Open-i, Indiana University): chest X-ray studies with their reports, open access, CC BY-NC-ND 4.0.

Two layouts are supported, both local (there is no official repository on the hub):

- `indiana_reports.csv` (`uid`, `MeSH`, `Problems`, `image`, `indication`, `comparison`, `findings`, `impression`) with
  `indiana_projections.csv` (`uid`, `filename`, `projection`: Frontal, Lateral) and the pictures as PNG files: 3,851
  reports, 7,466 pictures, no split, so that all rows are train;
- `annotation.json`, the split of the report-generation papers: `train`, `val`, `test` (2,069 / 296 / 590), each a list
  of `id`, `report` (the findings), `image_path` (usually two) and `split`, with the pictures below `images/`.

The question asks for findings and impression, or for one of them (`--set part=...`); `annotation.json` has findings
only. `XXXX` marks text that the publishers removed for de-identification; it is kept. The data set does not link
studies of one patient; `study_id` is kept in the meta.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.converters.pictures import by_name
from medix_verl.data.converters.radiology.report_parts import PART, QUESTIONS, compose
from medix_verl.data.modalities import Modality
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="iu-xray",
    title="IU X-Ray (Open-i)",
    licence="CC-BY-NC-ND-4.0",
    task="report",
    pictures=True,
    about="Reports of chest X-ray studies, frontal and lateral; from https://openi.nlm.nih.gov",
    splits={"train": "train", "val": "val", "test": "test"},
    rows={"train": 2069, "val": 296, "test": 590},
    files="annotation.json and images/, or indiana_reports.csv, indiana_projections.csv and the PNG files",
)
OPTIONS = {"part": PART}

_X_RAY = Modality("X_RAY", "", True)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each study (see `base`).

    Raises:
        ConfigError: A split or a part that the layout does not have.
        DataError: The files have neither layout.
    """
    yield from unique(annotated(source, split) if source.names("annotation.json") else tabled(source, split))


def annotated(source: Source, split: str) -> Iterator[Sample | Refused]:
    """The studies of `annotation.json`."""
    if source.options["part"] == "impression":
        raise ConfigError("iu-xray: annotation.json has findings only; type --set part=findings")
    path = source.path(source.names("annotation.json")[0])
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as cause:
        raise DataError(f"{path} is not JSON ({cause}); get it again") from cause
    rows = content.get(SPEC.splits[split]) if isinstance(content, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise DataError(f"{path} has no list {SPEC.splits[split]!r} of studies; expected train, val and test")
    for number, row in enumerate(rows):
        missing = [column for column in ("id", "report", "image_path") if column not in row]
        if missing:
            got = ", ".join(row)
            raise DataError(f"{path} row {number + 1} has no {', '.join(missing)}; it has {got}: is it the set's file?")
        named = [row["image_path"]] if isinstance(row["image_path"], str) else list(row["image_path"] or ())
        yield to_item(source, split, row["id"], number, named, text_of(row["report"]), "")


def tabled(source: Source, split: str) -> Iterator[Sample | Refused]:
    """The studies of the two tables."""
    if split != "train":
        raise ConfigError(f"iu-xray: the tables have no split {split!r}; type --split train, or use annotation.json")
    views: dict[str, list[tuple[str, str]]] = {}
    for row in source.rows("", ("uid", "filename", "projection"), files=("indiana_projections.csv",)):
        views.setdefault(text_of(row["uid"]), []).append((text_of(row["projection"]), text_of(row["filename"])))
    columns = ("uid", "findings", "impression")
    for number, row in enumerate(source.rows("", columns, files=("indiana_reports.csv",))):
        named = [name for _, name in sorted(views.get(text_of(row["uid"]), ()))]  # Frontal before Lateral
        yield to_item(source, split, row["uid"], number, named, text_of(row["findings"]), text_of(row["impression"]))


def to_item(
    source: Source, split: str, study: Any, number: int, named: list[Any], findings: str, impression: str
) -> Sample | Refused:
    """One study."""
    part = source.options["part"]
    asked = "findings" if part == "both" and not impression else part
    return assemble(
        SPEC,
        split,
        own_id(SPEC, study, number),
        question=QUESTIONS[asked],
        answer=compose(findings, impression, asked),
        pictures=by_name(source, [text_of(name) for name in named]),
        modality=_X_RAY,
        answer_type="open",
        extra={"study_id": text_of(study)},
    )

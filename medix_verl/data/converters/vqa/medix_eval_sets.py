# SPDX-License-Identifier: Apache-2.0
"""Evaluation sets that MediX-R1 publishes (sahalshajim/medix-eval-sets): PMC-VQA in two variants, and MIMIC-CXR.

Files: `CONFIG/test-*.parquet`. `pmc_vqa` has a picture (`image`, or `image_id`), `question`, `answer` and `choices`
(a list or a struct); `pmc_vqa_hard` has the same without choices. `mimic_cxr` has `image` (a picture's URL at
PhysioNet), `report` and `summary`; it becomes two tasks, selected by `--set part=`. The fourth config, `pubmedqa`, is
read by the converter of that data set.

MIMIC-CXR is credentialed: it is read from a local copy only. Its pictures are files next to it, named by the last part
of their URL; nothing is fetched from PhysioNet. The summary task has no picture, as published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, text_of
from medix_verl.data.converters.base import Ids, Option, Refused, SetSpec
from medix_verl.data.converters.pictures import NO_PICTURES, Pictures, by_name, by_value
from medix_verl.data.modalities import Modality
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "PARTS", "SPEC", "read"]

SPEC = SetSpec(
    name="medix-eval-sets",
    title="Evaluation sets of MediX-R1",
    hub_id="sahalshajim/medix-eval-sets",
    licence="CC-BY-SA-4.0",
    task="mixed",
    pictures=True,
    about="PMC-VQA with and without choices; reports and summaries of MIMIC-CXR (credentialed)",
    splits={"test": "test"},
    credential="for the MIMIC-CXR parts: a data use agreement at physionet.org",
    files="for the MIMIC-CXR parts: the pictures, by their file names",
)
MIMIC = replace(SPEC, licence="PhysioNet Credentialed Health Data License 1.5.0", task="report", credentialed=True)
GENERATION, SUMMARY = "mimic_cxr_report_generation", "mimic_cxr_report_summarization"
PARTS = ("pmc_vqa", "pmc_vqa_hard", GENERATION, SUMMARY)
OPTIONS = {"part": Option("pmc_vqa", "which set", PARTS)}

INSTRUCTIONS = {
    GENERATION: "Generate a detailed report based on the scan.",
    SUMMARY: "Write a short summary of the following report.",
}
X_RAY = Modality("X_RAY", "chest radiograph", True)
PATIENT = re.compile(r"/(p\d{8})/")
"""PhysioNet's folders: files/p10/p10000032/s50414267/NAME.jpg."""


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`).

    Raises:
        DataError: A MIMIC part is requested and the source is not local.
    """
    part, ids = source.options["part"], Ids(SPEC.name)
    if part in INSTRUCTIONS:
        if not source.local:
            raise DataError(f"{part} is credentialed and {source.place} is not local; name your copy with --source")
        for row in source.rows(SPEC.splits[split], ("image", "report", "summary"), config="mimic_cxr"):
            yield mimic_item(source, row, split, part, ids)
        return
    columns = ("question", "answer", *(("choices",) if part == "pmc_vqa" else ()))
    for row in source.rows(SPEC.splits[split], columns, ("image", "image_id"), config=part):
        yield vqa_item(row, split, part, ids)


def vqa_item(row: Mapping[str, Any], split: str, part: str, ids: Ids) -> Sample | Refused:
    """One row of PMC-VQA."""
    picture = row["image"] if row["image"] is not None else row["image_id"]
    pictures = by_value([picture])
    choices = Choices(labelled(row["choices"])) if part == "pmc_vqa" else None
    return assemble(
        SPEC,
        split,
        ids.of(part, text_of(row["question"]), text_of(row["answer"]), *pictures.names),
        question=row["question"],
        answer=row["answer"],
        choices=choices,
        pictures=pictures,
        subset=part,
    )


def labelled(choices: Any) -> dict[str, Any]:
    """Return label -> text from a struct or a list; a label inside the text ("A: Focal") is stripped."""
    pairs = choices.items() if isinstance(choices, Mapping) else zip("ABCDEFGHIJ", choices or (), strict=False)
    return {key: re.sub(rf"^\s*{re.escape(key)}\s*[:.)]\s*", "", text_of(text)) for key, text in pairs}


def mimic_item(source: Source, row: Mapping[str, Any], split: str, part: str, ids: Ids) -> Sample | Refused:
    """One study of MIMIC-CXR, as a row of the task `part`."""
    report, address = text_of(row["report"]), text_of(row["image"])
    name = address.rsplit("/", 1)[-1]
    question, answer = INSTRUCTIONS[part], report
    pictures: Pictures = NO_PICTURES
    if part == SUMMARY:
        question, answer = f"{question}\n\nReport:\n{report}" if report else "", text_of(row["summary"])
    else:
        pictures = by_name(source, [name] if name else [])
    extra: dict[str, Any] = {"image_id": [name]} if name else {}
    if patient := PATIENT.search(address):
        extra["patient_id"] = patient[1]
    return assemble(
        MIMIC,
        split,
        ids.of(part, question, answer, name),
        question=question,
        answer=answer,
        pictures=pictures,
        modality=X_RAY if part == GENERATION else Modality(None, "", True),
        answer_type="open",
        subset=part,
        extra=extra,
    )

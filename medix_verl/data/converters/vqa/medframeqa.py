# SPDX-License-Identifier: Apache-2.0
"""MedFrameQA: questions on 2 to 5 frames of a medical video (SuhaoYu1020/MedFrameQA, CC-BY-4.0; arXiv 2505.16964).

Files: `data/test-*.parquet`, 2,851 rows with `question_id`, `system`, `organ`, `keyword`, `modality`, `video_id`,
`question`, `options` (a list of texts), `correct_answer` (a letter), `reasoning_chain`, and `image_1` to `image_5`
(structs of bytes and path; the third to the fifth may be null).

Questions of one video share frames and case: `patient_id` is the video's id, so that the statistics cluster them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import ascii_uppercase
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.converters.pictures import by_value
from medix_verl.data.modalities import read_modality
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="medframeqa",
    title="MedFrameQA",
    hub_id="SuhaoYu1020/MedFrameQA",
    licence="CC-BY-4.0",
    task="closed",
    pictures=True,
    about="Multiple choice about two to five frames of medical teaching videos; for evaluation",
    splits={"test": "test"},
    rows={"test": 2851},
)
PICTURES = tuple(f"image_{number}" for number in range(1, 6))
KEPT = ("system", "organ")


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    columns = ("question_id", "question", "options", "correct_answer", *PICTURES[:2])
    rows = source.rows(SPEC.splits[split], columns, (*PICTURES[2:], "modality", "video_id", *KEPT))
    yield from unique(to_item(row, split, number) for number, row in enumerate(rows))


def to_item(row: Mapping[str, Any], split: str, number: int) -> Sample | Refused:
    """One published row."""
    extra = {"patient_id": text_of(row["video_id"]), **{key: text_of(row[key]) for key in KEPT}}
    pictures = [row[name] for name in PICTURES if row[name] is not None] or [None]
    return assemble(
        SPEC,
        split,
        own_id(SPEC, row["question_id"], number),
        question=row["question"],
        choices=Choices(dict(zip(ascii_uppercase, row["options"] or (), strict=False)), text_of(row["correct_answer"])),
        pictures=by_value(pictures),
        modality=read_modality(text_of(row["modality"]) or None),
        extra={key: text for key, text in extra.items() if text},
    )

# SPDX-License-Identifier: Apache-2.0
"""GMAI-MMBench: multiple choice from 284 data sets of 38 modalities (OpenGVLab/GMAI-MMBench; arXiv 2408.03361).

File: `GMAI_mm_bench_VAL.tsv` (`GMAI-MMBench_VAL.tsv` in VLMEvalKit's copy), 4,550 rows with `index`, `image` (a
picture in base64), `question`, `A` to `E` (blank for unused letters), `answer` (a letter), `category` (the class in
words), `clinical vqa task`, `department`, `perceptual granularity`, `modality`. The answers of the 21,281 test
questions are withheld. The hub's page requires contact data for the download and states Apache-2.0; the source data
sets keep their own licences.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, first_there, own_id, text_of, unique
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.converters.pictures import Pictures, by_value
from medix_verl.data.modalities import read_modality
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="gmai-mmbench",
    title="GMAI-MMBench, validation",
    hub_id="OpenGVLab/GMAI-MMBench",
    licence="Apache-2.0; its sources keep their own",
    task="closed",
    pictures=True,
    about="Multiple choice about pictures of 38 modalities and 18 departments; the hub asks for contact data",
    splits={"val": "val"},
    rows={"val": 4550},
)
LETTERS = "ABCDE"
# Both spellings of the column occur.
KEPT = {"clinical vqa task": "question_type", "clinical VQA task": "question_type", "department": "department"}


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    columns = ("index", "image", "question", "A", "B", "answer")
    files = first_there(source, "GMAI_mm_bench_VAL.tsv", "GMAI-MMBench_VAL.tsv")
    rows = source.rows(SPEC.splits[split], columns, (*LETTERS[2:], "modality", *KEPT), files=files)
    yield from unique(to_item(row, split, number) for number, row in enumerate(rows))


def to_item(row: Mapping[str, Any], split: str, number: int) -> Sample | Refused:
    """One published row."""
    extra = {ours: text_of(row[theirs]) for theirs, ours in KEPT.items() if text_of(row[theirs])}
    return assemble(
        SPEC,
        split,
        own_id(SPEC, row["index"], number),
        question=row["question"],
        choices=Choices({letter: row[letter] for letter in LETTERS}, text_of(row["answer"]).upper()),
        pictures=decoded(row["image"]),
        modality=read_modality(text_of(row["modality"]) or None),
        extra=extra,
    )


def decoded(text: Any) -> Pictures:
    """Decode a picture from base64."""
    try:
        return by_value([base64.b64decode(text_of(text), validate=True)])
    except (binascii.Error, ValueError):
        return Pictures(missing="column image is not base64")

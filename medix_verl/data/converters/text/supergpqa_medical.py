# SPDX-License-Identifier: Apache-2.0
"""SuperGPQA's discipline Medicine (m-a-p/SuperGPQA, ODC-BY; arXiv 2502.14739).

File: `SuperGPQA-all.jsonl`, 26,529 rows of 13 disciplines, with `uuid`, `question`, `options` (a list of four to ten
texts), `answer` (the right text), `answer_letter`, `discipline`, `field`, `subfield`, `difficulty` (easy, middle,
hard), `is_calculation`. The only split is named train on the hub; the data set is a benchmark, so it is our test.
2,755 rows are of Medicine; the others are refused. Some of the questions come from MedQA and MedMCQA: do not
aggregate the scores of these benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import ascii_uppercase
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, first_there, own_id, text_of, unique
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="supergpqa-medical",
    title="SuperGPQA, medicine",
    hub_id="m-a-p/SuperGPQA",
    licence="ODC-BY",
    task="closed",
    pictures=False,
    about="Graduate questions of the discipline Medicine, up to ten options; for evaluation",
    splits={"test": "train"},
    rows={"test": 2755},
)
KEPT = ("field", "subfield", "difficulty")


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    columns = ("uuid", "question", "options", "answer", "answer_letter", "discipline")
    files = first_there(source, "SuperGPQA-all.jsonl", "train-*.parquet")
    rows = source.rows(SPEC.splits[split], columns, KEPT, files=files)
    yield from unique(to_item(row, split, number) for number, row in enumerate(rows))


def to_item(row: Mapping[str, Any], split: str, number: int) -> Sample | Refused:
    """One published row."""
    row_id, discipline = own_id(SPEC, row["uuid"], number), text_of(row["discipline"])
    if discipline.casefold() != "medicine":
        return Refused(row_id, "other discipline", discipline[:80])
    extra = {key: text_of(row[key]) for key in KEPT}
    return assemble(
        SPEC,
        split,
        row_id,
        question=row["question"],
        answer=row["answer"],
        choices=Choices(dict(zip(ascii_uppercase, row["options"] or (), strict=False)), text_of(row["answer_letter"])),
        extra={key: text for key, text in extra.items() if text},
    )

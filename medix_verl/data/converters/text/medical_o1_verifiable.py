# SPDX-License-Identifier: Apache-2.0
"""medical-o1-verifiable-problem: open questions with a short checked answer (FreedomIntelligence, Apache-2.0).

File: `medical_o1_verifiable_problem.json`, a list of objects with `Open-ended Verifiable Question` and `Ground-True
Answer`, 40,644 rows, train only. A model derived the questions from multiple-choice questions of MedQA and MedMCQA:
decontaminate against their test sets. Rows have no ids; each gets a hash of its content as id.
"""

from __future__ import annotations

from collections.abc import Iterator

from medix_verl.data.converters.assemble import assemble, first_there, text_of
from medix_verl.data.converters.base import Ids, Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="medical-o1-verifiable-problem",
    title="medical-o1-verifiable-problem",
    hub_id="FreedomIntelligence/medical-o1-verifiable-problem",
    licence="Apache-2.0",
    task="open",
    pictures=False,
    about="Open questions with a short answer, made from examination questions; text only",
    splits={"train": "train"},
    rows={"train": 40644},
)
_QUESTION, _ANSWER = "Open-ended Verifiable Question", "Ground-True Answer"


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    ids = Ids(SPEC.name)
    files = first_there(source, "medical_o1_verifiable_problem.json*", "train-*.parquet", "train.json*")
    for row in source.rows(SPEC.splits[split], (_QUESTION, _ANSWER), files=files):
        row_id = ids.of(text_of(row[_QUESTION]), text_of(row[_ANSWER]))
        yield assemble(SPEC, split, row_id, question=row[_QUESTION], answer=row[_ANSWER])

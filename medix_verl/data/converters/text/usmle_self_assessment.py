# SPDX-License-Identifier: Apache-2.0
"""USMLE self assessment, as MediX-R1 evaluates it (HuggingSara/usmle_self_assessment, licence not stated).

Files: one split, named train (325 rows), as `data/train-*.parquet`, `train.json` or `train.jsonl`, with `question`,
`answer` (the right option's text or its letter) and `options` (a struct of A to I, null for unused letters). It is an
evaluation set, so its one split is our test. If the column `answer_idx` exists it is checked: the row is refused if
its letter and the answer's text are different options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, text_of
from medix_verl.data.converters.base import Ids, Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="usmle-self-assessment",
    title="USMLE self assessment",
    hub_id="HuggingSara/usmle_self_assessment",
    licence="not stated",
    task="closed",
    pictures=False,
    about="Sample questions of the three steps of the US licensing examination; up to nine options",
    splits={"test": "train"},
    rows={"test": 325},
)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    ids = Ids(SPEC.name)
    for row in source.rows(SPEC.splits[split], ("question", "answer", "options"), ("answer_idx",)):
        yield to_item(row, split, ids)


def to_item(row: Mapping[str, Any], split: str, ids: Ids) -> Sample | Refused:
    """One published row."""
    options = row["options"]
    choices = {key: text for key, text in options.items() if text_of(text)} if isinstance(options, Mapping) else {}
    answer, label = text_of(row["answer"]), text_of(row["answer_idx"])
    # A letter given as the answer is a label, unless it is the text of an option (blood group A).
    if not label and answer in choices and answer not in map(text_of, choices.values()):
        answer, label = "", answer
    return assemble(
        SPEC,
        split,
        ids.of(text_of(row["question"]), answer, label, *(text_of(text) for text in choices.values())),
        question=row["question"],
        answer=answer,
        choices=Choices(choices, label or None),
    )

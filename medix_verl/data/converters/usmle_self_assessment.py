# SPDX-License-Identifier: Apache-2.0
"""USMLE self assessment, as MediX-R1 evaluates it (HuggingSara/usmle_self_assessment, licence not stated).

Files: one split, which the set calls train (325 rows), as `data/train-*.parquet`, `train.json` or `train.jsonl`, with
`question`, `answer` (the right option's text or its letter) and `options` (a struct of A to I, null where a question
has fewer). It is an evaluation set, so its one split is our test. Further columns, such as `answer_idx`, are checked
where they are there: a letter that names another option than the answer's text refuses the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medix_verl.data.converters.assemble import Choices, assemble, text_of
from medix_verl.data.converters.base import Ids, Refused, SetSpec
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

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
    # A letter in the place of the text is a label, unless an option has just that text (blood group A).
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

# SPDX-License-Identifier: Apache-2.0
"""VQA-RAD: clinicians' questions on 314 radiology pictures (flaviagiammarino/vqa-rad, CC0 1.0).

Files: `data/train-*.parquet` (1,793 rows) and `data/test-*.parquet` (451) with `image` (struct of bytes and path),
`question` and `answer`. There are no ids, so a row is called by a hash of its content; a row that is there twice gets
`-2`. There is no modality and no answer type: an answer of yes or no is closed, any other open, and the tag stays null,
because the set mixes CT, MRI and X-ray and a guess would teach the wrong tag.

Leakage is documented: the same pictures, and some of the same questions, stand in train and test. Compare the two with
`--decontaminate-against`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medix_verl.data.converters.assemble import assemble, text_of
from medix_verl.data.converters.base import Ids, Refused, SetSpec
from medix_verl.data.converters.pictures import by_value
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="vqa-rad",
    title="VQA-RAD",
    hub_id="flaviagiammarino/vqa-rad",
    licence="CC0-1.0",
    task="mixed",
    pictures=True,
    about="Clinicians' questions on 314 radiology pictures; train and test share pictures",
    splits={"train": "train", "test": "test"},
    rows={"train": 1793, "test": 451},
)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    ids = Ids(SPEC.name)
    for row in source.rows(SPEC.splits[split], ("image", "question", "answer")):
        pictures = by_value([row["image"]])
        row_id = ids.of(text_of(row["question"]), text_of(row["answer"]), *pictures.names)
        yield assemble(SPEC, split, row_id, question=row["question"], answer=row["answer"], pictures=pictures)

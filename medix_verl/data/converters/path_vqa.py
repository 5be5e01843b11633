# SPDX-License-Identifier: Apache-2.0
"""PathVQA: questions on pathology pictures of textbooks and of the PEIR library (flaviagiammarino/path-vqa).

Files: `data/train-*.parquet` (19,654 rows), `data/validation-*.parquet` (6,259), `data/test-*.parquet` (6,719) with
`image` (struct of bytes and path), `question` and `answer`. The card says MIT; the pictures stay their publishers'.
There are no ids, so a row is called by a hash of its content; a row that is there twice gets `-2`. There is no
answer type (yes or no is closed, any other answer open) and no modality: micrographs and photographs of specimens are
mixed, so that the tag stays null rather than guessed.
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
    name="path-vqa",
    title="PathVQA",
    hub_id="flaviagiammarino/path-vqa",
    licence="MIT (questions); pictures: their publishers",
    task="mixed",
    pictures=True,
    about="Pathology pictures of textbooks and the PEIR library; half the questions are yes or no",
    splits={"train": "train", "val": "validation", "test": "test"},
    rows={"train": 19654, "val": 6259, "test": 6719},
)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    ids = Ids(SPEC.name)
    for row in source.rows(SPEC.splits[split], ("image", "question", "answer")):
        pictures = by_value([row["image"]])
        row_id = ids.of(text_of(row["question"]), text_of(row["answer"]), *pictures.names)
        yield assemble(SPEC, split, row_id, question=row["question"], answer=row["answer"], pictures=pictures)

# SPDX-License-Identifier: Apache-2.0
"""PathVQA: questions on pathology pictures of textbooks and of the PEIR library (flaviagiammarino/path-vqa).

Files: `data/train-*.parquet` (19,654 rows), `data/validation-*.parquet` (6,259), `data/test-*.parquet` (6,719) with
`image` (struct of bytes and path), `question` and `answer`. The card states MIT; the publishers keep the rights to the
pictures. Rows have no ids; each gets a hash of its content as id, a duplicate row with the suffix `-2`. There is no
answer type (yes or no is closed, any other answer open) and no modality: micrographs and photographs of specimens are
mixed, so the tag is null instead of a guess.
"""

from __future__ import annotations

from collections.abc import Iterator

from medix_verl.data.converters.assemble import read_plain
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.types import Sample

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
    return read_plain(SPEC, source, split)

# SPDX-License-Identifier: Apache-2.0
"""Kvasir-VQA: questions on pictures of gastrointestinal endoscopy (SimulaMet-HOST/Kvasir-VQA, CC BY-NC 4.0).

Files: `data/*.parquet` with the one split `raw` (58,849 rows): `image` (struct of bytes and path), `source` (the
picture's original Kvasir data set), `question`, `answer` (a text or a list of texts), `img_id`. The shards are named
by number (`00029.parquet`), so every parquet file in the source is read. Rows have no ids; each gets a hash of its
content as id. Every picture is ENDOSCOPY. Answers given as a list, or separated by `;`, name all that apply; they are
joined to one text. There is no published test split: to hold out rows, split by `image_id`, because one picture has
several questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medix_verl.data.converters.assemble import assemble, text_of
from medix_verl.data.converters.base import Ids, Refused, SetSpec
from medix_verl.data.converters.pictures import Pictures, by_value
from medix_verl.data.modalities import Modality
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="kvasir-vqa",
    title="Kvasir-VQA",
    hub_id="SimulaMet-HOST/Kvasir-VQA",
    licence="CC-BY-NC-4.0",
    task="mixed",
    pictures=True,
    about="Gastrointestinal endoscopy: findings, places, counts and instruments in 6,500 pictures",
    splits={"train": "raw"},
    rows={"train": 58849},
)
_ENDOSCOPY = Modality("ENDOSCOPY", "", True)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    ids = Ids(SPEC.name)
    columns = ("image", "question", "answer")
    for row in source.rows(SPEC.splits[split], columns, ("source", "img_id"), files=("*.parquet",)):
        shown = by_value([row["image"]])
        name, answer = text_of(row["img_id"]), answer_text(row["answer"])
        row_id = ids.of(text_of(row["question"]), answer, *shown.names)
        yield assemble(
            SPEC,
            split,
            row_id,
            question=row["question"],
            answer=answer,
            pictures=Pictures(shown.refs, (name,), shown.missing) if name else shown,
            modality=_ENDOSCOPY,
            extra={"origin": text_of(row["source"])} if row["source"] else None,
        )


def answer_text(value: Any) -> str:
    """Join the parts of an answer with commas, in order."""
    listed = value if isinstance(value, (list, tuple)) else text_of(value).split(";")
    return ", ".join(text for text in map(text_of, listed) if text)

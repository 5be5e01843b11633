# SPDX-License-Identifier: Apache-2.0
"""MedXpertQA: expert-level multiple choice (TsinghuaC3I/MedXpertQA, MIT).

Files: `MM/dev.jsonl` (5 rows), `MM/test.jsonl` (2,000), `Text/dev.jsonl` (5), `Text/test.jsonl` (2,450), each line
with `id` ("MM-26"), `question` (which repeats the choices after "Answer Choices:"), `options` (letter -> text: five in
MM, ten in Text; in some copies a list of letter and content), `label` (the letter), `medical_task`, `body_system`,
`question_type`, and in MM `images` (one or more file names); the pictures are in `images.zip`.

`--set subset=mm|text` selects the subset; dev is our val. The repeated choices are removed from the question, since
the prompt lists the options. The data set does not state the modality, so the tag is null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.data.converters.pictures import NO_PICTURES, by_name
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="medxpertqa",
    title="MedXpertQA",
    hub_id="TsinghuaC3I/MedXpertQA",
    licence="MIT",
    task="closed",
    pictures=True,
    about="Expert-level multiple choice: MM with pictures (2,000), Text without (2,450); for evaluation",
    splits={"val": "dev", "test": "test"},
    rows={"val": 5, "test": 2000},
    files="images.zip",
)
OPTIONS = {"subset": Option("mm", "with pictures, or text only", ("mm", "text"))}

_FOLDERS = {"mm": "MM", "text": "Text"}
_CHOICES = re.compile(r"\bAnswer Choices:\s*\(A\).*", re.DOTALL)
"""`assemble` strips the white space that remains before the match."""


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    subset = source.options["subset"]
    columns = ("id", "question", "options", "label", *(("images",) if subset == "mm" else ()))
    optional = ("medical_task", "body_system", "question_type")
    rows = source.rows(SPEC.splits[split], columns, optional, config=_FOLDERS[subset])
    yield from unique(to_item(source, row, split, subset, number) for number, row in enumerate(rows))


def to_item(source: Source, row: Mapping[str, Any], split: str, subset: str, number: int) -> Sample | Refused:
    """One published row."""
    extra = {key: text_of(row[key]) for key in ("medical_task", "body_system", "question_type")}
    named = [text_of(name) for name in row.get("images") or ()]
    return assemble(
        SPEC,
        split,
        own_id(SPEC, row["id"], number),
        question=_CHOICES.sub("", text_of(row["question"])),
        choices=Choices(lettered(row["options"]), text_of(row["label"]).upper()),
        pictures=by_name(source, named) if subset == "mm" else NO_PICTURES,
        subset=subset,
        extra={key: value for key, value in extra.items() if value},
    )


def lettered(options: Any) -> dict[str, Any]:
    """Return letter -> text, from a mapping or from a list of letter and content."""
    if isinstance(options, Mapping):
        return {str(letter): text for letter, text in options.items()}
    return {str(item.get("letter")): item.get("content") for item in options or () if isinstance(item, Mapping)}

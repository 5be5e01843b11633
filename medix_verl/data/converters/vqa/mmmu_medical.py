# SPDX-License-Identifier: Apache-2.0
"""MMMU's five subjects of health and medicine (MMMU/MMMU, Apache-2.0).

Files: one folder per subject, each with `dev-*.parquet` (5 rows), `validation-*.parquet` (30) and `test-*.parquet`,
whose answers are withheld: `id`, `question`, `options` (a list written as text), `answer` (a letter; for an open
question a text, or a list of texts that are all right), `question_type` (multiple-choice or open), `image_1` to
`image_7` (structs of bytes and path). Published results use validation, which is our val; dev is our train.

Pictures come before the text, in order; `<image 2>` becomes "image 2" in question and options, so that the reference
to the picture is kept.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.data.converters.pictures import by_value
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "SUBJECTS", "read"]

SPEC = SetSpec(
    name="mmmu-medical",
    title="MMMU, health and medicine",
    hub_id="MMMU/MMMU",
    licence="Apache-2.0",
    task="mixed",
    pictures=True,
    about="College questions of five medical subjects, with one to seven pictures",
    splits={"train": "dev", "val": "validation"},
    rows={"train": 25, "val": 150},
)
SUBJECTS = (
    "Basic_Medical_Science",
    "Clinical_Medicine",
    "Diagnostics_and_Laboratory_Medicine",
    "Pharmacy",
    "Public_Health",
)
OPTIONS = {"subject": Option("all", "one subject, or all five", ("all", *SUBJECTS))}
PICTURES = tuple(f"image_{number}" for number in range(1, 8))
PLACE = re.compile(r"<\s*image\s+(\d)\s*>")


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    yield from unique(items(source, split))


def items(source: Source, split: str) -> Iterator[Sample | Refused]:
    """The rows of the subjects, one after the other."""
    chosen = source.options["subject"]
    columns = ("id", "question", "options", "answer", "question_type", "image_1")
    for subject in SUBJECTS if chosen == "all" else (chosen,):
        rows = source.rows(SPEC.splits[split], columns, PICTURES[1:], config=subject)
        for number, row in enumerate(rows):
            yield to_item(row, split, subject, number)


def to_item(row: Mapping[str, Any], split: str, subject: str, number: int) -> Sample | Refused:
    """One published row."""
    row_id = own_id(SPEC, row["id"], number)
    options, answers = texts_in(row["options"]), texts_in(row["answer"]) or [text_of(row["answer"])]
    if options is None:
        return Refused(
            row_id, "no options", f"options is {str(row['options'])[:80]!r}; expected a list written as text"
        )
    pictures = by_value([row[name] for name in PICTURES if row[name] is not None] or [None])
    choice = text_of(row["question_type"]) == "multiple-choice"
    return assemble(
        SPEC,
        split,
        row_id,
        question=placed(text_of(row["question"])),
        answer=None if choice else answers[0],
        choices=lettered(options, answers[0]) if choice else None,
        pictures=pictures,
        subset=subject,
        extra={"subject": subject, **({"synonyms": answers[1:]} if len(answers) > 1 and not choice else {})},
    )


def lettered(options: list[str], letter: str) -> Choices:
    """The options by their letters."""
    return Choices({chr(ord("A") + at): placed(text) for at, text in enumerate(options)}, letter)


def placed(text: str) -> str:
    """Replace picture placeholders (`<image 2>`) by words ("image 2")."""
    return PLACE.sub(r"image \1", text)


def texts_in(value: Any) -> list[str] | None:
    """Return a list of texts, also from a Python literal; None if the value is neither."""
    found = value
    if isinstance(value, str):
        try:
            found = ast.literal_eval(value) if value.strip().startswith("[") else None
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            found = None
    return [text_of(item) for item in found] if isinstance(found, (list, tuple)) else None

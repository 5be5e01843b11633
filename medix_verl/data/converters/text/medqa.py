# SPDX-License-Identifier: Apache-2.0
"""MedQA: questions of the US medical licensing examination, four options (GBaker/MedQA-USMLE-4-options-hf).

Files: `train`, `dev` or `validation`, and `test`, 10,178 / 1,272 / 1,273 rows with `id`, `sent1` (the question),
`sent2` (empty), `ending0` ... `ending3`, `label` (0 to 3). The other known layout (GBaker/MedQA-USMLE-4-options and
its derivatives) has `question`, `options` (letter -> text, null for unused letters), `answer_idx` or
`answer`, and `meta_info`; its files are `phrases_no_exclude_train.jsonl` and `..._test.jsonl`. Both are read. The hub
states no licence; the authors' repository states MIT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, as_number, assemble, first_there, own_id, text_of, unique
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="medqa",
    title="MedQA (USMLE, 4 options)",
    hub_id="GBaker/MedQA-USMLE-4-options-hf",
    licence="MIT (authors' repository; none on the hub)",
    task="closed",
    pictures=False,
    about="Questions of the US medical licensing examination with four options",
    splits={"train": "train", "val": "validation", "test": "test"},
    rows={"train": 10178, "val": 1272, "test": 1273},
)
_FILES = {
    "train": ("train-*.parquet", "train.json*", "phrases_no_exclude_train.jsonl"),
    "val": ("validation-*.parquet", "validation.json*", "dev.json*"),
    "test": ("test-*.parquet", "test.json*", "phrases_no_exclude_test.jsonl"),
}
_ENDINGS = ("ending0", "ending1", "ending2", "ending3")
_OPTIONAL = ("id", "sent1", *_ENDINGS, "label", "question", "options", "answer_idx", "answer", "meta_info")


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`).

    Raises:
        DataError: The rows have neither of the two layouts.
    """
    rows = source.rows(SPEC.splits[split], (), _OPTIONAL, files=first_there(source, *_FILES[split]))
    yield from unique(to_item(row, split, number, source.place) for number, row in enumerate(rows))


def to_item(row: Mapping[str, Any], split: str, number: int, place: str) -> Sample | Refused:
    """One published row."""
    question, answer, choices = parts_of(row, place)
    step = text_of(row["meta_info"])
    return assemble(
        SPEC,
        split,
        own_id(SPEC, row["id"] if row["id"] is not None else number, number),
        question=question,
        answer=answer,
        choices=choices,
        extra={"step": step} if step else None,
    )


def parts_of(row: Mapping[str, Any], place: str) -> tuple[Any, Any, Choices]:
    """Return question, answer text (None if only the label is given) and choices of either layout."""
    if row["sent1"] is not None:
        endings = {str(at): row[name] for at, name in enumerate(_ENDINGS)}
        return row["sent1"], None, Choices(endings, as_number(text_of(row["label"])))
    if isinstance(row["options"], Mapping):
        label = text_of(row["answer_idx"]) or None
        return row["question"], row["answer"], Choices(dict(row["options"]), label)
    got = ", ".join(name for name in _OPTIONAL if row[name] is not None) or "none of the known columns"
    raise DataError(f"{place}: a row has {got}; expected sent1, ending0-3, label, or question, options, answer_idx")

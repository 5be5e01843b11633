# SPDX-License-Identifier: Apache-2.0
"""MedMCQA: questions of Indian medical entrance examinations (openlifescienceai/medmcqa, Apache-2.0).

Files: `data/train-*.parquet` (182,822 rows), `data/validation-*.parquet` (4,183), `data/test-*.parquet` (6,150) with
`id`, `question`, `opa` ... `opd`, `cop` (the number of the right option), `choice_type`, `exp` (explanation),
`subject_name`, `topic_name`. The test answers are withheld (`cop` is -1). Published results therefore use the
validation split, which is our val; there is no test split.

`cop` counts from 0 on the hub and from 1 in the authors' own JSON files. The rows do not state which, so it is set by
`--set first_option=0|1`. A number that is only valid for the other base raises an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, as_number, assemble, first_there, own_id, text_of, unique
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="medmcqa",
    title="MedMCQA",
    hub_id="openlifescienceai/medmcqa",
    licence="Apache-2.0",
    task="closed",
    pictures=False,
    about="Questions of Indian medical entrance examinations, four options; val is the published evaluation",
    splits={"train": "train", "val": "validation"},
    rows={"train": 182822, "val": 4183},
)
OPTIONS = {"first_option": Option("0", "what cop calls opa: 0 on the hub, 1 in the authors' files", ("0", "1"))}

_FILES = {
    "train": ("train-*.parquet", "train.json*"),
    "val": ("validation-*.parquet", "validation.json*", "dev.json*"),
}
_OPTIONS = ("opa", "opb", "opc", "opd")
_COLUMNS = ("question", *_OPTIONS, "cop")
_OPTIONAL = ("id", "choice_type", "subject_name", "topic_name", "exp")


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`).

    Raises:
        DataError: `cop` does not count from the number that `--set first_option` gives.
    """
    first = int(source.options["first_option"])
    rows = source.rows(SPEC.splits[split], _COLUMNS, _OPTIONAL, files=first_there(source, *_FILES[split]))
    yield from unique(to_item(row, split, number, first) for number, row in enumerate(rows))


def to_item(row: Mapping[str, Any], split: str, number: int, first: int) -> Sample | Refused:
    """One published row."""
    row_id, right = own_id(SPEC, row["id"], number), as_number(text_of(row["cop"]), first)
    if right == ("4" if first == 0 else "0"):
        other = 1 - first
        raise DataError(
            f"row {row_id!r}: cop is {right}, so opa is {other} and not {first}; type --set first_option={other}"
        )
    if right in ("", "-1"):
        return Refused(row_id, "no answer", f"cop is {right or 'missing'}: the answer is withheld")
    extra = {key: text_of(row[key]) for key in ("choice_type", "subject_name", "topic_name")}
    extra["rationale"] = text_of(row["exp"])
    return assemble(
        SPEC,
        split,
        row_id,
        question=row["question"],
        choices=Choices({str(first + at): row[name] for at, name in enumerate(_OPTIONS)}, right),
        extra={key: value for key, value in extra.items() if value},
    )

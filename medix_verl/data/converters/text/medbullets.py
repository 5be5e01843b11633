# SPDX-License-Identifier: Apache-2.0
"""Medbullets: questions in the style of USMLE Step 2 and 3 (Chen et al. 2024, arXiv 2402.18060; no licence is stated).

Files of the authors (github.com/HanjieChen/ChallengeClinicalQA): `medbullets/medbullets_op5.csv` and `_op4.csv`, 308
rows each, with `link`, `question`, `opa` to `ope`, `answer_idx` (a letter), `answer` (its text), `explanation`. On
the hub (mkieffer/Medbullets): `data/op5_test-*.parquet` and `op4_test-*` with `idx`, `question`, `options` (letter ->
text), `answer` (a letter), `explanation`, `link`. LangAGI-Lab/medbullets mixes both files and splits them at random;
it is not read. `--set options=4` selects the same questions with one wrong choice fewer. Some vignettes refer to a
figure that the data set does not include.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, first_there, text_of
from medix_verl.data.converters.base import Ids, Option, Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="medbullets",
    title="Medbullets",
    hub_id="mkieffer/Medbullets",
    licence="not stated",
    task="closed",
    pictures=False,
    about="Clinical vignettes of USMLE Step 2 and 3 style, five or four options; for evaluation",
    splits={"test": "test"},
    rows={"test": 308},
)
OPTIONS = {"options": Option("5", "how many choices a question has", ("5", "4"))}
LETTERS = "ABCDE"


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`).

    Raises:
        DataError: The rows have neither of the two layouts.
    """
    count, ids = source.options["options"], Ids(SPEC.name)
    names = (f"medbullets_op{count}.csv", f"op{count}_test-*.parquet")
    columns = (*(f"op{letter.lower()}" for letter in LETTERS[: int(count)]), "answer_idx", "options")
    rows = source.rows(SPEC.splits[split], ("question", "answer"), columns, files=first_there(source, *names))
    for row in rows:
        yield to_item(row, split, int(count), ids, source.place)


def to_item(row: Mapping[str, Any], split: str, count: int, ids: Ids, place: str) -> Sample | Refused:
    """One published row."""
    letters = LETTERS[:count]
    if isinstance(row["options"], Mapping):
        choices, label, answer = {key: row["options"].get(key) for key in letters}, text_of(row["answer"]), None
    elif row["answer_idx"] is not None:
        choices, label, answer = {key: row[f"op{key.lower()}"] for key in letters}, row["answer_idx"], row["answer"]
    else:
        raise DataError(f"{place}: a row has neither options nor opa, ..., answer_idx: is it a file of Medbullets?")
    return assemble(
        SPEC,
        split,
        ids.of(text_of(row["question"]), *map(text_of, choices.values())),
        question=row["question"],
        answer=answer,
        choices=Choices(choices, text_of(label)),
        subset=f"op{count}",
    )

# SPDX-License-Identifier: Apache-2.0
"""PMC-VQA: multiple-choice questions on figures of PubMed Central (RadGenome/PMC-VQA, CC BY-SA).

Files, version 1: `train.csv`, `test.csv` with `Figure_path`, `Question`, `Answer` (the text), `Choice A` ... `Choice D`
("B:Focal uptake pattern"), `Answer_label` (the letter); `test_clean.csv` is the manually checked part of the test set;
pictures in `images.zip`. Version 2 (figures of one panel): `train_2.csv`, `test_2.csv` with `index`, `Figure_path`,
`Caption`, `Question`, the choices, `Answer` (the letter) and `split`; pictures in `images_2.zip`. The card and the
files disagree on `Answer`: a single letter there is a label only if there is no `Answer_label`.

`--set version=1|2|clean` selects the version; `clean` has only a test split. The reference is the choice's text
without its letter. The files do not state the modality, so the tag is null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, text_of
from medix_verl.data.converters.base import Ids, Option, Refused, SetSpec
from medix_verl.data.converters.pictures import by_name
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="pmc-vqa",
    title="PMC-VQA",
    hub_id="RadGenome/PMC-VQA",
    licence="CC-BY-SA-4.0",
    task="closed",
    pictures=True,
    about="Multiple choice on figures of PubMed Central; 227,000 questions on 149,000 pictures (version 1)",
    splits={"train": "train", "test": "test"},
    files="images.zip (version 1), images_2.zip (version 2)",
)
OPTIONS = {
    "version": Option("1", "1: all figures; 2: figures of one panel; clean: checked test set", ("1", "2", "clean"))
}

_FILES = {
    ("1", "train"): "train.csv",
    ("1", "test"): "test.csv",
    ("2", "train"): "train_2.csv",
    ("2", "test"): "test_2.csv",
    ("clean", "test"): "test_clean.csv",
}
_LETTERS = "ABCD"
_COLUMNS = ("Figure_path", "Question", "Answer", *(f"Choice {letter}" for letter in _LETTERS))


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`).

    Raises:
        ConfigError: The version has no such split.
    """
    version, ids = source.options["version"], Ids(SPEC.name)
    name = _FILES.get((version, split))
    if name is None:
        raise ConfigError(f"pmc-vqa: version {version!r} has no split {split!r}; accepted: test; type --split test")
    for row in source.rows(SPEC.splits[split], _COLUMNS, ("Answer_label", "index"), files=(name,)):
        yield to_item(source, row, split, ids)


def to_item(source: Source, row: Mapping[str, Any], split: str, ids: Ids) -> Sample | Refused:
    """One published row."""
    figure, label, answer = (text_of(row[key]) for key in ("Figure_path", "Answer_label", "Answer"))
    if not label and answer in set(_LETTERS):
        label, answer = answer, ""
    texts = {letter: without_letter(row[f"Choice {letter}"], letter) for letter in _LETTERS}
    return assemble(
        SPEC,
        split,
        ids.of(figure, text_of(row["Question"]), label or answer, *texts.values()),
        question=row["Question"],
        answer=answer,
        choices=Choices(texts, label or None),
        pictures=by_name(source, [figure]),
    )


def without_letter(value: Any, letter: str) -> str:
    """Strip a choice's leading letter and colon (`A:x`, ` A: x `); `A. fumigatus` is unchanged."""
    return re.sub(rf"^{letter}\s*:\s*", "", text_of(value))

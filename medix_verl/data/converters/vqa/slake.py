# SPDX-License-Identifier: Apache-2.0
"""SLAKE: radiology pictures with questions in English and Chinese (BoKelvin/SLAKE, CC BY 4.0).

Files: `train.json`, `validation.json` (formerly `validate.json`), `test.json`, each a list of objects with `img_id`,
`img_name` ("xmlab1/source.jpg"), `question`, `answer`, `q_lang` (en, zh), `location`, `modality` (CT, MRI, X-Ray),
`answer_type` (OPEN, CLOSED), `base_type`, `content_type`, `triple`, `qid`; the 642 pictures are in `imgs.zip`. A
picture's folder (xmlab1) has one patient's slice; there are no patient ids.

The default is English only, as in all published results; `--set language=zh` or `language=all` selects others. A row
of another language is refused as `other language`, so that the counts add up. `SPEC.rows` has the card's numbers, for
both languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import assemble, first_there, own_id, text_of, unique
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.data.converters.pictures import by_name
from medix_verl.data.modalities import read_modality
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="slake",
    title="SLAKE",
    hub_id="BoKelvin/SLAKE",
    licence="CC-BY-4.0",
    task="mixed",
    pictures=True,
    about="Radiology pictures (CT, MRI, X-ray) of 642 studies; short answers, English and Chinese",
    splits={"train": "train", "val": "validation", "test": "test"},
    rows={"train": 9835, "val": 2099, "test": 2094},
    files="imgs.zip",
)
OPTIONS = {"language": Option("en", "the questions' language", ("en", "zh", "all"))}

_FILES = {"train": ("train.json",), "val": ("validation.json", "validate.json"), "test": ("test.json",)}
_COLUMNS = ("img_name", "question", "answer", "q_lang", "answer_type")
_OPTIONAL = ("img_id", "modality", "location", "base_type", "content_type", "qid")
_TYPES = {"OPEN": "open", "CLOSED": "closed"}


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    rows = source.rows(SPEC.splits[split], _COLUMNS, _OPTIONAL, files=first_there(source, *_FILES[split]))
    yield from unique(to_item(source, row, split, number) for number, row in enumerate(rows))


def to_item(source: Source, row: Mapping[str, Any], split: str, number: int) -> Sample | Refused:
    """One published row."""
    row_id, language = own_id(SPEC, row["qid"], number), text_of(row["q_lang"])
    if source.options["language"] not in (language, "all"):
        return Refused(row_id, "other language", f"{language!r} is not --set language={source.options['language']}")
    extra = {"language": language, **{key: text_of(row[key]) for key in ("location", "base_type", "content_type")}}
    return assemble(
        SPEC,
        split,
        row_id,
        question=row["question"],
        answer=row["answer"],
        pictures=by_name(source, [text_of(row["img_name"])]),
        modality=read_modality(row["modality"]),
        answer_type=_TYPES.get(text_of(row["answer_type"]).upper()),
        extra={key: value for key, value in extra.items() if value},
    )

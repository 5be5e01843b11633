# SPDX-License-Identifier: Apache-2.0
"""From a data set's own word for how a picture was made to one of the sixteen published tags.

The table is data: `modalities.json` lists, under each tag, the words that the public sets and DICOM use. A word is
compared without case, spaces and punctuation, and as a whole: nothing is guessed from a part of it. A word that the
table does not have becomes OTHER with `known` false, which converters note in the row's meta (`modality_guess`), so
that a report can count it. No word at all is no tag: a reward then leaves the modality out.

Where the sixteen tags leave a choice, the table says so once: dermoscopy and colposcopy are CLINICAL_PHOTOGRAPHY,
retinal infrared pictures FUNDUS_PHOTOGRAPHY, CT and MR angiography what the scanner is, PET/CT is PET_SCAN, planar
nuclear medicine OTHER, and recorded curves such as an ECG GRAPHICS.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError
from medix_verl.types import MODALITIES

__all__ = ["Modality", "known_words", "read_modality", "to_tag"]

TABLE = Path(__file__).with_suffix(".json")
_NOT_A_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Modality:
    """What a set says of a picture, and what we make of it."""

    tag: str | None
    """One of MODALITIES, or None where the set says nothing."""
    word: str
    """The set's own word."""
    known: bool
    """False where the table does not have the word, and the tag is OTHER for want of a better one."""


def read_modality(word: Any) -> Modality:
    """The modality of a set's own word; None and blank are no modality."""
    text = "" if word is None or word != word else str(word).strip()  # a missing value of a CSV file is a NaN
    if not text:
        return Modality(None, "", True)
    tag = to_tag(text)
    return Modality(tag or "OTHER", text, tag is not None)


def to_tag(word: str) -> str | None:
    """The tag of a word, or None where the table does not have it."""
    return known_words().get(folded(word))


@cache
def known_words() -> dict[str, str]:
    """Every word of the table, folded, with its tag; the tags are words too.

    Raises:
        DataError: The table has a tag that is none of the sixteen, or a word under two tags.
    """
    return build_table(json.loads(TABLE.read_text(encoding="utf-8")))


def build_table(groups: dict[str, list[str]]) -> dict[str, str]:
    table: dict[str, str] = {}
    for tag, words in groups.items():
        if tag not in MODALITIES:
            raise DataError(f"{TABLE.name}: {tag!r} is no tag; use one of {', '.join(MODALITIES)}")
        for word in (tag, *words):
            other = table.setdefault(folded(word), tag)
            if other != tag:
                raise DataError(f"{TABLE.name}: {word!r} stands under {other} and {tag}; keep one of the two")
    return table


def folded(word: str) -> str:
    """A word without case, spaces and punctuation: `X-Ray`, `x ray` and `XRAY` are one."""
    return _NOT_A_LETTER.sub("", word.casefold())

# SPDX-License-Identifier: Apache-2.0
"""Map a data set's own word for an imaging modality to one of the sixteen published tags.

The table is `modalities.json`: for each tag, the words that public data sets and DICOM use, including German, French,
Spanish and Chinese words. Words are compared without case, accents, spaces and punctuation, and only as a whole. An
unknown word becomes OTHER with `known` false; converters record it in the row's meta (`modality_guess`), so that a
report can count it. If there is no word, there is no tag, and a reward leaves the modality out.

If several tags could apply, the table fixes one: dermoscopy and colposcopy are CLINICAL_PHOTOGRAPHY, retinal infrared
pictures FUNDUS_PHOTOGRAPHY, CT and MR angiography the modality of the scanner, PET/CT is PET_SCAN, planar nuclear
medicine OTHER, and recorded curves such as an ECG GRAPHICS.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError
from medix_verl.invisible import visible
from medix_verl.types import MODALITIES

__all__ = ["Modality", "known_words", "read_modality", "to_tag"]

TABLE = Path(__file__).with_suffix(".json")
_NOT_A_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Modality:
    """A data set's word for a picture's modality, and its tag."""

    tag: str | None
    """One of MODALITIES, or None if the set gives no modality."""
    word: str
    """The set's own word."""
    known: bool
    """False if the table does not contain the word; the tag is then OTHER."""


def read_modality(word: Any) -> Modality:
    """The modality for a set's own word; None and blank give no modality."""
    text = "" if word is None or word != word else str(word).strip()  # a missing value of a CSV file is a NaN
    if not text:
        return Modality(None, "", True)
    tag = to_tag(text)
    return Modality(tag or "OTHER", text, tag is not None)


def to_tag(word: str) -> str | None:
    """The tag of a word, or None if the table does not contain it."""
    return known_words().get(folded(word))


@cache
def known_words() -> dict[str, str]:
    """Every word of the table, normalised, with its tag; the tags themselves are words too.

    Raises:
        DataError: The table has a tag that is not one of the sixteen, or a word under two tags.
    """
    return build_table(json.loads(TABLE.read_text(encoding="utf-8")))


def build_table(groups: dict[str, list[str]]) -> dict[str, str]:
    table: dict[str, str] = {}
    for tag, words in groups.items():
        if tag not in MODALITIES:
            raise DataError(f"{TABLE.name}: {tag!r} is not a tag; use one of {', '.join(MODALITIES)}")
        for word in (tag, *words):
            other = table.setdefault(folded(word), tag)
            if other != tag:
                raise DataError(f"{TABLE.name}: {word!r} stands under {other} and {tag}; keep one of the two")
    return table


def folded(word: str) -> str:
    """A word without case, accents, spaces and punctuation: `X-Ray`, `x ray` and `XRAY` become equal."""
    letters = unicodedata.normalize("NFKD", visible(word).casefold())
    return _NOT_A_LETTER.sub("", "".join(char for char in letters if not unicodedata.combining(char)))

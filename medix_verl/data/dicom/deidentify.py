# SPDX-License-Identifier: Apache-2.0
"""Check whether a DICOM file identifies its patient, by its tags or by text burnt into the pixels.

The lists of identifying tags are in `deidentify.json`, based on the basic profile of DICOM PS3.15 Annex E. Person names
and dates are found by their value representation, comments by their tag names; sequences are searched too.
If PatientIdentityRemoved is YES, identifiers are accepted as pseudonyms and free texts as cleaned; dates are accepted
only if LongitudinalTemporalInformationModified says that they were changed. A name, an address, a place or a birth date
is refused in every case. Private tags are only counted, since their content is unknown; a refusal reports the count.

This is a check, not a de-identification, and it cannot detect a name in the pixels. Its messages contain names of tags
and never a value, because a value in a log would itself be a leak.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.dicom.decode import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Identity", "Refusal", "look_for_identity", "refusal_of"]

TABLE = Path(__file__).with_suffix(".json")
OLDEST_AGE = 89
"""Years; a higher age is identifying (45 CFR 164.514(b)(2)(i)(C))."""
DATES = frozenset({"DA", "DT"})
COMMENTS = ("Comment", "Comments")
"""Suffixes of the names of free-text tags. Tags of repeating groups cannot be listed, so they are matched by suffix."""
NAMES_SHOWN = 6
REMEDY = "de-identify the file first, or give --allow-identified if you may use it as it is"


@dataclass(frozen=True, slots=True)
class Identity:
    """What one file reveals about its patient: names of tags, no values."""

    tags: tuple[str, ...]
    """Names of the tags that contain patient data, unique and sorted."""
    burnt_in: str
    """`yes` or `no` as stated; if not stated, `unknown` for kinds of picture that often contain text, else `unsaid`."""
    faces: bool
    """Whether the file states that a person can be recognised in it."""
    removed: bool
    """Whether the file states that the patient's identity was removed."""
    private: int = 0
    """Number of private tags that are not empty, including those in sequences; their content is unknown."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not used; safe to log."""

    reason: str
    """A short stable identifier: `patient data`, `burnt-in text`, `burnt-in text unknown`, `recognisable face`."""
    detail: str


def look_for_identity(dataset: Dataset) -> Identity:
    """Check every tag of an opened file."""
    with quiet():
        removed = word(dataset, "PatientIdentityRemoved") == "YES"
        moved = word(dataset, "LongitudinalTemporalInformationModified") in {"MODIFIED", "REMOVED"}
        tags: set[str] = set()
        private = 0
        for tag, element in walk(dataset):
            if tag.is_private:
                # Private tags have no standard name. A private creator tag only names the vendor.
                private += not tag.is_private_creator and bool(texts_of(element))
                continue
            name = identifying(tag, element, removed, removed and moved)
            if name is not None:
                tags.add(name)
        faces = word(dataset, "RecognizableVisualFeatures") == "YES"
        return Identity(tuple(sorted(tags)), burnt_in(dataset), faces, removed, private)


def refusal_of(found: Identity, allow_identified: bool = False, accept_unknown: bool = False) -> Refusal | None:
    """Why a file is refused, or None.

    Args:
        found: Result of `look_for_identity`.
        allow_identified: Accept the file whatever was found.
        accept_unknown: Accept a file that does not state whether text is burnt in.
    """
    if allow_identified:
        return None
    if found.tags:
        more = f" and {len(found.tags) - NAMES_SHOWN} more" if len(found.tags) > NAMES_SHOWN else ""
        private = f"; it has {found.private} private tags, too" if found.private else ""
        return Refusal(
            "patient data", f"{', '.join(found.tags[:NAMES_SHOWN])}{more} hold patient data; {REMEDY}{private}"
        )
    if found.burnt_in == "yes":
        return Refusal("burnt-in text", f"BurnedInAnnotation is YES; {REMEDY}")
    if found.faces:
        return Refusal("recognisable face", f"RecognizableVisualFeatures is YES; {REMEDY}")
    if found.burnt_in == "unknown" and not accept_unknown:
        detail = "the file does not say whether text is burnt in, and pictures of its kind often hold a name"
        remedy = "look at it, then set BurnedInAnnotation to NO or give --set burnt_in_unknown=accept"
        return Refusal("burnt-in text unknown", f"{detail}; {remedy}")
    return None


@cache
def table() -> dict[str, frozenset[str]]:
    """The lists of `deidentify.json`, by name."""
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: frozenset(value) for name, value in content.items() if isinstance(value, list)}


@cache
def anonymised() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{form})" for form in sorted(table()["anonymised_forms"])), re.IGNORECASE)


def walk(dataset: Dataset) -> Iterator[tuple[Any, Any]]:
    """Every tag with its element, including sequences; None for an element that cannot be read."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001 - corrupt elements raise any type; such an element counts as not empty
            yield tag, None
            continue
        yield tag, element
        if element.VR == "SQ":
            for item in element.value or ():
                yield from walk(item)


def identifying(tag: Any, element: Any, removed: bool, dates_moved: bool) -> str | None:
    """The tag's name if its element identifies a person, else None.

    Args:
        tag: The tag.
        element: Its element, or None if it cannot be read.
        removed: Whether the file states that the patient's identity was removed.
        dates_moved: Whether it also states that its dates were changed.
    """
    name, kind = name_and_kind(tag)
    lists = table()
    texts = texts_of(element)
    if not texts:
        return None
    if name == "PatientAge":
        return name if any(age_above(text) for text in texts) else None
    if name in lists["births"] or kind in DATES:
        free = name in lists["harmless_dates"] or (dates_moved and name not in lists["births"])
        return None if free or all(text[:8] in lists["dummy_dates"] for text in texts) else name
    if name in lists["identifiers"] or name in lists["free_texts"] or name.endswith(COMMENTS):
        return None if removed or all(is_anonymised(text) for text in texts) else name
    if kind == "PN" or name in lists["persons"] or name in lists["places"]:
        pseudonym = removed and name == "PatientName"
        safe = all(is_anonymised(text) or (pseudonym and is_pseudonym(text)) for text in texts)
        return None if safe else name
    return None


def name_and_kind(tag: Any) -> tuple[str, str]:
    """The tag's name and value representation from the standard's dictionary; the file may state a different one."""
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    name = keyword_for_tag(tag)
    return (name or str(tag), dictionary_VR(tag) if name else "UN")


def texts_of(element: Any) -> list[str]:
    """The non-blank values of an element as texts; `?` if it cannot be read."""
    if element is None:
        return ["?"]
    if element.VR == "SQ":
        return ["sequence"] if any(len(item) for item in element.value or ()) else []
    value = element.value
    several = isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and element.VM > 1)
    texts = [as_text(item) for item in (value if several and not isinstance(value, (str, bytes)) else [value])]
    return [text for text in texts if text]


def as_text(value: Any) -> str:
    if value is None:
        return ""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return " ".join(re.sub(r"[\^=_\x00]", " ", text).split())


def is_anonymised(text: str) -> bool:
    return anonymised().fullmatch(text) is not None


def is_pseudonym(text: str) -> bool:
    """Whether a name looks like a pseudonym: one word that contains a digit, as in `TCGA-17-Z011`."""
    return " " not in text and any(letter.isdigit() for letter in text)


def age_above(text: str) -> bool:
    """Whether an age (`093Y`) is identifying; an age that cannot be parsed counts as identifying."""
    found = re.fullmatch(r"(\d{1,3})([DWMY])", text.upper())
    return found is None or (found[2] == "Y" and int(found[1]) > OLDEST_AGE)


def burnt_in(dataset: Dataset) -> str:
    said = word(dataset, "BurnedInAnnotation")
    if said in ("YES", "NO"):
        return said.lower()
    lists = table()
    sop_class = word(dataset, "SOPClassUID")
    kinds = word(dataset, "ImageType")
    captured = any(sop_class == root or sop_class.startswith(f"{root}.") for root in lists["burnt_in_classes"])
    often = word(dataset, "Modality") in lists["burnt_in_modalities"] or captured
    return "unknown" if often or any(kind in kinds for kind in lists["burnt_in_image_types"]) else "unsaid"


def word(dataset: Dataset, keyword: str) -> str:
    """A tag's value as one upper-case text; empty if it is missing or cannot be read."""
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - corrupt elements raise any type; such an element counts as missing
        return ""
    several = hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
    return " ".join(str(item) for item in value).upper() if several else as_text(value).upper()

# SPDX-License-Identifier: Apache-2.0
"""Whether a DICOM file tells who its patient is: by its tags, or by text that is burnt into its pixels.

Which tags tell is data, `deidentify.json`, after the basic profile of DICOM PS3.15 Annex E; persons' names and dates
are found by their kind, in sequences too. PatientIdentityRemoved YES makes a pseudonym of an identifier and lets
cleaned texts pass, and dates where LongitudinalTemporalInformationModified says that they were; a name, an address,
a place or a birth date is refused all the same. Private tags are counted: nothing is known of what they hold.

This is a check and no de-identification, and it cannot see a name in the pixels. What it says holds the names of tags
and never a value: a value in a log would be the leak that it is there to prevent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.dicom import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Identity", "Refusal", "look_for_identity", "refusal_of"]

TABLE = Path(__file__).with_suffix(".json")
OLDEST_AGE = 89
"""Years; a higher age identifies (45 CFR 164.514(b)(2)(i)(C))."""
DATES = frozenset({"DA", "DT"})
NAMES_SHOWN = 6
REMEDY = "de-identify the file first, or give --allow-identified if you may use it as it is"


@dataclass(frozen=True, slots=True)
class Identity:
    """What one file tells of its patient; names of tags, no values."""

    tags: tuple[str, ...]
    """Names of the tags that hold patient data, each once, sorted."""
    burnt_in: str
    """`no` and `yes` by the file's word; without one `unknown` where such pictures often hold text, else `unsaid`."""
    faces: bool
    """Whether the file says that a person can be recognised in it."""
    removed: bool
    """Whether the file says that its patient's identity was removed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not used; safe to log."""

    reason: str
    """A short stable kind: `patient data`, `burnt-in text`, `burnt-in text unknown`, `recognisable face`."""
    detail: str


def look_for_identity(dataset: Dataset) -> Identity:
    """Look through every tag of an opened file."""
    with quiet():
        removed = word(dataset, "PatientIdentityRemoved") == "YES"
        moved = word(dataset, "LongitudinalTemporalInformationModified") in {"MODIFIED", "REMOVED"}
        tags: set[str] = set()
        for tag, element in walk(dataset):
            # A private tag has no name that says what it holds.
            name = None if tag.is_private else identifying(tag, element, removed, removed and moved)
            if name is not None:
                tags.add(name)
        faces = word(dataset, "RecognizableVisualFeatures") == "YES"
        return Identity(tuple(sorted(tags)), burnt_in(dataset), faces, removed)


def refusal_of(found: Identity, allow_identified: bool = False, accept_unknown: bool = False) -> Refusal | None:
    """Why a file is not used, or None.

    Args:
        found: What `look_for_identity` gave.
        allow_identified: Use it whatever it tells.
        accept_unknown: Use it where it only does not say whether text is burnt in.
    """
    if allow_identified:
        return None
    if found.tags:
        more = f" and {len(found.tags) - NAMES_SHOWN} more" if len(found.tags) > NAMES_SHOWN else ""
        return Refusal("patient data", f"{', '.join(found.tags[:NAMES_SHOWN])}{more} hold patient data; {REMEDY}")
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
    """Every tag with its element, in sequences too; None for an element that cannot be read."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001 - a corrupt element fails in any way; it counts as one that holds something
            yield tag, None
            continue
        yield tag, element
        if element.VR == "SQ":
            for item in element.value or ():
                yield from walk(item)


def identifying(tag: Any, element: Any, removed: bool, dates_moved: bool) -> str | None:
    """The tag's name where its element tells something of a person, else None.

    Args:
        tag: The tag.
        element: Its element, or None where it cannot be read.
        removed: Whether the file says that its patient's identity was removed.
        dates_moved: Whether it says so of its dates, too.
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
    if name in lists["identifiers"] or name in lists["free_texts"]:
        return None if removed or all(is_anonymised(text) for text in texts) else name
    if kind == "PN" or name in lists["persons"] or name in lists["places"]:
        pseudonym = removed and name == "PatientName"
        safe = all(is_anonymised(text) or (pseudonym and is_pseudonym(text)) for text in texts)
        return None if safe else name
    return None


def name_and_kind(tag: Any) -> tuple[str, str]:
    """The tag's name and value representation by the standard's dictionary: a file may state another one."""
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    name = keyword_for_tag(tag)
    return (name or str(tag), dictionary_VR(tag) if name else "UN")


def texts_of(element: Any) -> list[str]:
    """The values of an element that are not blank, as texts; `?` where they cannot be read."""
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
    """Whether a name that replaces another looks like one: one word with a digit, as in `TCGA-17-Z011`."""
    return " " not in text and any(letter.isdigit() for letter in text)


def age_above(text: str) -> bool:
    """Whether an age (`093Y`) identifies; one that cannot be read does."""
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
    """A tag's value as one upper-case text; empty where it is missing or cannot be read."""
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - a corrupt element fails in any way; one that cannot be read states nothing
        return ""
    several = hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
    return " ".join(str(item) for item in value).upper() if several else as_text(value).upper()

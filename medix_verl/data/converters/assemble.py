# SPDX-License-Identifier: Apache-2.0
"""Build a Sample from the parts of one published row, or a Refused with the reason; shared by the converters.

Texts are stripped, HTML entities that end in a semicolon become characters (`&lt;` is `<`), and picture placeholders
are removed from the question. The reference is always a text: a letter or a number is looked up among the choices.
Faulty rows are not repaired by guessing; the reasons for a refusal are:

    no question, no answer      the value is missing, blank, or not a text
    broken text                 a text cannot be encoded as UTF-8
    no picture                  a picture of the row is missing
    unknown letter              the label matches no choice with a text
    labels differ               the row's answer text is a different choice than its label
    answer outside options      the answer is not one of the choices
    too few options             fewer than two distinct choices are left
"""

from __future__ import annotations

import html
import html.entities
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from medix_verl.data.converters.base import Ids, Refused, SetSpec
from medix_verl.data.converters.pictures import NO_PICTURES, Pictures, by_value
from medix_verl.data.modalities import Modality
from medix_verl.data.source import Source
from medix_verl.invisible import visible
from medix_verl.types import Sample

__all__ = [
    "NO_MODALITY",
    "Choices",
    "as_number",
    "assemble",
    "first_there",
    "own_id",
    "read_plain",
    "text_of",
    "unique",
]

_PLACEHOLDER = re.compile(r"<\s*image(?:[ _]?\d+)?\s*/?>|\[\s*image(?:[ _]?\d+)?\s*\]", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
"""The semicolon is required: HTML also accepts `&micro`, which turns "gross&microscopic" into "gross\u00b5scopic"."""
_YES_NO = frozenset({"yes", "no"})
NO_MODALITY = Modality(None, "", True)


@dataclass(frozen=True, slots=True)
class Choices:
    """A row's choices and the label of the right one."""

    texts: Mapping[str, Any]
    """Label (`A`, `0`) -> text; blank and missing texts are ignored."""
    label: str | None = None
    """The right choice's label, or None if the row gives only the answer's text."""


def assemble(
    spec: SetSpec,
    split: str,
    row_id: str,
    *,
    question: Any,
    answer: Any = None,
    choices: Choices | None = None,
    pictures: Pictures = NO_PICTURES,
    modality: Modality = NO_MODALITY,
    answer_type: str | None = None,
    subset: str = "",
    extra: Mapping[str, Any] | None = None,
) -> Sample | Refused:
    """Build the Sample of one row, or a Refused with the reason.

    Args:
        spec: The data set.
        split: Our split name.
        row_id: The row's id.
        question: Its question, as published.
        answer: Its answer's text, as published; None if only the label of a choice is given.
        choices: Its choices, or None for a question without choices.
        pictures: Its pictures.
        modality: The pictures' modality according to the data set.
        answer_type: The data set's value, open or closed; None: closed if there are choices or the answer is yes or no.
        subset: Part of the data set; follows the data set's name in `data_source`.
        extra: Further meta, JSON values only.

    For a row with choices, `meta["label"]` is the right choice's letter as the prompt shows it.
    """
    asked, right = question_of(question), text_of(answer)
    options = None if choices is None else tuple(dict.fromkeys(filter(shows, map(text_of, choices.texts.values()))))
    right, fault = (right, None) if choices is None else pick(choices, options or (), right)
    fault = fault or first_fault(asked, right, options, pictures)
    if fault:
        return Refused(row_id, *fault)
    closed = options is not None or right.casefold().rstrip(".") in _YES_NO
    meta = {"answer_type": answer_type or ("closed" if closed else "open"), "image_id": list(pictures.names)}
    meta |= {**meta_of(spec, modality), **(extra or {})}
    if options is not None and options.index(right) < len(ascii_uppercase):
        meta["label"] = ascii_uppercase[options.index(right)]
    if not is_writable([row_id, asked, right, options, subset, meta]):
        return Refused(row_id, "broken text", "half of a surrogate pair, which UTF-8 cannot hold")
    origin = f"{spec.name}/{subset}" if subset else spec.name
    return Sample(row_id, origin, asked, right, modality.tag, pictures.refs, options, split, meta)


def read_plain(spec: SetSpec, source: Source, split: str) -> Iterator[Sample | Refused]:
    """Yield the rows of a data set with the columns `image`, `question` and `answer`; ids are content hashes."""
    ids = Ids(spec.name)
    for row in source.rows(spec.splits[split], ("image", "question", "answer")):
        pictures = by_value([row["image"]])
        row_id = ids.of(text_of(row["question"]), text_of(row["answer"]), *pictures.names)
        yield assemble(spec, split, row_id, question=row["question"], answer=row["answer"], pictures=pictures)


def pick(choices: Choices, options: Sequence[str], right: str) -> tuple[str, tuple[str, str] | None]:
    """Return the right choice's text, and the fault (reason and detail) of the row or None."""
    if choices.label is None:
        same = [option for option in options if option == right] or [o for o in options if folded(o) == folded(right)]
        if right and not same:
            return right, ("answer outside options", f"{right!r} is none of {list(options)!r}")
        return (same[0] if same else right), None
    labelled = text_of(choices.texts.get(choices.label))
    if not shows(labelled):
        given = ", ".join(label for label, text in choices.texts.items() if shows(text_of(text)))
        return "", ("unknown letter", f"{choices.label!r} is none of {given or 'no choices'}")
    others = {folded(option) for option in options} - {folded(labelled)}
    if right and folded(right) in others:
        return labelled, ("labels differ", f"the label {choices.label!r} is {labelled!r}, the answer {right!r}")
    return labelled, None


def first_fault(asked: str, right: str, options: Sequence[str] | None, pictures: Pictures) -> tuple[str, str] | None:
    if not shows(asked):
        return "no question", "the question is missing, blank or no text"
    if not right:
        return "no answer", "the answer is missing, blank or no text"
    if options is not None and len(options) < 2:
        return "too few options", f"only {list(options)!r} is left"
    if pictures.missing:
        return "no picture", pictures.missing
    return None


def text_of(value: Any) -> str:
    """Return a text or number as stripped text with entities resolved; empty for NaN and any other type."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value != value:
        return ""
    text = value if isinstance(value, str) else str(value)
    return _ENTITY.sub(character_of, text).strip()


def character_of(found: re.Match[str]) -> str:
    """Return the character of an HTML entity, or the entity unchanged if it stands for none."""
    name = found[0][1:]
    resolved = html.unescape(found[0]) if name.startswith("#") else html.entities.html5.get(name, "")
    return found[0] if resolved in ("", "\ufffd") else resolved


def as_number(label: str, first: int = 0) -> str:
    """Return a single-letter label as a number: a `ClassLabel` may name the numbers a, b, c. Others are unchanged."""
    place = ascii_uppercase.find(label.upper()) if len(label) == 1 else -1
    return label if place < 0 else str(first + place)


def shows(text: str) -> bool:
    """Return whether a text has visible characters."""
    return bool(visible(text).strip())


def question_of(value: Any) -> str:
    """Return a question without its picture placeholders; the pictures come before the text."""
    return _PLACEHOLDER.sub("", text_of(value)).strip()


def own_id(spec: SetSpec, value: Any, number: int) -> str:
    """Return the data set's own id of a row; a purely numeric id is prefixed with the data set's name."""
    text = text_of(value).encode("utf-8", "replace").decode("utf-8")
    if not text:
        return f"{spec.name}-row-{number}"
    return f"{spec.name}-{text}" if text.lstrip("-").isdigit() else text


def unique(items: Iterator[Sample | Refused]) -> Iterator[Sample | Refused]:
    """Yield the items with unique ids: repeated ids get `#2`, `#3`, ... in reading order, so that they are stable."""
    seen: set[str] = set()
    again: dict[str, int] = {}
    for item in items:
        name = item.id
        while name in seen:
            again[item.id] = again.get(item.id, 1) + 1
            name = f"{item.id}#{again[item.id]}"
        seen.add(name)
        yield item if name == item.id else replace(item, id=name)


def first_there(source: Source, *patterns: str) -> tuple[str, ...]:
    """Return the first of the patterns that matches a file of the source; all patterns if none matches."""
    return next(((pattern,) for pattern in patterns if source.names(pattern)), patterns)


def meta_of(spec: SetSpec, modality: Modality) -> dict[str, Any]:
    """Return the meta entries that come from the data set and from its modality."""
    meta: dict[str, Any] = {"licence": spec.licence}
    if spec.credentialed:
        meta["credentialed"] = True
    if modality.word:
        meta["modality_word"] = modality.word
    if not modality.known:
        meta["modality_guess"] = True
    return meta


def folded(text: str) -> str:
    """Normalise a text: case, spacing, invisible characters and a final full stop are ignored."""
    return " ".join(visible(text).casefold().split()).rstrip(".")


def is_writable(value: Any) -> bool:
    """Return whether every text in a value can be encoded as UTF-8; a lone surrogate, which JSON allows, cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

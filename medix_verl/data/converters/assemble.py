# SPDX-License-Identifier: Apache-2.0
"""What the converters share: from the parts of one published row to a Sample, or to a Refused that says why not.

Texts are stripped, HTML entities become characters (`&lt;` is `<`), and picture placeholders leave the question. The
reference is always a text: a letter or a number is looked up among the choices. Nothing is mended by guessing; these
are the reasons for a refusal:

    no question, no answer      the text is missing, blank, or no text at all
    broken text                 a text cannot be written as UTF-8
    no picture                  a picture of the row is not there
    unknown letter              the label names no choice that has a text
    labels differ               the row's answer text is another choice than its label says
    answer outside options      the answer is none of the choices
    too few options             fewer than two different choices are left
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.converters.pictures import NO_PICTURES, Pictures
from medix_verl.data.modalities import Modality
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = ["NO_MODALITY", "Choices", "assemble", "first_there", "own_id", "text_of", "unique"]

_PLACEHOLDER = re.compile(r"<\s*image(?:[ _]?\d+)?\s*/?>|\[\s*image(?:[ _]?\d+)?\s*\]", re.IGNORECASE)
_YES_NO = frozenset({"yes", "no"})
NO_MODALITY = Modality(None, "", True)


@dataclass(frozen=True, slots=True)
class Choices:
    """A row's choices, and which one is right."""

    texts: Mapping[str, Any]
    """Label (`A`, `0`) -> text; blank and missing ones do not count."""
    label: str | None = None
    """The right one's label, or None where the row gives the answer's text only."""


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
    """One row's Sample, or why there is none.

    Args:
        spec: The set.
        split: Ours.
        row_id: The row's id.
        question: Its question, as published.
        answer: Its answer's text, as published; None where only the label of a choice is given.
        choices: Its choices, or None for a question without any.
        pictures: Its pictures.
        modality: What the set says of them.
        answer_type: The set's own word, open or closed; None decides: closed where there are choices or yes and no.
        subset: The part of the set, behind the set's name in `data_source`.
        extra: Further meta, JSON values only.
    """
    asked, right = question_of(question), text_of(answer)
    options = None if choices is None else tuple(dict.fromkeys(filter(None, map(text_of, choices.texts.values()))))
    right, fault = (right, None) if choices is None else pick(choices, options or (), right)
    fault = fault or first_fault(asked, right, options, pictures)
    if fault:
        return Refused(row_id, *fault)
    closed = options is not None or right.casefold().rstrip(".") in _YES_NO
    meta = {"answer_type": answer_type or ("closed" if closed else "open"), "image_id": list(pictures.names)}
    meta |= {**meta_of(spec, modality), **(extra or {})}
    if not is_writable([row_id, asked, right, options, subset, meta]):
        return Refused(row_id, "broken text", "half of a surrogate pair, which UTF-8 cannot hold")
    origin = f"{spec.name}/{subset}" if subset else spec.name
    return Sample(row_id, origin, asked, right, modality.tag, pictures.refs, options, split, meta)


def pick(choices: Choices, options: Sequence[str], right: str) -> tuple[str, tuple[str, str] | None]:
    """The right choice's text, or the fault (reason and detail) of the row."""
    if choices.label is None:
        same = [option for option in options if option == right] or [o for o in options if folded(o) == folded(right)]
        if right and not same:
            return right, ("answer outside options", f"{right!r} is none of {list(options)!r}")
        return (same[0] if same else right), None
    labelled = text_of(choices.texts.get(choices.label))
    if not labelled:
        given = ", ".join(label for label, text in choices.texts.items() if text_of(text))
        return "", ("unknown letter", f"{choices.label!r} is none of {given or 'no choices'}")
    others = {folded(option) for option in options} - {folded(labelled)}
    if right and folded(right) in others:
        return labelled, ("labels differ", f"the label {choices.label!r} is {labelled!r}, the answer {right!r}")
    return labelled, None


def first_fault(asked: str, right: str, options: Sequence[str] | None, pictures: Pictures) -> tuple[str, str] | None:
    if not asked:
        return "no question", "the question is missing, blank or no text"
    if not right:
        return "no answer", "the answer is missing, blank or no text"
    if options is not None and len(options) < 2:
        return "too few options", f"only {list(options)!r} is left"
    if pictures.missing:
        return "no picture", pictures.missing
    return None


def text_of(value: Any) -> str:
    """A published text or number as text, entities resolved and stripped; empty for anything else, and for NaN."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value != value:
        return ""
    text = value if isinstance(value, str) else str(value)
    try:
        return html.unescape(text).strip()
    except ValueError:  # a character's number of thousands of digits
        return text.strip()


def question_of(value: Any) -> str:
    """A published question as text, without the places where pictures go: these come before the text."""
    return _PLACEHOLDER.sub("", text_of(value)).strip()


def own_id(spec: SetSpec, value: Any, number: int) -> str:
    """The set's own id of a row: as it is where it is a word, behind the set's name where it is a number only."""
    text = text_of(value).encode("utf-8", "replace").decode("utf-8")
    if not text:
        return f"{spec.name}-row-{number}"
    return f"{spec.name}-{text}" if text.lstrip("-").isdigit() else text


def unique(items: Iterator[Sample | Refused]) -> Iterator[Sample | Refused]:
    """The same items, ids that come again with `#2`, `#3` behind them: in a fixed order, so the same each time."""
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
    """Of the names that a file of a set is known under, the first that is there; all of them where none is."""
    return next(((pattern,) for pattern in patterns if source.names(pattern)), patterns)


def meta_of(spec: SetSpec, modality: Modality) -> dict[str, Any]:
    """What the set and its word for the modality put into every row's meta."""
    meta: dict[str, Any] = {"licence": spec.licence}
    if spec.credentialed:
        meta["credentialed"] = True
    if modality.word:
        meta["modality_word"] = modality.word
    if not modality.known:
        meta["modality_guess"] = True
    return meta


def folded(text: str) -> str:
    """A text without case, spacing and final full stop."""
    return " ".join(text.casefold().split()).rstrip(".")


def is_writable(value: Any) -> bool:
    """Whether every text in it can be written: half a surrogate pair, which JSON allows, cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

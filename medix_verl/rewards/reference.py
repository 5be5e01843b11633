# SPDX-License-Identifier: Apache-2.0
"""Reads a ground truth, which may begin with its modality tag, into a Reference.

Only a tag of the closed vocabulary is one: "lesion > 3 cm" and "<5 mm" stay whole. The parser of responses reads the
tag, so that both sides of the comparison are spelled alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from medix_verl.errors import DataError
from medix_verl.response import split_tag
from medix_verl.types import MODALITIES, Reference

__all__ = ["parse_ground_truth"]


def parse_ground_truth(
    text: str,
    modality: str | None = None,
    question: str | None = None,
    options: Sequence[str] | None = None,
    synonyms: Sequence[str] = (),
    tolerance: float | None = None,
    credentialed_row: str | None = None,
) -> Reference:
    """Read one ground truth.

    Args:
        text: The right answer, perhaps behind a `<TAG>`.
        modality: The modality, known from elsewhere; wins over the tag.
        question: What was asked.
        options: The choices, in order.
        synonyms: Other right answers.
        tolerance: Accepted relative error of a quantity.
        credentialed_row: What to call a row that no third party may see; None of others.

    Raises:
        DataError: The answer is empty, or the modality is not in the vocabulary.
    """
    tag, end = split_tag(text)
    if tag not in MODALITIES:
        tag, end = None, 0
    answer = text[end:].strip()
    if not answer:
        raise DataError(f"the ground truth {text[:60]!r} has no answer; write the right answer behind the tag")
    return Reference(
        answer=answer,
        modality=known_modality(modality) if modality else tag,
        question=question,
        synonyms=tuple(synonyms),
        options=tuple(options) if options else None,
        tolerance=tolerance,
        credentialed_row=credentialed_row,
    )


def known_modality(name: str) -> str:
    """The vocabulary's spelling of a modality that is written with or without brackets."""
    tag, _ = split_tag(f"<{name.strip().strip('<>')}>")
    if tag not in MODALITIES:
        near = get_close_matches(name.upper(), MODALITIES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(f"modality is {name!r}; accepted: {', '.join(MODALITIES)}{hint}")
    return tag

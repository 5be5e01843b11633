# SPDX-License-Identifier: Apache-2.0
"""Rotates the options of multiple-choice questions, to test for a bias towards a letter (`--shuffle-options`).

Rotation r of a question has option r first. The row's label moves with its option, so that options with equal texts are
handled correctly (medix_verl.choices reads answers by the label). A question is not rotated if the right option is
unknown, if an option refers to others by position or letter ("All of the above", "Both A and B"), or if the question
text lists the options itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_uppercase

from medix_verl.choices import Choices, index_of_label
from medix_verl.evaluation.tasks.pictures import Item
from medix_verl.types import Sample

__all__ = ["ROTATION", "ROTATION_OF", "rotate", "rotations_of"]

ROTATION_OF, ROTATION = "rotation_of", "rotation"
"""Keys of a rotated sample's meta: the original question's id, and the number of places the options are rotated by."""
BY_PLACE = re.compile(
    r"(?i:\b(?:all|none|both|any|neither|either|some|two|each)\b.{0,20}\b(?:above|below|preceding|following)\b)"
    r"|\b(?i:options?|choices?|answers?|both|either|neither|only)\s+\(?[A-J]\)?(?![\w'-])"
    r"|^\W*[A-J](?:\W+(?:(?:and|or)\W+)?[A-J])+\W*$"
)
"""Matches an option that refers to other options by position or letter."""


def rotate(items: Sequence[Item], count: int) -> list[Item]:
    """Every question in its rotations; the first rotation is the question itself.

    Args:
        items: The questions.
        count: Maximum number of rotations for each, evenly spaced; 0 means all.
    """
    return [replace(item, sample=turned) for item in items for turned in rotations_of(item.sample, count)]


def rotations_of(sample: Sample, count: int = 0) -> list[Sample]:
    """A question's rotations; only the question itself if it cannot be rotated."""
    gold = gold_of(sample)
    if gold is None or sample.options is None:
        return [sample]
    # Texts without their letters: an option whose text includes its letter would otherwise get a second one.
    texts, size = Choices.of(sample.options).texts, len(sample.options)
    many = min(count or size, size)
    return [turn(sample, texts, gold, number * size // many) for number in range(many)]


def turn(sample: Sample, texts: tuple[str, ...], gold: int, by: int) -> Sample:
    """The rotation of a question by `by` places."""
    size = len(texts)
    meta = {**sample.meta, "label": ascii_uppercase[(gold - by) % size], ROTATION_OF: sample.id, ROTATION: by}
    name = f"{sample.id}#r{by}" if by else sample.id
    return replace(sample, id=name, options=texts[by:] + texts[:by], answer=texts[gold], meta=meta)


def gold_of(sample: Sample) -> int | None:
    """The index of the right option of a question that can be rotated; else None."""
    options = sample.options or ()
    if not 2 <= len(options) <= len(ascii_uppercase) or any(BY_PLACE.search(option) for option in options):
        return None
    first = re.escape(Choices.of(options).texts[0])
    if re.search(rf"(?<!\w)\(?A\s*[.):]\s*{first}", sample.question):
        return None
    label = sample.meta.get("label")
    if isinstance(label, str):
        place = index_of_label(label)
        return place if place is not None and place < len(options) and options[place] == sample.answer else None
    return options.index(sample.answer) if options.count(sample.answer) == 1 else None

# SPDX-License-Identifier: Apache-2.0
"""Parses the two texts that a reward compares: a ground truth, and a response by the released code's rule.

A ground truth may begin with its modality tag. Only a tag of the closed vocabulary counts: "lesion > 3 cm" and "<5 mm"
are not changed. The tag is read by the parser of responses, so that both sides have the same spelling.

The released rule is for recipe `medix_paper` and for comparisons; training parses responses with medix_verl.response.
White space around `<`, `>` and `/` is dropped first. The answer is the first answer block, or the whole text if there
is none; the format is right if the text from the first thinking tag on is one thinking block followed by one answer
block; the modality is the text before the first thinking tag. Conditions that reject right answers are left out: the
released code rejects answers of one character, answers with `:`, `?` or `__`, and <think> in place of <thinking>.

The rule ignores the prompt: under a chat template that opens the thinking, a response is well formed and has a modality
only if the model writes the opener again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from string import ascii_uppercase

from medix_verl.choices import index_of_label
from medix_verl.errors import DataError
from medix_verl.response import split_tag
from medix_verl.types import MODALITIES, ImageRef, Reference, Response

__all__ = ["parse_ground_truth", "parse_published"]

THINK = re.compile(r"<think(?:ing)?>")
CLOSING = re.compile(r"</think(?:ing)?>")
ANSWER, ANSWER_END = "<answer>", "</answer>"


def parse_ground_truth(
    text: str,
    modality: str | None = None,
    question: str | None = None,
    options: Sequence[str] | None = None,
    synonyms: Sequence[str] = (),
    tolerance: float | None = None,
    credentialed_row: str | None = None,
    label: str | None = None,
    images: Sequence[ImageRef] = (),
) -> Reference:
    """Read one ground truth.

    Args:
        text: The right answer, optionally after a `<TAG>`.
        modality: The modality, if known from elsewhere; overrides the tag.
        question: The question.
        options: The choices, in order.
        synonyms: Other right answers.
        tolerance: Accepted relative error of a quantity.
        credentialed_row: The name of a credentialed row, for messages; None for other rows.
        label: The right option's letter, if the row has it.
        images: The question's pictures, for a judge that receives pictures.

    Raises:
        DataError: The answer is empty, the modality is not in the vocabulary, or no option has the label.
    """
    tag, end = split_tag(text)
    if tag not in MODALITIES:
        tag, end = None, 0
    answer = text[end:].strip()
    if not answer:
        raise DataError(f"the ground truth {text[:60]!r} has no answer; write the right answer behind the tag")
    if label and options and not label_fits(label, len(options)):
        raise DataError(
            f"label is {label!r} and there are {len(options)} options; give the right option's letter, A to "
            f"{ascii_uppercase[len(options) - 1]}, or leave it out"
        )
    return Reference(
        answer=answer,
        modality=known_modality(modality) if modality else tag,
        question=question,
        synonyms=tuple(synonyms),
        options=tuple(options) if options else None,
        label=label or None,
        tolerance=tolerance,
        credentialed_row=credentialed_row,
        images=tuple(images),
    )


def label_fits(label: str, count: int) -> bool:
    """Whether a label is the letter of one of `count` options."""
    index = index_of_label(label)
    return index is not None and index < count


def known_modality(name: str) -> str:
    """The vocabulary's spelling of a modality that is written with or without brackets."""
    tag, _ = split_tag(f"<{name.strip().strip('<>')}>")
    if tag not in MODALITIES:
        near = get_close_matches(name.upper(), MODALITIES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(f"modality is {name!r}; accepted: {', '.join(MODALITIES)}{hint}")
    return tag


def parse_published(text: str) -> Response:
    """Parse a model's whole text as the released reward function does.

    Args:
        text: The generated text.

    Returns:
        The parts; `answer` is None only if nothing is left to judge.
    """
    # In pieces: a regular expression for spaces around a sign backtracks on long runs of spaces.
    clean = "".join(piece.strip() for piece in re.split(r"([<>/])", text))
    opening = THINK.search(clean)
    body = clean[opening.start() :] if opening else ""
    thinking = CLOSING.search(body)
    return Response(
        modality=_modality(clean[: opening.start()] if opening else clean),
        thinking=THINK.sub("", body[: thinking.start()], count=1) if thinking else None,
        answer=_answer(clean) or None,
        well_formed=_is_well_formed(body),
    )


def _answer(clean: str) -> str:
    """Content of the first answer block, or the whole text; without surrounding dots and spaces."""
    start = clean.find(ANSWER)
    end = clean.find(ANSWER_END, start) if start >= 0 else -1
    found = clean[start + len(ANSWER) : end] if end >= 0 else clean
    return found.strip().strip(".").strip()


def _is_well_formed(body: str) -> bool:
    """Whether a text that begins with a thinking tag is one thinking block, white space and one answer block."""
    if not body.endswith(ANSWER_END):
        return False
    # The released expression lets either block contain further tags, so any boundary between the two is accepted.
    return re.search(r"</think(?:ing)?>\s*<answer>", body[: -len(ANSWER_END)]) is not None


def _modality(before: str) -> str | None:
    """The tag before the thinking, in upper case; None if the text there is not exactly one tag."""
    name, end = split_tag(before)
    return name if name is not None and not before[end:].strip() else None

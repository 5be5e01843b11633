# SPDX-License-Identifier: Apache-2.0
"""Reads the two texts that a reward compares: a ground truth, and a response by the released code's rule.

A ground truth may begin with its modality tag. Only a tag of the closed vocabulary is one: "lesion > 3 cm" and "<5 mm"
stay whole. The parser of responses reads the tag, so that both sides of the comparison are spelled alike.

The released rule is for recipe `medix_paper` and for comparisons; training reads responses with medix_verl.response.
White space around `<`, `>` and `/` is dropped first. The answer is the first answer block, or the whole text where
there is none; the format is right when the text from the first thinking tag on is one thinking block and then one
answer block; the modality is all that stands before the first thinking tag. Left out is what refuses right answers: the
released code takes no answer of one character, none with `:`, `?` or `__`, and no <think> for <thinking>.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from medix_verl.errors import DataError
from medix_verl.response import split_tag
from medix_verl.types import MODALITIES, Reference, Response

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


def parse_published(text: str) -> Response:
    """Parse a model's whole text as the released reward function does.

    Args:
        text: What the model generated.

    Returns:
        The parts; `answer` is None only for a text that leaves nothing to judge.
    """
    # Piece by piece: a regular expression for spaces around a sign backtracks on long runs of spaces.
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
    """Content of the first answer block, or everything; without the dots and spaces around it."""
    start = clean.find(ANSWER)
    end = clean.find(ANSWER_END, start) if start >= 0 else -1
    found = clean[start + len(ANSWER) : end] if end >= 0 else clean
    return found.strip().strip(".").strip()


def _is_well_formed(body: str) -> bool:
    """Whether a thinking block, white space and an answer block are all of a text that opens with a thinking tag."""
    if not body.endswith(ANSWER_END):
        return False
    # The released expression lets either block swallow further tags, so any boundary between the two will do.
    return re.search(r"</think(?:ing)?>\s*<answer>", body[: -len(ANSWER_END)]) is not None


def _modality(before: str) -> str | None:
    """The tag that is all of the text before the thinking, in upper case; None for anything else."""
    name, end = split_tag(before)
    return name if name is not None and not before[end:].strip() else None

# SPDX-License-Identifier: Apache-2.0
"""The released code's way to find answer, format and modality, for recipe `medix_paper` and for comparisons.

White space around `<`, `>` and `/` is dropped first. The answer is the first answer block, or the whole text where
there is none; the format is right when the text from the first thinking tag on is one thinking block and then one
answer block; the modality is all that stands before the first thinking tag. Left out is what refuses right answers: the
released code takes no answer of one character, none with `:`, `?` or `__`, and no <think> for <thinking>.
"""

from __future__ import annotations

import re

from medix_verl.response import split_tag
from medix_verl.types import Response

__all__ = ["parse_published"]

THINK = re.compile(r"<think(?:ing)?>")
CLOSING = re.compile(r"</think(?:ing)?>")
ANSWER, ANSWER_END = "<answer>", "</answer>"


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

# SPDX-License-Identifier: Apache-2.0
"""Extracts the inputs of judging from a sample and a model's text: the reference, the candidate, the rubric.

The candidate is the text after the reasoning. A text that consists of reasoning only has no answer and scores 0; the
reasoning itself is never judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medix_verl.credentialed import is_credentialed
from medix_verl.errors import DataError
from medix_verl.response import TAG, mark_of, parse_response, split_tag
from medix_verl.thinking import Thinking
from medix_verl.types import MODALITIES, Reference, Sample

__all__ = ["EXTRACTS", "Criterion", "candidate_of", "criteria_of", "reference_of", "restricted_name"]

EXTRACTS = ("text", "block")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rubric; negative points are for what an answer must not do."""

    text: str
    points: float


def candidate_of(response: str, extract: str = "text", thinking: Thinking = Thinking.NONE) -> str | None:
    """The part of a model's text that is judged; None if it has no answer.

    Args:
        response: The whole text.
        extract: `block`: only the answer block, as in the training reward; `text`: the answer block if there is one,
            else the text after the reasoning, for models that were not prompted for blocks.
        thinking: State of the thinking block at the end of the prompt; with `open`, the response begins inside it.
    """
    answer = parse_response(response, thinking).answer
    if answer is not None or extract == "block":
        return answer
    return visible_text(response, thinking)


def visible_text(response: str, thinking: Thinking = Thinking.NONE) -> str | None:
    """The text after the last closed thinking block and before an unclosed one, without its modality tag."""
    start, end, is_open = 0, len(response), thinking is Thinking.OPEN
    for found in TAG.finditer(response):
        mark, closes = mark_of(found)
        if mark is None:
            continue
        if closes:
            start, end, is_open = found.end(), len(response), False
        elif end == len(response):
            end = found.start()
    if is_open:
        return None
    text = response[start:end].strip()
    tag, start = split_tag(text)
    return (text[start:] if tag in MODALITIES else text).strip() or None


def reference_of(sample: Sample, explained: bool = False) -> Reference:
    """The reference of a sample.

    Args:
        sample: The question.
        explained: Whether the data set's long answer is appended to the short one (PubMedQA).
    """
    answer, long_answer = sample.answer, sample.meta.get("long_answer")
    if explained and isinstance(long_answer, str) and long_answer.strip():
        answer = f"{answer}\n{long_answer.strip()}"
    synonyms, tolerance = sample.meta.get("synonyms") or (), sample.meta.get("tolerance")
    label = sample.meta.get("label")
    return Reference(
        answer=answer,
        modality=sample.modality,
        question=sample.question,
        synonyms=tuple(str(text) for text in synonyms),
        options=sample.options,
        label=label if isinstance(label, str) else None,
        tolerance=None if tolerance is None else float(tolerance),
        credentialed_row=restricted_name(sample),
    )


def restricted_name(sample: Sample) -> str | None:
    """The name of a credentialed sample, for messages; None for other samples."""
    return f"row {sample.id!r} of {sample.data_source}" if is_credentialed(sample.data_source, sample.meta) else None


def criteria_of(sample: Sample) -> tuple[Criterion, ...]:
    """The rubric of a sample, from `meta["rubrics"]`: a list of objects with `criterion` and `points`.

    Raises:
        DataError: There is none, it is malformed, or no criterion has positive points.
    """
    found = sample.meta.get("rubrics")
    if not isinstance(found, (list, tuple)) or not found:
        raise DataError(f"row {sample.id!r} has no rubric; meta.rubrics must be a list of criterion and points")
    criteria = tuple(criterion_of(sample.id, item) for item in found)
    if not any(item.points > 0 for item in criteria):
        raise DataError(f"row {sample.id!r}: no criterion is worth a point; one at least needs points above 0")
    return criteria


def criterion_of(name: str, item: Any) -> Criterion:
    """One criterion of the row `name`."""
    text, points = (item.get("criterion"), item.get("points")) if isinstance(item, dict) else (None, None)
    right = isinstance(points, (int, float)) and not isinstance(points, bool) and abs(points) < float("inf")
    if not isinstance(text, str) or not text.strip() or not right:
        raise DataError(f"row {name!r}: a criterion is {item!r}; it needs a text `criterion` and a number `points`")
    return Criterion(text, float(points or 0))

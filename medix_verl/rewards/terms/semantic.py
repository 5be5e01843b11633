# SPDX-License-Identifier: Apache-2.0
"""Semantic similarity as a term: the cosine of the embeddings of answer and reference, mapped to [0, 1].

An encoder compares words, not truth: "stage II" is close to "stage III". An answer that contradicts the reference in a
closed aspect (medix_verl.embedding.contrast), or is another option of the question, is stopped before the encoder is
called.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from medix_verl.embedding.contrast import contrast
from medix_verl.embedding.curve import worth
from medix_verl.embedding.encoder import Encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError
from medix_verl.judge.rule.equality import equal, meaning
from medix_verl.rewards.term import Answer, Score, Term
from medix_verl.types import Failed, Failure, Reference

__all__ = ["SemanticTerm", "contradiction"]


class SemanticTerm(Term):
    """The value of the cosine; it does not apply if the recipe disables it."""

    name = "semantic"
    tells_right = True

    def __init__(self, spec: SemanticSpec, encoder: Callable[[], Encoder], allow_credentialed: bool = False) -> None:
        """Store a function that returns the encoder; the encoder is built on first use."""
        self.spec = spec
        self.encoder = encoder
        self.allow_credentialed = allow_credentialed

    async def score(self, answer: Answer) -> Score:
        """See Term.

        Raises:
            EncoderError: The model has to be loaded and is not on this machine.
        """
        if not self.spec.enable:
            return None
        if answer.text is None:
            return 0.0
        if answer.decided is not None:
            # A text stopped by a guard is not an answer: "Based on the image," is similar to every reference.
            return float(bool(answer.decided.correct))
        share = self.share(answer.text, answer.reference)
        if share == 0.0:
            return 0.0
        encoder, right = self.encoder(), meaning(answer.reference)
        restricted = answer.reference.credentialed_row is not None and not self.allow_credentialed
        try:
            if encoder.endpoints and restricted:
                similarity = await encoder.compare(answer.text, right, restricted=True)
            else:
                similarity = await encoder.compare(answer.text, right)
        except EncoderError as error:
            return Failed(Failure.INTERNAL, str(error) or type(error).__name__)
        if similarity.value is None:
            return Failed(similarity.failure or Failure.INTERNAL, similarity.reason or "no similarity")
        if not math.isfinite(similarity.value):
            return Failed(Failure.MALFORMED, f"the encoder gave {similarity.value}")
        return share * worth(self.spec, similarity.value)

    def share(self, text: str, reference: Reference) -> float:
        """The factor on the cosine's value: 1, or `contrast_worth` for an answer that contradicts the reference."""
        if self.spec.contrast and contradiction(text, reference) is not None:
            return self.spec.contrast_worth
        return 1.0


def contradiction(text: str, reference: Reference) -> str | None:
    """Why an answer cannot have the meaning of its reference, whatever its cosine.

    Args:
        text: An answer that does not equal the reference.
        reference: The right answer; the answer must contradict it and all its synonyms.

    Returns:
        The difference (`side: left, reference right`; `another option`), or None.
    """
    if is_another_option(text, reference):
        return "another option"
    found = [
        contrast(text, right, reference.question, reference.tolerance or 0.0)
        for right in (meaning(reference), *reference.synonyms)
    ]
    return found[0] if all(found) else None


def is_another_option(text: str, reference: Reference) -> bool:
    """Whether an answer equals one of the wrong options."""
    if not reference.options:
        return False
    # A cache key without what differs between answers or rows, and without pictures, which would be hashed each time.
    asked = Reference(
        reference.answer,
        question=reference.question,
        synonyms=reference.synonyms,
        options=reference.options,
        label=reference.label,
    )
    return any(equal(text, other) for other in other_options(asked))


@lru_cache(maxsize=1024)
def other_options(reference: Reference) -> tuple[Reference, ...]:
    """A reference for each wrong option; empty if the right option cannot be identified."""
    options = reference.options or ()
    wrong = [option for option in options if not equal(option, reference)]
    if len(wrong) == len(options):
        return ()
    return tuple(replace(reference, answer=option, label=None, synonyms=()) for option in wrong)

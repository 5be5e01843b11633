# SPDX-License-Identifier: Apache-2.0
"""Similarity of meaning as a term: the cosine of the embeddings of answer and reference, and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Callable

from medix_verl.embedding.curve import worth
from medix_verl.embedding.encoder import Encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError
from medix_verl.judge.rule.equality import meaning
from medix_verl.rewards.term import Answer, Score, Term
from medix_verl.types import Failed, Failure

__all__ = ["SemanticTerm"]


class SemanticTerm(Term):
    """What the cosine is worth; it does not apply where the recipe has switched it off."""

    name = "semantic"
    tells_right = True

    def __init__(self, spec: SemanticSpec, encoder: Callable[[], Encoder], allow_credentialed: bool = False) -> None:
        """Keep where the encoder comes from; it is built when it is first asked."""
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
        if answer.decided is not None and answer.decided.correct:
            return 1.0
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
        return worth(self.spec, similarity.value)

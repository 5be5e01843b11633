# SPDX-License-Identifier: Apache-2.0
"""The terms that read only the response: whether it is well formed, and whether its modality tag is right."""

from __future__ import annotations

from medix_verl.rewards.term import Answer, Term

__all__ = ["FormatTerm", "ModalityTerm"]


class FormatTerm(Term):
    """1 for a well-formed response, else 0; weighted by `format_weight`, separately from the content."""

    name = "format"
    can_fail = can_be_absent = False

    async def score(self, answer: Answer) -> float:
        """See Term."""
        return 1.0 if answer.response.well_formed else 0.0


class ModalityTerm(Term):
    """1 for the reference's modality tag, else 0; it does not apply without one (a text-only question)."""

    name = "modality"
    can_fail = False

    async def score(self, answer: Answer) -> float | None:
        """See Term."""
        if answer.reference.modality is None:
            return None
        return 1.0 if answer.response.modality == answer.reference.modality else 0.0

# SPDX-License-Identifier: Apache-2.0
"""The reward's arithmetic, pure: each term in [0, 1], and how they combine to a score in [0, 1].

A term that does not apply is None and its weight is shared among the others, so that a perfect answer scores 1
whatever applies.
"""

from __future__ import annotations

from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Reference, Response

__all__ = ["combine", "format_term", "modality_term"]


def format_term(response: Response) -> float:
    """1 for a well-formed response, else 0."""
    return 1.0 if response.well_formed else 0.0


def modality_term(response: Response, reference: Reference) -> float | None:
    """1 for the reference's modality tag, else 0; None for a reference without a modality (a text-only question)."""
    if reference.modality is None:
        return None
    return 1.0 if response.modality == reference.modality else 0.0


def combine(
    spec: RewardSpec, form: float, judge: float | None, semantic: float | None, modality: float | None
) -> float:
    """Weigh the terms.

    Args:
        spec: The weights.
        form: The format term.
        judge: The judge's term; this and the next two are in [0, 1], or None where the term does not apply.
        semantic: The encoder's term.
        modality: The modality term.

    Returns:
        The score in [0, 1]; the format term alone where no term with a weight applies.

    Example:
        Well formed, right by the judge, too far by the encoder, right modality:
        0.9 * (0.575 + 0.05) + 0.1 = 0.6625.
    """
    weights = spec.weights
    pairs = ((weights.judge, judge), (weights.semantic, semantic), (weights.modality, modality))
    applying = [(weight, term) for weight, term in pairs if term is not None and weight > 0]
    largest = max((weight for weight, _ in applying), default=0.0)
    if largest == 0.0:
        return form
    # Divided by the largest first, because a sum of huge weights would overflow to infinity.
    total = sum(weight / largest for weight, _ in applying)
    content = sum(weight / largest * term for weight, term in applying) / total
    # Written as one step from content towards form, so that a perfect answer is 1 exactly.
    return min(1.0, max(0.0, content + spec.format_weight * (form - content)))

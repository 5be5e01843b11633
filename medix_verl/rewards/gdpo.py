# SPDX-License-Identifier: Apache-2.0
"""GDPO's arithmetic (arXiv 2601.05242), pure: each term is normalised within its group before the terms are weighed.

In a plain sum a term with a wide spread drowns one with a narrow spread: two answers that differ in their modality
only are nearly alike beside one that is wrong. Here each term first becomes a z-score within its group, then the terms
are weighed and added, then the whole batch is whitened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medix_verl.rewards.spec import WeightsSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TERMS", "advantages", "contributions"]

TERMS = ("judge", "semantic", "format", "modality")
"""The order in which the terms stand on a response's last tokens; the modality has the very last one."""
APPLIES = {"judge": "judge_ok", "semantic": "semantic_ok", "modality": "modality_applies"}
EPSILON = 1e-6


def contributions(weights: WeightsSpec, format_weight: float, extra: Mapping[str, float]) -> list[float]:
    """What each of TERMS adds to the score of one answer.

    Args:
        weights: The recipe's.
        format_weight: The recipe's.
        extra: The answer's numbers, as medix_verl.rewards.keys.to_verl makes them.

    Returns:
        Four numbers that add up to `extra["score"]`.
    """
    shares = {name: getattr(weights, name) for name, flag in APPLIES.items() if extra.get(flag)}
    largest = max(shares.values(), default=0.0)
    if largest == 0.0:
        return [0.0, 0.0, float(extra["score"]), 0.0]
    total = sum(share / largest for share in shares.values())
    parts = {
        name: (1.0 - format_weight) * (share / largest) / total * float(extra[name]) for name, share in shares.items()
    }
    # The rest, so that rounding leaves the sum what it was.
    parts["format"] = float(extra["score"]) - sum(parts.values())
    return [parts.get(name, 0.0) for name in TERMS]


def advantages(
    parts: np.ndarray, groups: Sequence[object], weights: Sequence[float], tokens: Sequence[int]
) -> np.ndarray:
    """One advantage an answer.

    Args:
        parts: What each term adds to each answer's score, (answers, terms).
        groups: The prompt that each answer belongs to.
        weights: What each term counts after it was normalised.
        tokens: Trained tokens of each answer; an answer without any (verl's padding) counts nowhere.

    Returns:
        (answers,), with mean 0 and variance 1 over all trained tokens; 0 for answers without a token.
    """
    import numpy as np

    counts = np.asarray(tokens, dtype=float)
    weighed = normalise(parts, groups, counts > 0) @ np.asarray(weights, dtype=float)
    if counts.sum() == 0:
        return np.zeros(len(parts))
    mean = (weighed * counts).sum() / counts.sum()
    variance = ((weighed - mean) ** 2 * counts).sum() / counts.sum()
    return np.where(counts > 0, (weighed - mean) / np.sqrt(variance + 1e-8), 0.0)


def normalise(parts: np.ndarray, groups: Sequence[object], real: np.ndarray) -> np.ndarray:
    """z-scores of each term within each group, (answers, terms); 0 where a group has no spread in a term."""
    import numpy as np

    scores = np.zeros(parts.shape, dtype=float)
    rows: dict[object, list[int]] = {}
    for row, group in enumerate(groups):
        if real[row]:
            rows.setdefault(group, []).append(row)
    for members in rows.values():
        if len(members) < 2:
            continue
        block = np.asarray(parts[members], dtype=float)
        spread = block.std(axis=0, ddof=1)
        centred = block - block.mean(axis=0)
        # Below this is float32's rounding of equal numbers, which a division would blow up to a signal.
        scores[members] = np.where(spread > EPSILON, centred / (spread + EPSILON), 0.0)
    return scores

# SPDX-License-Identifier: Apache-2.0
"""GDPO's arithmetic (arXiv 2601.05242), without side effects: normalises each term within its group, then adds them.

In a plain sum a term with a wide spread outweighs one with a narrow spread: two answers that differ only in their
modality have almost the same advantage if a third answer is wrong. Here each term first becomes a z-score within its
group, then the terms are weighted and added, then the whole batch is whitened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medix_verl.errors import ConfigError
from medix_verl.types import TermKeys

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FORM", "Shares", "advantages"]

FORM = "format"
"""The term outside the content; it gets the remainder of the score."""
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Shares:
    """The terms of a recipe, and their contributions to the score of an answer."""

    keys: tuple[TermKeys, ...]
    """Keys of all terms including `format`, in the order of `algorithm.gdpo_reward_weights`."""
    weights: Mapping[str, float]
    """Weights of the content's terms."""
    format_weight: float

    @property
    def names(self) -> tuple[str, ...]:
        """The terms, in order."""
        return tuple(keys.name for keys in self.keys)

    def contributions(self, extra: Mapping[str, float]) -> list[float]:
        """Each term's contribution to the score of one answer.

        Args:
            extra: The answer's numbers, from medix_verl.rewards.keys.to_verl.

        Returns:
            One number for each of `names`; their sum is `extra["score"]`.
        """
        holding = [keys.name for keys in self.keys if keys.flag is None or extra.get(keys.flag)]
        shares = {name: self.weights[name] for name in holding if self.weights.get(name, 0.0) > 0}
        largest = max(shares.values(), default=0.0)
        total = sum(share / largest for share in shares.values())
        parts = {
            name: (1.0 - self.format_weight) * (share / largest) / total * float(extra[name])
            for name, share in shares.items()
        }
        # The remainder, so that rounding does not change the sum.
        parts[FORM] = float(extra["score"]) - sum(parts.values())
        return [parts.get(name, 0.0) for name in self.names]

    def reward_weights(self, given: Sequence[float] | None, built_in: int) -> list[float]:
        """The weight of each normalised term.

        Args:
            given: `algorithm.gdpo_reward_weights`; None gives all terms the weight 1.
            built_in: Number of the package's own terms. If the list has this length, the other terms keep their weights
                in the recipe.

        Raises:
            ConfigError: The number of weights does not match.
        """
        if given is None:
            return [1.0] * len(self.keys)
        if len(given) == built_in:
            return [float(weight) for weight in given] + [self.weights[name] for name in self.names[built_in:]]
        if len(given) != len(self.keys):
            raise ConfigError(
                f"algorithm.gdpo_reward_weights has {len(given)} numbers; give one for each of {', '.join(self.names)}"
            )
        return [float(weight) for weight in given]


def advantages(
    parts: np.ndarray, groups: Sequence[object], weights: Sequence[float], tokens: Sequence[int]
) -> np.ndarray:
    """One advantage per answer.

    Args:
        parts: Contribution of each term to each answer's score, (answers, terms).
        groups: The prompt of each answer.
        weights: Weight of each normalised term.
        tokens: Trained tokens of each answer; an answer without any (verl's padding) is ignored.

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
    """z-scores of each term within each group, (answers, terms); 0 if a group has no spread in a term."""
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
        # Smaller spreads are float32 rounding of equal numbers, which a division would amplify.
        scores[members] = np.where(spread > EPSILON, centred / (spread + EPSILON), 0.0)
    return scores

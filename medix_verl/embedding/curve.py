# SPDX-License-Identifier: Apache-2.0
"""Maps a cosine to a term in [0, 1] (the published step, or a monotonic curve) and calibrates the curve.

A calibration is a logistic regression P(right | cosine) on labelled pairs of texts. It gives `low` and `high` for
`semantic: {mode: soft, curve: logistic}`, which `medix-verl calibrate` prints. Pairs that cannot be compared are an
error, not skipped; a fit with a slope that is not positive is refused too.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from medix_verl.embedding.encoder import Encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import DataError

__all__ = ["Calibration", "Labelled", "cosines_of", "fit", "worth"]

EDGE_LOGIT = math.log(9.0)
"""Log-odds of 0.9; a logistic curve has 0.1 at `low` and 0.9 at `high`."""
FEWEST = 20
CHANCE = 0.05
"""Significance level: the curve must fit better than a constant by a likelihood ratio test."""
RIDGE = 1e-3
"""Ridge penalty on the slope: without it, labels that a threshold separates perfectly have no finite fit."""


def worth(spec: SemanticSpec, cosine: float) -> float:
    """The semantic term of one cosine in [-1, 1].

    Example:
        With low 0.5 and high 0.9, a cosine of 0.8 gives 1 in mode hard (threshold 0.8), 0.75 on the linear curve
        and 0.75 = 1 / (1 + 9 ** -0.5) on the logistic one.
    """
    if spec.mode == "hard":
        return 1.0 if cosine >= spec.threshold else 0.0
    share = (cosine - spec.low) / (spec.high - spec.low)
    if spec.curve == "linear":
        return min(1.0, max(0.0, share))
    logit = EDGE_LOGIT * (2.0 * share - 1.0)
    # Each branch exponentiates a non-positive number, which cannot overflow.
    return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1.0 + math.exp(logit))


@dataclass(frozen=True, slots=True)
class Labelled:
    """One pair and whether a person labelled the candidate right."""

    candidate: str
    reference: str
    label: int
    restricted: bool = False
    """Whether the texts may be sent to local servers only."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted curve and how well it fits."""

    low: float
    """Cosine at which 10 % are right."""
    high: float
    """Cosine at which 90 % are right."""
    pairs: int
    brier: float
    """Mean squared error of the curve's probabilities; 0 is perfect."""
    brier_of_share: float
    """The Brier score of a constant prediction, the share of right pairs: the baseline."""

    def apply(self, spec: SemanticSpec) -> SemanticSpec:
        """The spec with this curve."""
        return replace(spec, mode="soft", curve="logistic", low=self.low, high=self.high)


async def cosines_of(pairs: Sequence[Labelled], encoder: Encoder) -> list[float]:
    """The cosine of each pair.

    Raises:
        DataError: A pair cannot be compared.
    """
    found = await asyncio.gather(*(encoder.compare(pair.candidate, pair.reference, pair.restricted) for pair in pairs))
    for number, similarity in enumerate(found, start=1):
        if similarity.value is None:
            raise DataError(f"pair {number} could not be compared: {similarity.reason}; fix the encoder and try again")
    return [float(item.value) for item in found if item.value is not None]


def fit(cosines: Sequence[float], labels: Sequence[int]) -> Calibration:
    """Logistic regression of the labels on the cosines, with a weak ridge on the slope.

    Raises:
        DataError: Too few pairs, labels of one kind only, identical cosines, or a curve that falls or is no better than
            a constant.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit
    from scipy.stats import chi2

    x, y = np.asarray(cosines, dtype=float), np.asarray(labels, dtype=float)
    if len(x) < FEWEST or len(x) != len(y):
        raise DataError(f"{len(x)} pairs with {len(y)} labels; give at least {FEWEST} labelled pairs")
    if not np.isin(y, (0, 1)).all() or y.min() == y.max():
        raise DataError("the labels are all alike or not 0 and 1; give right (1) and wrong (0) candidates")
    centre, spread = float(x.mean()), float(x.std())
    if spread < 1e-9:
        raise DataError(f"every cosine is {centre:.4g}; give pairs that differ in similarity")
    z = (x - centre) / spread

    def loss(weights: Any) -> tuple[float, Any]:
        """Mean penalised negative log-likelihood of intercept and slope, and its gradient."""
        logits = weights[0] + weights[1] * z
        errors = expit(logits) - y
        value = float(np.mean(np.logaddexp(0, logits) - y * logits)) + RIDGE * float(weights[1]) ** 2 / 2
        return value, np.array([errors.mean(), (errors * z).mean() + RIDGE * weights[1]])

    weights = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    intercept, slope = float(weights[0]), float(weights[1])
    if slope <= 1e-6:
        raise DataError(f"similar pairs are not the right ones (slope {slope:.3g}); check the labels, or the model")
    low, high = ((sign * EDGE_LOGIT - intercept) / slope * spread + centre for sign in (-1, 1))
    curve = SemanticSpec(mode="soft", curve="logistic", low=max(-10.0, low), high=min(10.0, high))
    errors = np.asarray([worth(curve, cosine) for cosine in x]) - y
    share = float(y.mean())
    gain = 2 * len(x) * (-share * math.log(share) - (1 - share) * math.log(1 - share) - loss(weights)[0])
    if chi2.sf(max(gain, 0.0), 1) > CHANCE or (errors**2).mean() >= share * (1 - share):
        raise DataError(
            f"a curve over the cosine is no better than the constant {share:.2f}, the share of right pairs: its Brier "
            f"score is {(errors**2).mean():.4f}, the constant's {share * (1 - share):.4f}; keep mode: hard, or give "
            "more pairs or another model"
        )
    return Calibration(curve.low, curve.high, len(x), float((errors**2).mean()), share * (1 - share))

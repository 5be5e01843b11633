# SPDX-License-Identifier: Apache-2.0
"""What a cosine is worth, as a term in [0, 1]: the published step, or a curve that never falls."""

from __future__ import annotations

import math

from medix_verl.embedding.spec import SemanticSpec

__all__ = ["EDGE_LOGIT", "worth"]

EDGE_LOGIT = math.log(9.0)
"""Log-odds of 0.9; a logistic curve has 0.1 at `low` and 0.9 at `high`."""


def worth(spec: SemanticSpec, cosine: float) -> float:
    """The semantic term of one cosine in [-1, 1].

    Example:
        With low 0.5 and high 0.9, a cosine of 0.8 is worth 1 in mode hard (threshold 0.8), 0.75 on the linear curve
        and 0.75 = 1 / (1 + 9 ** -0.5) on the logistic one.
    """
    if spec.mode == "hard":
        return 1.0 if cosine >= spec.threshold else 0.0
    share = (cosine - spec.low) / (spec.high - spec.low)
    if spec.curve == "linear":
        return min(1.0, max(0.0, share))
    logit = EDGE_LOGIT * (2.0 * share - 1.0)
    # Each branch exponentiates a negative number, which cannot overflow.
    return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1.0 + math.exp(logit))

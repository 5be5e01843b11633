# SPDX-License-Identifier: Apache-2.0
"""The training loop of the demo's own models, before verl trains the policy: AdamW, clipped gradients, one schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

__all__ = ["FitSpec", "fit", "pace", "update"]

SHOWN_EVERY = 60
"""Steps between two progress lines."""


@dataclass(frozen=True, slots=True)
class FitSpec:
    """The length and strength of a supervised phase."""

    steps: int
    batch: int
    """Rows per step."""
    learning_rate: float
    weight_decay: float = 0.0
    rise: int = 10
    """Steps in which the learning rate rises linearly; afterwards it decays to 0 along a half cosine."""
    seed: int = 0
    """Seed of the rows and targets that are drawn."""


def fit(
    model: Any,
    spec: FitSpec,
    loss_of: Callable[[np.random.Generator], Any],
    name: str,
    progress: Callable[[str], None] | None = None,
) -> list[float]:
    """Train all parameters of a module of torch in place.

    Args:
        model: The module; it is in evaluation mode afterwards.
        spec: How long and how strongly.
        loss_of: Draws a batch with the generator and returns its loss.
        name: Name of the phase in progress lines.
        progress: Called with progress lines.

    Returns:
        The loss of every step, before its update.
    """
    import torch

    rng = np.random.default_rng(spec.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: pace(step, spec.steps, spec.rise))
    losses: list[float] = []
    model.train()
    for step in tqdm(range(1, spec.steps + 1), desc=name, unit="step", delay=2.0, disable=None):
        losses.append(update(model, loss_of(rng), optimizer))
        schedule.step()
        if progress is not None and step % SHOWN_EVERY == 0:
            progress(f"{name} step {step} of {spec.steps}, loss {losses[-1]:.3f}")
    model.eval()
    return losses


def update(model: Any, loss: Any, optimizer: Any) -> float:
    """Do one update; returns the loss before it."""
    import torch

    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def pace(step: int, steps: int, rise: int) -> float:
    """Factor of the learning rate: it rises linearly for `rise` steps, then decays to 0 along a half cosine."""
    if step < rise:
        return (step + 1) / rise
    return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1, steps - rise))

# SPDX-License-Identifier: Apache-2.0
"""Writes a RewardBreakdown for its two readers: verl, which averages numbers, and a line of JSON for people."""

from __future__ import annotations

from typing import Any

from medix_verl.types import RewardBreakdown

__all__ = ["FLAGS", "NUMBERS", "to_row", "to_verl"]

NUMBERS = ("score", "acc", "judge", "semantic", "format", "modality")
FLAGS = ("judge_ok", "semantic_ok", "modality_applies", "semantic_applies")


def to_verl(breakdown: RewardBreakdown) -> dict[str, float]:
    """Always the same keys, always floats.

    verl averages each key over all rows of a batch and needs every row to have it. A term that could not be had or
    does not apply is 0.0 with its flag 0.0; our own metrics divide by the flags.
    """
    numbers = {name: getattr(breakdown, name) for name in NUMBERS}
    row = {name: 0.0 if value is None else float(value) for name, value in numbers.items()}
    row.update({name: float(getattr(breakdown, name)) for name in FLAGS})
    return row


def to_row(breakdown: RewardBreakdown) -> dict[str, Any]:
    """One output row of `medix-verl score`, without its id: None where a term could not be had or does not apply."""
    row: dict[str, Any] = {name: getattr(breakdown, name) for name in NUMBERS}
    row.update({name: int(getattr(breakdown, name)) for name in ("judge_ok", "semantic_ok")})
    row["answer"] = breakdown.answer
    return row

# SPDX-License-Identifier: Apache-2.0
"""A score as a flat row of numbers: how it is written for verl and for a line of JSON, and how terms are found in it.

No term is named here. A row says itself which terms it has, by the flags beside them (medix_verl.types.TermKeys).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medix_verl.types import RewardBreakdown, TermKeys

__all__ = ["FLAGS", "to_row", "to_verl"]

FLAGS = ("_ok", "_applies")


def to_verl(breakdown: RewardBreakdown) -> dict[str, float]:
    """Always the same keys for one recipe, always floats.

    verl averages each key over all rows of a batch and needs every row to have it. A term that could not be had or
    does not apply is 0.0 with its flag 0.0; our own metrics divide by the flags.
    """
    numbers = {"score": breakdown.score, "acc": breakdown.acc, **breakdown.terms}
    row = {name: 0.0 if value is None else float(value) for name, value in numbers.items()}
    row.update({keys.ok: float(breakdown.ok(keys.name)) for keys in breakdown.keys if keys.can_fail})
    absent = sorted(keys.name for keys in breakdown.keys if keys.can_be_absent)
    row.update({f"{name}_applies": float(breakdown.applies(name)) for name in absent})
    return row


def to_row(breakdown: RewardBreakdown) -> dict[str, Any]:
    """One output row of `medix-verl score`, without its id: None where a term could not be had or does not apply."""
    row: dict[str, Any] = {"score": breakdown.score, "acc": breakdown.acc, **breakdown.terms}
    row.update({keys.ok: int(breakdown.ok(keys.name)) for keys in breakdown.keys if keys.can_fail})
    row["answer"] = breakdown.answer
    return row

# SPDX-License-Identifier: Apache-2.0
"""MediX-R1 for an unmodified verl: open-ended reinforcement learning for medical multimodal language models.

The front door: parse a model's text, score it, read the itemised score. Every name is loaded when it is first used,
so that importing this package costs nothing and brings in neither torch nor ray, verl or transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medix_verl.response import parse_response
    from medix_verl.rewards.composite import CompositeReward
    from medix_verl.types import Response, RewardBreakdown

__all__ = ["CompositeReward", "Response", "RewardBreakdown", "__version__", "parse_response"]

__version__ = "0.1.0"

HOMES = {
    "CompositeReward": "medix_verl.rewards.composite",
    "Response": "medix_verl.types",
    "RewardBreakdown": "medix_verl.types",
    "parse_response": "medix_verl.response",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'medix_verl' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

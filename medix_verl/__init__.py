# SPDX-License-Identifier: Apache-2.0
"""MediX-R1 for an unmodified verl: open-ended reinforcement learning for medical multimodal language models.

The public API: parse a model's text, score it, read the score by terms; define your own reward term or judge; evaluate
a model. Every name is imported on first use, so importing this package is fast and loads none of torch, ray, verl and
transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medix_verl.embedding.spec import SemanticSpec
    from medix_verl.evaluation.front_door import evaluate
    from medix_verl.judge.judge import Judge, Question
    from medix_verl.judge.spec import JudgeSpec
    from medix_verl.response import parse_response
    from medix_verl.rewards.composite import CompositeReward
    from medix_verl.rewards.spec import RewardSpec
    from medix_verl.rewards.term import Term
    from medix_verl.types import Failed, Failure, Reference, Response, RewardBreakdown, Sample, Verdict

__all__ = [
    "CompositeReward",
    "Failed",
    "Failure",
    "Judge",
    "JudgeSpec",
    "Question",
    "Reference",
    "Response",
    "RewardBreakdown",
    "RewardSpec",
    "Sample",
    "SemanticSpec",
    "Term",
    "Verdict",
    "__version__",
    "evaluate",
    "parse_response",
]

__version__ = "0.1.0"

HOMES = {
    "CompositeReward": "medix_verl.rewards.composite",
    "Judge": "medix_verl.judge.judge",
    "JudgeSpec": "medix_verl.judge.spec",
    "Question": "medix_verl.judge.judge",
    "RewardSpec": "medix_verl.rewards.spec",
    "SemanticSpec": "medix_verl.embedding.spec",
    "Term": "medix_verl.rewards.term",
    "evaluate": "medix_verl.evaluation.front_door",
    "parse_response": "medix_verl.response",
    **dict.fromkeys(
        ("Failed", "Failure", "Reference", "Response", "RewardBreakdown", "Sample", "Verdict"), "medix_verl.types"
    ),
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'medix_verl' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

# SPDX-License-Identifier: Apache-2.0
"""Makes a perfect response to an example question under a model's chat template, and scores it.

The score is that of the real reward, without a call to a server: the answer equals its reference, which decides both
judge and similarity. The user's own terms are left out, because their perfect answer is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from medix_verl.chat_template import PromptEnd, ReplyReader, read_template, refuse_unknown
from medix_verl.response import write_response
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.spec import RewardSpec
from medix_verl.rewards.terms import BUILT_IN
from medix_verl.thinking import NATIVE, Thinking
from medix_verl.types import Reference

__all__ = ["Example", "perfect_response", "try_template"]

QUESTION, ANSWER, MODALITY = "What does the picture show?", "pneumonia", "X_RAY"
THOUGHT = "There is an opacity in the right lower lobe."


@dataclass(frozen=True, slots=True)
class Example:
    """A perfect response and its score."""

    start: str
    """The beginning of the reply in the template."""
    end: PromptEnd
    response: str
    score: float
    below: tuple[str, ...] = ()
    """Terms below 1, each with its value."""


def perfect_response(end: PromptEnd, rule: str = "medix", modality: str | None = MODALITY, answer: str = ANSWER) -> str:
    """A response for which every term is 1.

    Args:
        end: The thinking state at the end of the prompt.
        rule: `reward.medix.rule`. The published one ignores the prompt and requires the complete form.
        modality: The picture's; None for a text-only question.
        answer: The right answer.
    """
    thinking = Thinking.NONE if rule == "published" else end.thinking
    return write_response(THOUGHT, answer, modality, thinking, end.mark or NATIVE)


def try_template(spec: RewardSpec, tokenizer: Any, settings: dict[str, Any]) -> tuple[Example, ...]:
    """Perfect responses under a model's template, with a picture and without: encoded, decoded, and scored.

    Args:
        spec: The recipe's reward section.
        tokenizer: The model's, with its chat template.
        settings: Additional arguments of the template.

    Raises:
        ConfigError: The tokenizer or the template cannot be used; see medix_verl.chat_template.
    """
    start, end = read_template(tokenizer, settings)
    if spec.thinking == "auto":
        refuse_unknown(end)
    reader = ReplyReader(tokenizer, spec.special_tokens)
    own = [name for name in spec.terms if name not in BUILT_IN]
    reward = CompositeReward(replace(spec, terms={**spec.terms, **dict.fromkeys(own)}))
    return tuple(score_example(reward, reader, start, end, modality) for modality in (MODALITY, None))


def score_example(
    reward: CompositeReward, reader: ReplyReader, start: str, end: PromptEnd, modality: str | None
) -> Example:
    """Score one example."""
    response = perfect_response(end, reward.spec.rule, modality)
    ids: Sequence[int] = reader.tokenizer.encode(response, add_special_tokens=False)
    reference = Reference(ANSWER, modality=modality, question=QUESTION)
    found = reward.score_sync(reader.text(ids), reference, reward.thinking(end.thinking))
    below = tuple(f"{name} {value:.4g}" for name, value in found.terms.items() if value is not None and value < 1)
    return Example(start, end, response, found.score or 0.0, below)

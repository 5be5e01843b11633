# SPDX-License-Identifier: Apache-2.0
"""The reward's section of a recipe, frozen and checked: weights, judge, encoder, and when failures stop a run."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.judge.spec import JudgeSpec
from medix_verl.specs import Amount, Choice, Count, Section, Share, spec

__all__ = ["POLICIES", "RULES", "FailureSpec", "RewardSpec", "WeightsSpec"]

RULES = ("medix", "published")
POLICIES = ("drop", "renormalise", "abort")


@spec("weights")
class WeightsSpec(Section):
    """Shares of the three content terms; only their proportions matter, and those that apply are brought to sum 1."""

    judge: Amount = 0.575
    semantic: Amount = 0.375
    modality: Amount = 0.05

    def __post_init__(self) -> None:
        if self.judge + self.semantic + self.modality <= 0:
            raise ConfigError("weights are all 0; set at least one of judge, semantic and modality above 0")


@spec("failure")
class FailureSpec(Section):
    """What becomes of an answer whose judge or encoder failed, and when such answers stop a run."""

    policy: Annotated[str, Choice(POLICIES)] = "drop"
    """`drop`: the answer is unscored and leaves the update; `renormalise`: it is scored over the terms that answered,
    unless neither the judge nor the encoder did; `abort`: the first one stops the run."""
    max_share: Share = 0.5
    """Share of answers with a failure above which the run stops, whatever the policy; 1.0 never stops it."""
    min_count: Count = 32
    """Answers that must have been seen before the share means anything."""
    window: Count = 2048
    """How many of the last answers are looked at."""


@spec("reward", label="{key}")
class RewardSpec(Section):
    """R = (1 - format_weight) * content + format_weight * format, with content the weighted mean of what applies."""

    weights: WeightsSpec = field(default_factory=WeightsSpec)
    format_weight: Share = 0.1
    judge: JudgeSpec = field(default_factory=JudgeSpec)
    semantic: SemanticSpec = field(default_factory=SemanticSpec)
    failure: FailureSpec = field(default_factory=FailureSpec)
    rule: Annotated[str, Choice(RULES)] = "medix"
    """How answer, format and modality are found: `medix` (medix_verl.response), or `published` (rewards.published)."""

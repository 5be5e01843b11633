# SPDX-License-Identifier: Apache-2.0
"""The reward's section of a recipe, frozen and checked: weights, judge, encoder, and when failures stop a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.judge.spec import JudgeSpec
from medix_verl.specs import check_choice, check_integer, check_number, read_mapping

__all__ = ["POLICIES", "RULES", "FailureSpec", "RewardSpec", "WeightsSpec"]

RULES = ("medix", "published")
POLICIES = ("drop", "renormalise", "abort")


@dataclass(frozen=True, slots=True)
class WeightsSpec:
    """Shares of the three content terms; only their proportions matter, and those that apply are brought to sum 1."""

    judge: float = 0.575
    semantic: float = 0.375
    modality: float = 0.05

    def __post_init__(self) -> None:
        for name in ("judge", "semantic", "modality"):
            check_number(f"weights.{name}", getattr(self, name))
        if self.judge + self.semantic + self.modality <= 0:
            raise ConfigError("weights are all 0; set at least one of judge, semantic and modality above 0")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> WeightsSpec:
        """Read a recipe's `weights` section."""
        return read_mapping(cls, mapping, "weights")


@dataclass(frozen=True, slots=True)
class FailureSpec:
    """What becomes of an answer whose judge or encoder failed, and when such answers stop a run."""

    policy: str = "drop"
    """`drop`: the answer is unscored and leaves the update; `renormalise`: it is scored over the terms that answered,
    unless neither the judge nor the encoder did; `abort`: the first one stops the run."""
    max_share: float = 0.5
    """Share of answers with a failure above which the run stops, whatever the policy; 1.0 never stops it."""
    min_count: int = 32
    """Answers that must have been seen before the share means anything."""
    window: int = 2048
    """How many of the last answers are looked at."""

    def __post_init__(self) -> None:
        check_choice("failure.policy", self.policy, POLICIES)
        check_number("failure.max_share", self.max_share, high=1.0)
        check_integer("failure.min_count", self.min_count, low=1)
        check_integer("failure.window", self.window, low=1)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> FailureSpec:
        """Read a recipe's `failure` section."""
        return read_mapping(cls, mapping, "failure")


@dataclass(frozen=True, slots=True)
class RewardSpec:
    """R = (1 - format_weight) * content + format_weight * format, with content the weighted mean of what applies."""

    weights: WeightsSpec = field(default_factory=WeightsSpec)
    format_weight: float = 0.1
    judge: JudgeSpec = field(default_factory=JudgeSpec)
    semantic: SemanticSpec = field(default_factory=SemanticSpec)
    failure: FailureSpec = field(default_factory=FailureSpec)
    rule: str = "medix"
    """How answer, format and modality are found: `medix` (medix_verl.response), or `published` (rewards.published)."""

    def __post_init__(self) -> None:
        check_choice("rule", self.rule, RULES)
        check_number("format_weight", self.format_weight, high=1.0)
        for name, kind in SECTIONS.items():
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be a {kind.__name__}")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RewardSpec:
        """Read a recipe's reward section, with its nested sections; an empty one gives the published rule.

        Raises:
            ConfigError: An unknown key, or a value that is not accepted, in any section.
        """
        return read_mapping(cls, mapping, "reward", SECTIONS)


SECTIONS: dict[str, Any] = {
    "weights": WeightsSpec,
    "judge": JudgeSpec,
    "semantic": SemanticSpec,
    "failure": FailureSpec,
}

# SPDX-License-Identifier: Apache-2.0
"""`trainer.v1.sampler.sampler_kwargs` of a recipe, frozen and checked; what does not go together is refused here.

verl hands a custom sampler nothing but this block, so the recipe's other settings that it needs come with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

from medix_verl.errors import ConfigError
from medix_verl.rewards.groups import COMPARING
from medix_verl.rewards.spec import POLICIES, WeightsSpec
from medix_verl.specs import Amount, Choice, Count, Positive, Section, Share, read_mapping, spec

__all__ = ["ESTIMATOR", "SamplerSpec"]

ESTIMATOR = "medix_gdpo"
COMPOSITES = ("reward", "score")


@spec("trainer.v1.sampler.sampler_kwargs")
class SamplerSpec(Section):
    """`trainer.v1.sampler.sampler_kwargs` of a recipe."""

    n: Count = 1
    """Answers a prompt, `actor_rollout_ref.rollout.n`."""
    val_n: Count = 1
    train_batch_size: Count = 1
    gen_batch_size: Count | None = None
    filter_groups: Mapping[str, Any] | None = None
    """`algorithm.filter_groups`."""
    sync_refill_failed_groups: bool = False
    poll_interval: Amount = 2.0
    """Seconds between two looks at the queue; generation takes multiples of it."""
    max_unscored_share: Share = 0.5
    unscored_min_count: Count = 32
    unscored_window: Count = 2048
    max_refilled_batches: Amount = 40.0
    """Batches of prompts that dynamic sampling may replace in one step; verl asks for two in the place of each."""
    stall_timeout_s: Positive | None = 3600.0
    failure_policy: Annotated[str, Choice(POLICIES)] = field(
        default="drop", metadata={"label": "reward.medix.failure.policy"}
    )
    """`reward.medix.failure.policy`."""
    adv_estimator: str | None = None
    """`algorithm.adv_estimator`."""
    use_kl_in_reward: bool = False
    """`algorithm.use_kl_in_reward`."""
    split_terms: bool = False
    """Whether each term stands on a token of its own, as the estimator `medix_gdpo` needs it."""
    weights: WeightsSpec = field(default_factory=WeightsSpec)
    """`reward.medix.weights`."""
    format_weight: Share = 0.1
    rollout_data_dir: str | None = None
    """`trainer.rollout_data_dir`: where the parts of each score are kept; None keeps none."""

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SamplerSpec:
        """Read the recipe's block.

        Raises:
            ConfigError: an unknown key, a group filter on a composite score, or settings that do not go together.
        """
        from omegaconf import DictConfig, OmegaConf

        plain: Any = OmegaConf.to_container(mapping, resolve=True) if isinstance(mapping, DictConfig) else mapping
        values = dict(plain or {})
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ConfigError(
                f"trainer.v1.sampler.sampler_kwargs has {', '.join(unknown)}; "
                f"accepted are {', '.join(cls.__dataclass_fields__)}"
            )
        return read_mapping(cls, values)

    def __post_init__(self) -> None:
        if self.filter_metric in COMPOSITES:
            raise ConfigError(
                f"algorithm.filter_groups.metric={self.filter_metric} is the composite, on which all-wrong groups are "
                "never equal and so never filtered: type algorithm.filter_groups.metric=acc"
            )
        if self.adv_estimator is not None and self.split_terms != (self.adv_estimator == ESTIMATOR):
            raise ConfigError(
                f"algorithm.adv_estimator={self.adv_estimator} with split_terms={self.split_terms}: the estimator "
                f"{ESTIMATOR} and trainer.v1.sampler.sampler_kwargs.split_terms=true need each other; type "
                "+recipe=medix_gdpo, or set both"
            )
        if self.split_terms and self.failure_policy == "renormalise":
            raise ConfigError(
                f"{ESTIMATOR} would take a term that failed for one that scored 0: type "
                "reward.medix.failure.policy=drop or abort"
            )
        if self.split_terms and self.use_kl_in_reward:
            raise ConfigError(
                f"{ESTIMATOR} cannot tell a KL penalty from the terms: type algorithm.use_kl_in_reward=false"
            )

    @property
    def compares_groups(self) -> bool:
        """Whether an answer is only ever compared with the others to its question."""
        return self.n > 1 and self.adv_estimator in COMPARING

    @property
    def filter_metric(self) -> str | None:
        """The key that DAPO's dynamic sampling compares within a group, or None when it is off."""
        block = self.filter_groups or {}
        return str(block.get("metric")) if block.get("enable") else None

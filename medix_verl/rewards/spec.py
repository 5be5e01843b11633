# SPDX-License-Identifier: Apache-2.0
"""The reward's sections of a recipe: terms and weights, judge, encoder, failures, and the sampler's block.

verl hands a custom sampler nothing but `trainer.v1.sampler.sampler_kwargs`, so the recipe's other settings that it
needs come with it; what does not go together is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Any

from typing_extensions import Self

from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.judge.spec import JudgeSpec
from medix_verl.specs import Amount, Choice, Count, Section, Share, Text, read_mapping, spec

__all__ = ["ESTIMATOR", "POLICIES", "RULES", "FailureSpec", "RewardSpec", "SamplerSpec", "TermSpec", "WeightsSpec"]

RULES = ("medix", "published")
POLICIES = ("drop", "renormalise", "abort")
ESTIMATOR = "medix_gdpo"
COMPOSITES = ("reward", "score")
COMPARING = frozenset({"grpo", "grpo_vectorized", "grpo_passk", "gdpo", ESTIMATOR})
"""Advantage estimators that compare an answer with the other ones of its group, and with nothing else."""


@spec("weights")
class WeightsSpec(Section):
    """Shares of the package's content terms; only their proportions matter: those that apply are brought to sum 1."""

    judge: Amount = 0.575
    semantic: Amount = 0.375
    modality: Amount = 0.05

    def __post_init__(self) -> None:
        if self.judge + self.semantic + self.modality <= 0:
            raise ConfigError("weights are all 0; set at least one of judge, semantic and modality above 0")


@spec("terms.{term}", label="terms.{term}.{key}")
class TermSpec(Section):
    """One entry of `reward.medix.terms`."""

    weight: Amount | None = None
    """Share of the content; None is that of `weights`, for the terms that are there."""
    path: Text | None = None
    """Where the term's class is: `pkg://PACKAGE.MODULE` or a .py file; None for a term of the package, or of an
    installed package's entry point (group `medix_verl.terms`)."""
    name: Text | None = None
    """Name of the class; None is the entry's own key."""
    options: dict[str, Any] = field(default_factory=dict)
    """Every further key of the entry: what the class is called with."""
    term: str = ""
    """The entry's own key, for messages."""

    @classmethod
    def read(cls, term: str, mapping: Any) -> Self:
        """Read the entry of a term; keys that are not known go to `options`.

        Raises:
            ConfigError: It is no mapping, or has a value that is not accepted.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"terms.{term} is {mapping!r}; write it as {{weight: 0.1}}, or null to leave it out")
        known = {key: value for key, value in mapping.items() if key in ("weight", "path", "name")}
        options = {key: value for key, value in mapping.items() if key not in known}
        return read_mapping(cls, {**known, "options": options, "term": term})


@spec("failure")
class FailureSpec(Section):
    """What becomes of an answer of which a term failed, and when such answers stop a run."""

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
    """How answer, format and modality are found: `medix` (medix_verl.response), or `published` (rewards.reading)."""
    terms: dict[str, TermSpec | None] = field(default_factory=dict)
    """Terms of one's own, and what differs for those of the package; None takes one out."""

    def __post_init__(self) -> None:
        if "format" in self.terms:
            raise ConfigError(
                "terms.format has no entry: its weight is format_weight; set format_weight=0 to leave it out"
            )
        for name, entry in self.content.items():
            if entry.weight is None:
                raise ConfigError(f"terms.{name} has no weight; write {name}: {{weight: 0.1}}")
        if not any(entry.weight for entry in self.content.values()):
            raise ConfigError("terms have no weight above 0; set reward.medix.terms.NAME.weight of one of them")

    @property
    def content(self) -> dict[str, TermSpec]:
        """The terms of the content, each with its weight; those of the package first."""
        weights = {name: getattr(self.weights, name) for name in WeightsSpec.__dataclass_fields__}
        entries = {**{name: TermSpec() for name in weights}, **self.terms}
        return {
            name: replace(entry, weight=weights.get(name)) if entry.weight is None else entry
            for name, entry in entries.items()
            if entry is not None
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read a recipe's reward section, with its nested sections; an empty one gives the published rule.

        Raises:
            ConfigError: An unknown key, or a value that is not accepted, in any section.
        """
        return read_mapping(cls, _with_terms(mapping))


@spec("trainer.v1.sampler.sampler_kwargs")
class SamplerSpec(Section):
    """`trainer.v1.sampler.sampler_kwargs` of a recipe."""

    n: Count = 1
    """Answers a prompt, `actor_rollout_ref.rollout.n`."""
    val_n: Count = 1
    train_batch_size: Count = 1
    gen_batch_size: Count | None = None
    filter_groups: dict[str, Any] | None = None
    """`algorithm.filter_groups`."""
    sync_refill_failed_groups: bool = False
    poll_interval: Amount = 2.0
    """Seconds between two looks at the queue; generation takes multiples of it."""
    max_unscored_share: Share = 0.5
    unscored_min_count: Count = 32
    unscored_window: Count = 2048
    max_refilled_batches: Amount = 40.0
    """Batches of prompts that dynamic sampling may replace in one step; verl asks for two in the place of each."""
    stall_timeout_s: Amount | None = 3600.0
    """Seconds without progress after which the run is ended; None or 0 never ends it."""
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
    terms: dict[str, TermSpec | None] = field(default_factory=dict)
    """`reward.medix.terms`."""
    rollout_data_dir: str | None = None
    """`trainer.rollout_data_dir`: where the terms of each score are kept; None keeps none."""

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read the recipe's block.

        Raises:
            ConfigError: An unknown key, a group filter on a composite score, or settings that do not go together.
        """
        from omegaconf import DictConfig, OmegaConf

        plain: Any = OmegaConf.to_container(mapping, resolve=True) if isinstance(mapping, DictConfig) else mapping
        unknown = sorted(set(plain or {}) - set(cls.__dataclass_fields__))
        if unknown:
            raise ConfigError(
                f"trainer.v1.sampler.sampler_kwargs has {', '.join(unknown)}; "
                f"accepted are {', '.join(cls.__dataclass_fields__)}"
            )
        return read_mapping(cls, _with_terms(plain or {}))

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
    def reward(self) -> RewardSpec:
        """The recipe's terms and weights, without its services."""
        return RewardSpec(weights=self.weights, format_weight=self.format_weight, terms=self.terms)

    @property
    def compares_groups(self) -> bool:
        """Whether an answer is only ever compared with the others to its question."""
        return self.n > 1 and self.adv_estimator in COMPARING

    @property
    def filter_metric(self) -> str | None:
        """The key that DAPO's dynamic sampling compares within a group, or None when it is off."""
        block = self.filter_groups or {}
        return str(block.get("metric")) if block.get("enable") else None


def _with_terms(mapping: Any) -> Any:
    """A section whose `terms` are read, entry by entry; `weights` first, because a recipe's entries repeat them."""
    terms = mapping.get("terms") if isinstance(mapping, Mapping) else None
    if terms is None:
        return {k: v for k, v in mapping.items() if k != "terms"} if isinstance(mapping, Mapping) else mapping
    if not isinstance(terms, Mapping):
        raise ConfigError(f"terms is {terms!r}; it must be a mapping of names to {{weight: NUMBER, ...}}")
    if "weights" in mapping:
        WeightsSpec.from_mapping(mapping["weights"])
    read = {name: None if entry is None else TermSpec.read(str(name), entry) for name, entry in terms.items()}
    return {**mapping, "terms": read}

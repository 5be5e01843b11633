# SPDX-License-Identifier: Apache-2.0
"""The reward's sections of a recipe: terms and weights, judge, encoder, failures, and the sampler's section.

verl passes only `trainer.v1.sampler.sampler_kwargs` to a custom sampler, so it also contains the other settings of the
recipe that the sampler needs. Incompatible settings are refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Any

from typing_extensions import Self

from medix_verl.chat_template import SPECIAL_TOKENS
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.judge.spec import JudgeSpec
from medix_verl.specs import Amount, Choice, Count, Section, Share, Text, read_mapping, spec
from medix_verl.thinking import Thinking

__all__ = [
    "ESTIMATOR",
    "MANAGER",
    "POLICIES",
    "RULES",
    "THINKING",
    "FailureSpec",
    "RewardSpec",
    "SamplerSpec",
    "TermSpec",
    "WeightsSpec",
    "unused_function",
]

RULES = ("medix", "published")
THINKING = ("auto", *(state.value for state in Thinking))
POLICIES = ("drop", "renormalise", "abort")
ESTIMATOR = "medix_gdpo"
MANAGER = "pkg://medix_verl.rewards.manager"
"""Module with the reward manager, and with a function that is never called."""
COMPOSITES = ("reward", "score")
COMPARING = frozenset({"grpo", "grpo_vectorized", "grpo_passk", "gdpo", ESTIMATOR})
"""Advantage estimators that only compare an answer with the other answers of its group."""


def unused_function(path: object, name: object) -> str:
    """The error message for a reward function next to MedixRewardManager, which would not call it."""
    return (
        f"reward.custom_reward_function.path={path} would never be called: the score comes from MedixRewardManager; "
        f"make it a term (medix_verl/rewards/README.md) and type +reward.medix.terms.own={{path: {path}, name: {name}, "
        f"weight: 0.1}}, or leave it out"
    )


@spec("weights")
class WeightsSpec(Section):
    """Weights of the package's content terms; only proportions matter: those that apply are normalised to sum 1."""

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
    """Weight in the content; None uses that of `weights`, for the package's terms."""
    path: Text | None = None
    """Location of the term's class: `pkg://PACKAGE.MODULE` or a .py file; None for a term of the package, or an entry
    point of an installed package (group `medix_verl.terms`)."""
    name: Text | None = None
    """Name of the class; None uses the entry's key."""
    options: dict[str, Any] = field(default_factory=dict)
    """All other keys of the entry: arguments of the class."""
    term: str = ""
    """The entry's key, for messages."""

    @classmethod
    def read(cls, term: str, mapping: Any) -> Self:
        """Read the entry of a term; unknown keys go to `options`.

        Raises:
            ConfigError: It is not a mapping, or has an invalid value.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"terms.{term} is {mapping!r}; write it as {{weight: 0.1}}, or null to leave it out")
        known = {key: value for key, value in mapping.items() if key in ("weight", "path", "name")}
        options = {key: value for key, value in mapping.items() if key not in known}
        return read_mapping(cls, {**known, "options": options, "term": term})


@spec("failure")
class FailureSpec(Section):
    """How an answer with a failed term is handled, and when such answers stop a run."""

    policy: Annotated[str, Choice(POLICIES)] = "drop"
    """`drop`: the answer is unscored and left out of the update; `renormalise`: it is scored over the remaining terms,
    unless both the judge and the encoder failed; `abort`: the first failure stops the run."""
    max_share: Share = 0.5
    """Share of failed answers above which the run stops, under every policy; 1.0 never stops it."""
    min_count: Count = 32
    """Answers needed before the share is checked."""
    window: Count = 2048
    """Number of last answers over which the share is computed."""


@spec("reward", label="{key}")
class RewardSpec(Section):
    """R = (1 - format_weight) * content + format_weight * format; content: weighted mean of the terms that apply."""

    weights: WeightsSpec = field(default_factory=WeightsSpec)
    format_weight: Share = 0.1
    judge: JudgeSpec = field(default_factory=JudgeSpec)
    semantic: SemanticSpec = field(default_factory=SemanticSpec)
    failure: FailureSpec = field(default_factory=FailureSpec)
    rule: Annotated[str, Choice(RULES)] = "medix"
    """How answer, format and modality are parsed: `medix` (medix_verl.response), or `published` (rewards.reading)."""
    thinking: Annotated[str, Choice(THINKING)] = "auto"
    """The thinking state of the prompt, which decides how a response begins (medix_verl.thinking): `none`, the response
    contains its own block; `open`, the prompt ends inside the thinking; `closed`, the prompt contains a closed block.
    `auto` reads it from each answer's prompt; without a prompt it is `none`. Not used by the rule `published`."""
    special_tokens: Annotated[str, Choice(SPECIAL_TOKENS)] = "refuse"
    """If a tokenizer has tags of the response as special tokens, which verl drops when decoding: `refuse` stops the run
    before it starts, `keep` decodes them for the reward."""
    terms: dict[str, TermSpec | None] = field(default_factory=dict)
    """The user's terms, and changed settings of the package's terms; None removes a term."""

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
        """The terms of the content with their weights; the package's terms first."""
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
            ConfigError: An unknown key or an invalid value, in any section.
        """
        return read_mapping(cls, _with_terms(mapping))


@spec("trainer.v1.sampler.sampler_kwargs")
class SamplerSpec(Section):
    """`trainer.v1.sampler.sampler_kwargs` of a recipe."""

    n: Count = 1
    """Answers per prompt, `actor_rollout_ref.rollout.n`."""
    val_n: Count = 1
    train_batch_size: Count = 1
    gen_batch_size: Count | None = None
    filter_groups: dict[str, Any] | None = None
    """`algorithm.filter_groups`."""
    sync_refill_failed_groups: bool = False
    poll_interval: Amount = 2.0
    """Seconds between two polls of the queue; generation time is a multiple of it."""
    max_unscored_share: Share = 0.5
    unscored_min_count: Count = 32
    unscored_window: Count = 2048
    max_refilled_batches: Amount = 40.0
    """Batches of prompts that dynamic sampling may replace in one step; verl requests two replacements for each."""
    stall_timeout_s: Amount | None = 3600.0
    """Seconds without progress after which the run is stopped; None or 0 disables it."""
    failure_policy: Annotated[str, Choice(POLICIES)] = field(
        default="drop", metadata={"label": "reward.medix.failure.policy"}
    )
    """`reward.medix.failure.policy`."""
    adv_estimator: str | None = None
    """`algorithm.adv_estimator`."""
    use_kl_in_reward: bool = False
    """`algorithm.use_kl_in_reward`."""
    rule: Annotated[str, Choice(RULES)] = field(default="medix", metadata={"label": "reward.medix.rule"})
    """`reward.medix.rule`."""
    split_terms: bool = False
    """Whether each term is written to its own token, as the estimator `medix_gdpo` requires."""
    weights: WeightsSpec = field(default_factory=WeightsSpec)
    """`reward.medix.weights`."""
    format_weight: Share = 0.1
    terms: dict[str, TermSpec | None] = field(default_factory=dict)
    """`reward.medix.terms`."""
    rollout_data_dir: str | None = None
    """`trainer.rollout_data_dir`: folder for the terms of each score; None writes none."""

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read the recipe's section.

        Raises:
            ConfigError: An unknown key, a group filter on a composite score, or incompatible settings.
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
        if self.split_terms and self.rule == "published":
            raise ConfigError(
                f"reward.medix.rule=published with {ESTIMATOR}: that rule scores texts of any length, and one with "
                "fewer tokens than there are terms ('yes') would have all of its score booked as one term: type "
                "reward.medix.rule=medix, or algorithm.adv_estimator=grpo "
                "trainer.v1.sampler.sampler_kwargs.split_terms=false"
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
        """Whether an answer is only compared with the other answers to its question."""
        return self.n > 1 and self.adv_estimator in COMPARING

    @property
    def filter_metric(self) -> str | None:
        """The key that DAPO's dynamic sampling compares within a group, or None if it is off."""
        block = self.filter_groups or {}
        return str(block.get("metric")) if block.get("enable") else None


def _with_terms(mapping: Any) -> Any:
    """The section with its `terms` read; `weights` is checked first, because a recipe's entries repeat them."""
    terms = mapping.get("terms") if isinstance(mapping, Mapping) else None
    if terms is None:
        return {k: v for k, v in mapping.items() if k != "terms"} if isinstance(mapping, Mapping) else mapping
    if not isinstance(terms, Mapping):
        raise ConfigError(f"terms is {terms!r}; it must be a mapping of names to {{weight: NUMBER, ...}}")
    if "weights" in mapping:
        WeightsSpec.from_mapping(mapping["weights"])
    read = {name: None if entry is None else TermSpec.read(str(name), entry) for name, entry in terms.items()}
    return {**mapping, "terms": read}

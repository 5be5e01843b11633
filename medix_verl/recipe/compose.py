# SPDX-License-Identifier: Apache-2.0
"""Composes recipes with verl's own configuration, and lists the keys that they change and the GPUs that they use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError
from medix_verl.recipe.heads import PPO, SFT, base_of, check_list, trainer_of
from medix_verl.recipe.index import GROUP, VARIABLE, names_of_ours, recipe_heads

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = [
    "Booking",
    "booking",
    "changes",
    "complete",
    "compose_recipes",
    "compose_with_hydra",
    "is_sft",
    "leaves",
    "plain",
    "starter_of",
    "stock_of",
    "typed",
]


PRIMARY = {PPO: "ppo_trainer", SFT: "sft_trainer_engine"}
"""verl's trainer -> its primary configuration."""


@dataclass(frozen=True, slots=True)
class Booking:
    """GPUs per node that a configuration uses."""

    train: int
    """GPUs that train, and also generate unless the trainer is separate_async."""
    judge: int
    generate: int
    """GPUs that only generate (separate_async)."""
    nodes: int
    teach: int = 0
    """GPUs of a teacher (distillation)."""

    @property
    def node(self) -> int:
        """Total GPUs used per node."""
        return self.train + self.judge + self.generate + self.teach

    @property
    def words(self) -> str:
        """The booking as one line of text."""
        teach = f", {self.teach} teach" if self.teach else ""
        return f"{self.nodes} x ({self.train} train, {self.generate} generate, {self.judge} judge{teach})"


def complete(names: Sequence[str]) -> list[str]:
    """The list to compose: before an overlay, or a file without parents, the base recipe of its command is added.

    Raises:
        ConfigError: A name is not a recipe, or the list is refused by heads.check_list.
    """
    heads = recipe_heads()
    for name in names:
        if name not in heads:
            raise ConfigError(f"'{name}' is none of the recipes {', '.join(heads)}; type medix-verl recipe list")
    first = heads[names[0]]
    stands = not first.is_overlay and (first.parents or first.columns)
    listed = list(names) if stands else [base_of(names, heads), *names]
    check_list(listed, heads)
    return listed


def compose_recipes(names: Sequence[str], overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the configuration of verl's trainer as `+recipe=[names]` would, with further overrides.

    Without names, the result is main_ppo's defaults.

    Raises:
        ConfigError: A name or the list is refused, or Hydra cannot compose it.
    """
    words = typed(names)
    try:
        config = _compose([*words, *overrides])
    except ConfigError as error:
        raise ConfigError(f"{','.join(names) or 'verl'} does not compose: {error}") from error
    if GROUP in config:
        raise ConfigError("Hydra does not know the group 'recipe': medix_verl is not installed; type medix-verl doctor")
    return config


def typed(names: Sequence[str]) -> list[str]:
    """The words of a command line that select recipes; empty without names."""
    return [f"+{GROUP}=[{','.join(complete(names))}]"] if names else []


def compose_with_hydra(words: Sequence[str]) -> DictConfig:
    """Compose these words, including Hydra's own section, which a run does not see; raises as compose_recipes."""
    return _compose(words, with_hydra=True)


def _compose(words: Sequence[str], with_hydra: bool = False, trainer: str | None = None) -> DictConfig:
    import verl  # noqa: F401 - registers the recipes
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    heads = recipe_heads()
    asked = trainer or next(filter(None, (trainer_of(name, heads) for name in names_of_ours(words))), PPO)
    if asked not in PRIMARY:
        raise ConfigError(f"a head says `trainer: {asked}`; accepted: {', '.join(PRIMARY)}")
    try:
        with initialize_config_module("verl.trainer.config", version_base=None):
            return compose(PRIMARY[asked], list(words), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{' '.join(str(error).split())}; fix the key named here") from error


def is_sft(config: DictConfig) -> bool:
    """Whether a composed configuration is for verl's SFT trainers."""
    return "actor_rollout_ref" not in config and "engine" in config


def starter_of(config: DictConfig) -> str:
    """The command that starts verl's trainer for a composed configuration, without overrides."""
    if not is_sft(config):
        return f"python -m verl.trainer.{PPO}"
    count = config.trainer.n_gpus_per_node
    alone = count * config.trainer.nnodes == 1
    return f"{'python' if alone else f'torchrun --standalone --nproc-per-node {count}'} -m verl.trainer.{SFT}"


def booking(config: DictConfig) -> Booking:
    """GPUs per node that a composed configuration uses."""
    if is_sft(config):
        return Booking(train=config.trainer.n_gpus_per_node, judge=0, generate=0, nodes=config.trainer.nnodes)
    trainer, judge = config.trainer, config.reward.reward_model
    separate = trainer.v1.trainer_mode == "separate_async"
    return Booking(
        train=trainer.n_gpus_per_node,
        judge=judge.n_gpus_per_node if judge.enable and judge.enable_resource_pool else 0,
        generate=config.actor_rollout_ref.rollout.n_gpus_per_node if separate else 0,
        nodes=trainer.nnodes,
        teach=config.distillation.n_gpus_per_node if config.distillation.enabled else 0,
    )


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a nested mapping -> their values; lists are values."""
    if isinstance(node, dict) and node:
        found: dict[str, Any] = {}
        for key, value in node.items():
            found.update(leaves(value, f"{prefix}.{key}" if prefix else str(key)))
        return found
    return {prefix: node}


def changes(before: DictConfig, after: DictConfig) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ -> (before, after), with unresolved interpolations; a missing key is `None`.

    For a section that is empty on one side only, its keys are listed instead of the section.
    """
    from omegaconf import OmegaConf

    old = leaves(OmegaConf.to_container(before, resolve=False))
    new = leaves(OmegaConf.to_container(after, resolve=False))
    sections = {
        ".".join(parts[:size]) for parts in (key.split(".") for key in (*old, *new)) for size in range(len(parts))
    }
    keys = [key for key in (*new, *(key for key in old if key not in new)) if key not in sections]
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def stock_of(config: DictConfig) -> DictConfig:
    """verl's own configuration for the same trainer and engine. The cached value must not be changed."""
    if is_sft(config):
        return _stock(SFT, f"engine={config.engine.strategy.removesuffix('2')}", os.environ.get(VARIABLE, ""))
    return _stock(PPO, f"model_engine={config.model_engine}", os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=8)
def _stock(trainer: str, engine: str, folders: str) -> DictConfig:
    """Cached by `folders` too: a folder of MEDIX_RECIPES may contain the user's own engine."""
    return _compose([engine], trainer=trainer)


def plain(value: Any) -> str:
    """A value in the syntax of Hydra's command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

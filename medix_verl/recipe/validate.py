# SPDX-License-Identifier: Apache-2.0
"""Lists the errors of a composed configuration that verl would refuse, or that would fail hours later.

Checks by verl: its dataclasses for actor, reference, rollout, judge and algorithm, and its validate_config.
Checks here: batch, group and parallel sizes divide, texts fit, the judge has the GPUs that it needs, and there are no
keys that verl would silently ignore. No model, data or accelerator is needed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from medix_verl.recipe import sft
from medix_verl.recipe.check import Check, caught, first_cause
from medix_verl.recipe.checks.locked import check_locks, compare_locks
from medix_verl.recipe.code import Trust, config_class, foreign_code, foreign_hydra, not_accepted, trust_word
from medix_verl.recipe.compose import booking, changes, compose_recipes, is_sft, stock_of, typed
from medix_verl.recipe.identity import texts
from medix_verl.recipe.index import recipe_heads
from medix_verl.recipe.on_save import on_save_faults, read_on_save
from medix_verl.recipe.own import placed
from medix_verl.recipe.share.installed import changed, with_accepted
from medix_verl.rewards.spec import MANAGER, unused_function

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["LIKE_THE_ACTOR", "check", "faults", "look", "unknown_keys", "untrusted"]

OURS = (
    *("medix", "data.medix", "reward.medix", "trainer.v1.sampler.sampler_kwargs", "ray_kwargs.ray_init"),
    "trainer.checkpoint_callback_class",  # verl 0.9.0 does not have this key; medix.on_save is refused with it
)
READ_BY_VERL = {f"data.{key}" for key in ("image_patch_size", "image_key", "video_key", "shuffle", "seed")}
"""Keys that verl's SFT data set reads but that are not in its configuration."""
OPEN_DICTS = (
    "actor_rollout_ref.actor.fsdp_config.mixed_precision",
    "actor_rollout_ref.model.override_config",
    "model.override_config",
    "data.mm_processor_kwargs",
    *(f"actor_rollout_ref.rollout.engine_kwargs.{engine}" for engine in ("vllm", "sglang", "trtllm")),
    "reward.reward_model.rollout.engine_kwargs",
)
"""Mappings with arbitrary keys."""
SECTIONS = ("actor_rollout_ref.actor", "actor_rollout_ref.rollout", "reward.reward_model.rollout", "algorithm")
"""Sections that verl converts to dataclasses when a run starts; it first rewrites the reference model's, see below."""
LIKE_THE_ACTOR = {
    "log_prob_micro_batch_size": "ppo_micro_batch_size",
    "log_prob_micro_batch_size_per_gpu": "ppo_micro_batch_size_per_gpu",
    "log_prob_use_dynamic_bsz": "use_dynamic_bsz",
    "log_prob_max_token_len_per_gpu": "ppo_max_token_len_per_gpu",
}
"""Keys of the reference model -> the names to which verl changes them (workers/engine_workers.py)."""


def check(word: str, overrides: Sequence[str] = (), trust: Trust = False) -> list[str]:
    """Errors that would stop a run with the recipe in this file, or of this name; empty if it is valid.

    Raises:
        ConfigError: As `look`.
    """
    return look(word, overrides, trust)[0]


def look(word: str, overrides: Sequence[str] = (), trust: Trust = False) -> tuple[list[str], list[Check]]:
    """Errors that would stop a run with the recipe in this file, or of this name, and the checks of its lock.

    Args:
        word: A file, a name, or names separated by commas.
        overrides: Further words of the command line.
        trust: Code named by the recipe that may be loaded; other code is listed and refused.

    Raises:
        ConfigError: There is neither such a file nor such a recipe, or it does not compose.
    """
    from omegaconf import OmegaConf

    with placed(word) as names:
        heads = recipe_heads()
        config = compose_recipes(names, overrides)
        trust = with_accepted(trust, names)
        code = not_accepted(foreign_hydra([*typed(names), *overrides]), trust)
        is_part = all(heads[name].is_part for name in names if name in heads)
        found = [*changed(names), *map(untrusted, code)]
        found += _of_part(config, trust) if is_part else faults(config, trust)
        found += (f"{key}: verl has no such key; fix or remove it" for key in unknown_keys(config))
        data: Any = OmegaConf.to_container(config.data, resolve=False)
        files = [texts(data.get(key)) for key in ("train_files", "val_files")]
        return found, list(check_locks(compare_locks(config, names, overrides), *files))


def _of_part(config: DictConfig, trust: Trust) -> list[str]:
    """Errors of a part of a recipe; verl's checks are skipped, because verl's defaults alone are not a valid run."""
    code = not_accepted(foreign_code(config), trust)
    return [*map(untrusted, code)] or [*_refused_by_us(config)]


def untrusted(line: str) -> str:
    """The error message for a line of medix_verl.recipe.code."""
    return f"it would load code that is neither verl's nor ours: {line}; read it, then type --trust {trust_word(line)}"


def faults(config: DictConfig, trust: Trust = False) -> list[str]:
    """Errors that would stop a run with this configuration, one line each; empty if it is valid.

    Args:
        config: A composed configuration.
        trust: Code that may be loaded in addition to verl's and ours; other code is refused.
    """
    from omegaconf.errors import OmegaConfBaseException

    try:
        code = not_accepted(foreign_code(config), trust)
    except OmegaConfBaseException as error:
        return [f"{first_cause(error)}; fix the reference named here"]
    if is_sft(config):
        return [*map(untrusted, code)] or [*sft.refused_by_verl(config), *sft.sizes(config)]
    if code:
        # verl's checks are skipped: building its dataclasses would call what `_target_` names.
        return [*_function(config), *map(untrusted, code)]
    return [*_refused_by_verl(config), *_refused_by_us(config), *_sizes(config)]


def unknown_keys(config: DictConfig) -> list[str]:
    """Keys that are neither in verl's configuration for the same engine nor in the section's dataclass."""
    stock = stock_of(config)
    return [key for key in changes(stock, config) if not _is_known(key, stock)]


def _is_known(key: str, stock: DictConfig) -> bool:
    from omegaconf import OmegaConf

    if any(f"{key}.".startswith(f"{own}.") for own in (*OURS, *OPEN_DICTS)):
        return True
    if key in READ_BY_VERL and "engine" in stock:
        return True
    parent, _, last = key.rpartition(".")
    block = OmegaConf.select(stock, parent) if parent else stock
    if block is None or not hasattr(block, "keys"):
        return _is_known(parent, stock) if parent else False
    if last in list(block.keys()):
        return True
    kind = block.get("_target_")
    return kind is not None and last in config_class(kind).__dataclass_fields__


def _refused_by_verl(config: DictConfig) -> Iterator[str]:
    from omegaconf import OmegaConf
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    said: list[str] = []
    sections = (*SECTIONS, "distillation") if config.distillation.enabled else SECTIONS
    blocks = {section: OmegaConf.select(config, section) for section in sections}
    for section, block in {**blocks, "actor_rollout_ref.ref": _reference(config)}.items():
        with caught() as found:
            omega_conf_to_dataclass(block)
        said += found
        yield from (f"{section}: {text}" for text in found)
    with caught() as found, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # verl warns that there is no critic, which is intended
        if need_critic(config) and _has_our_sampler(config):
            found.append("verl would train a critic; type algorithm.adv_estimator=grpo")
        validate_config(config, need_reference_policy(config), use_critic=False)
    yield from (text for text in found if text not in said)


def _reference(config: DictConfig) -> DictConfig:
    """The reference model's section as verl passes it to the actor's dataclass."""
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

    with caught() as found:
        plain: Any = OmegaConf.to_container(config.reward.medix, resolve=True)
        CompositeReward(RewardSpec.from_mapping(plain))  # builds the terms, without any request
    yield from found
    yield from _function(config)
    with caught() as found:
        has_callback = find_spec("verl.trainer.ppo.checkpoint_callback") is not None
        found += on_save_faults(config, read_on_save(config), has_callback)
    yield from found
    if _has_our_sampler(config):
        with caught() as found:
            SamplerSpec.from_mapping(config.trainer.v1.sampler.sampler_kwargs)
        yield from found


def _has_our_sampler(config: DictConfig) -> bool:
    """Whether our sampler is used; a user's configuration with only our reward may train a critic."""
    return str(config.trainer.v1.sampler.custom_sampler.path).startswith("pkg://medix_verl.")


def _function(config: DictConfig) -> Iterator[str]:
    """An error if a reward function is set together with our manager, which never calls one."""
    path = config.reward.custom_reward_function.path
    if str(config.reward.reward_manager.module.path) == MANAGER and path not in (None, MANAGER):
        yield unused_function(path, config.reward.custom_reward_function.name)


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
            f"data.train_batch_size={data.train_batch_size} is not a multiple of "
            f"actor.ppo_mini_batch_size={actor.ppo_mini_batch_size}; change one"
        )
    longest = data.max_prompt_length + data.max_response_length
    if rollout.max_model_len is not None and rollout.max_model_len < longest:
        yield f"rollout.max_model_len={rollout.max_model_len} is less than prompt and response, {longest}; raise it"
    limit = actor.ppo_max_token_len_per_gpu * actor.get("ulysses_sequence_parallel_size", 1)
    if actor.use_dynamic_bsz and limit < longest:
        yield f"actor.ppo_max_token_len_per_gpu has room for {limit} tokens, one text may have {longest}; raise it"
    yield from _pools(config)


def _pools(config: DictConfig) -> Iterator[str]:
    rollout, judge, book = config.actor_rollout_ref.rollout, config.reward.reward_model, booking(config)
    tensor = rollout.tensor_model_parallel_size * rollout.data_parallel_size
    for gpus in filter(None, (book.train * book.nodes, book.generate * book.nodes)):
        if gpus % tensor:
            yield f"rollout.tensor_model_parallel_size={tensor} does not divide {gpus} GPUs; change it"
    judges = [config.reward.medix.judge, *(config.reward.medix.judge.get("panel") or ())]
    if any(one.get("kind") == "verl" for one in judges) and not book.judge:
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
    """Data-parallel ranks of a mini-batch; None if the GPUs do not divide into Megatron's parallel sizes."""
    actor, gpus = config.actor_rollout_ref.actor, booking(config).train * config.trainer.nnodes
    if actor.strategy != "megatron":
        return int(gpus // actor.get("ulysses_sequence_parallel_size", 1))
    sizes = actor.megatron
    dense = sizes.tensor_model_parallel_size * sizes.pipeline_model_parallel_size * sizes.context_parallel_size
    tensor = sizes.expert_tensor_parallel_size or sizes.tensor_model_parallel_size
    experts = sizes.expert_model_parallel_size * sizes.pipeline_model_parallel_size * tensor
    return None if gpus % math.lcm(dense, experts) else int(gpus // dense)

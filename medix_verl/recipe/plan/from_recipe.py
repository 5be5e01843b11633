# SPDX-License-Identifier: Apache-2.0
"""Turns a composed recipe into a plan: `medix-verl doctor --recipe R --gpus N --nodes M --gpu-memory G`.

The training GPUs are the GPUs of a node minus those of the judge and those that only generate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medix_verl.errors import ConfigError
from medix_verl.recipe.check import Check
from medix_verl.recipe.code import Trust
from medix_verl.recipe.plan.estimate import Engine, Judge, Plan, Rollout, Training, plan_checks
from medix_verl.recipe.plan.model_sizes import ModelSize, model_size
from medix_verl.recipe.plan.pace import Demand, pace_checks

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from medix_verl.recipe.bench.record import BenchRecord
    from medix_verl.recipe.compose import Booking

__all__ = ["adapter_share", "demand_of", "plan_of", "plan_recipe"]

BYTES = {"fp32": 4, "float32": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2}


def plan_recipe(
    names: Sequence[str],
    gpus: int | None,
    nodes: int | None,
    memory: float,
    overrides: Sequence[str] = (),
    trust: Trust = False,
    records: Sequence[BenchRecord] = (),
    step_s: float | None = None,
) -> Iterator[Check]:
    """Compose the recipe for these nodes and check what fits, and what makes GPUs wait.

    Args:
        names: The recipe and its overlays.
        gpus: GPUs per node; None takes the recipe's number.
        nodes: Number of nodes; None takes the recipe's number.
        memory: GiB of one GPU.
        overrides: Overrides of the recipe, as for a run.
        trust: Code named by the recipe that may be loaded.
        records: Results of `medix-verl bench`; without them and without `step_s`, time is not planned.
        step_s: Time limit in seconds for the answers of one step.

    Raises:
        ConfigError: A number is below 1 or not finite, the recipe does not compose or uses no GPU, or the size of a
            model is unknown.
    """
    from medix_verl.recipe.compose import booking, compose_recipes, is_sft
    from medix_verl.recipe.share.installed import with_accepted
    from medix_verl.recipe.validate import faults

    for flag, value in (("--gpus", gpus), ("--nodes", nodes), ("--gpu-memory", memory), ("--step-seconds", step_s)):
        if value is not None and not 1 <= value < math.inf:
            raise ConfigError(f"{flag} {value}: it must be a number of at least 1; type {flag} 8")
    composed = compose_recipes(names, overrides)
    if is_sft(composed):
        raise ConfigError(
            f"the memory of verl's SFT trainer ({','.join(names)}) is not estimated; leave --gpu-memory out"
        )
    if composed.trainer.device == "cpu":
        raise ConfigError(f"{','.join(names)} trains on the CPU, there are no GPUs to plan; leave --gpu-memory out")
    asked = booking(composed)
    train = asked.train if gpus is None else gpus - asked.judge - asked.generate
    if train < 1:
        found = f"{asked.node} GPUs a node ({asked.judge} judge, {asked.generate} generate), {gpus} are there"
        yield Check("GPUs", "FAIL", found, _fewer(asked))
        return
    words = [f"trainer.n_gpus_per_node={train}", f"trainer.nnodes={nodes or asked.nodes}"]
    config = compose_recipes(names, [*overrides, *words])
    book = booking(config)
    typed = f"{book.nodes} x ({book.train} train, {book.judge} judge, {book.generate} generate)"
    said = faults(config, with_accepted(trust, names))
    todo = "change what is named here" if said else ""
    yield Check("GPUs", "FAIL" if said else "ok", "; ".join([typed, *said]), todo)
    yield from plan_checks(plan_of(config, memory))
    if records or step_s is not None:
        yield from pace_checks(demand_of(config, names, overrides), records, step_s)
    if words != [f"trainer.n_gpus_per_node={asked.train}", f"trainer.nnodes={asked.nodes}"]:
        yield Check("type", "ok", " ".join(words))


def _fewer(asked: Booking) -> str:
    """What to do if no GPU is left for training."""
    todo = ["more GPUs"]
    if asked.judge:
        todo.append("a judge elsewhere (no medix_judge_verl, and reward.medix.judge.url=http://HOST:8085/v1)")
    if asked.generate:
        todo.append("GPUs that train and generate (no medix_async_separate)")
    return ", or ".join(todo)


def plan_of(config: DictConfig, memory: float) -> Plan:
    """The plan of a composed configuration."""
    from medix_verl.recipe.compose import booking

    model, book = model_size(config.actor_rollout_ref.model.path), booking(config)
    semantic = config.reward.medix.semantic
    return Plan(
        model=model,
        gpus=book.train,
        nodes=book.nodes,
        memory=memory,
        engine=_engine(config),
        training=_training(config, model),
        rollout=_rollout(config),
        judge=_judge(config, book.judge),
        encoder=_encoder(semantic),
        encoder_on_gpu=str(semantic.get("device", "cpu")).startswith("cuda"),
    )


def demand_of(config: DictConfig, names: Sequence[str], overrides: Sequence[str] = ()) -> Demand:
    """The load of a run with this configuration on its judge, encoder and rollouts."""
    from medix_verl.recipe.bench.sections import rollout_gpus, settings_of, step_answers
    from medix_verl.recipe.compose import booking

    book = booking(config)
    return Demand(
        answers=step_answers(config),
        gpus={"rollout": rollout_gpus(config), "judge": book.judge * book.nodes},
        settings=settings_of(config),
        waiting_gpus=book.node * book.nodes,
        command=" ".join([f"--recipe {','.join(names)}", *overrides]),
        apart=config.trainer.v1.trainer_mode == "separate_async",
    )


def adapter_share(model: ModelSize, rank: int) -> float:
    """Fraction of trained parameters with adapters of this rank on every linear layer of the language model."""
    if rank <= 0:
        return 1.0
    # Queries and outputs have the model's width, keys and values that of their heads; experts have no adapters.
    narrow = model.kv_heads * model.head_dim
    attention = 2 * (model.hidden + model.hidden) + 2 * (model.hidden + narrow)
    feed_forward = 0 if model.experts else 3 * (model.hidden + model.intermediate)
    return rank * model.layers * (attention + feed_forward) / model.parameters


def _engine(config: DictConfig) -> Engine:
    actor = config.actor_rollout_ref.actor
    if actor.strategy != "megatron":
        sharding = actor.fsdp_config
        return Engine(
            bytes_per_weight=BYTES.get(str(sharding.get("model_dtype", "fp32")), 4),
            offload_weights=sharding.param_offload,
            offload_optimizer=sharding.optimizer_offload,
            whole_gradients=bool(sharding.get("use_no_sync_for_gradient_accumulation", False)),
            stays_on_host=bool(sharding.get("offload_policy", False)),
        )
    sizes = actor.megatron
    return Engine(
        megatron=True,
        bytes_per_weight=2,
        tensor=sizes.tensor_model_parallel_size,
        pipeline=sizes.pipeline_model_parallel_size,
        context=sizes.context_parallel_size,
        expert=sizes.expert_model_parallel_size,
        expert_tensor=sizes.expert_tensor_parallel_size or sizes.tensor_model_parallel_size,
        offload_weights=sizes.param_offload,
        offload_optimizer=sizes.optimizer_offload,
    )


def _training(config: DictConfig, model: ModelSize) -> Training:
    section = config.actor_rollout_ref
    megatron = section.actor.strategy == "megatron"
    changed = section.actor.megatron.override_transformer_config if megatron else {}
    recompute = (
        changed.get("recompute_granularity") == "full" if megatron else section.model.enable_gradient_checkpointing
    )
    rank = section.model.get("lora_rank", 0)
    return Training(
        tokens=_tokens(config, section.actor, "ppo", section.actor.use_dynamic_bsz),
        probability_tokens=_tokens(config, section.rollout, "log_prob", section.rollout.log_prob_use_dynamic_bsz),
        recompute=recompute,
        chunked_logits=bool(section.actor.get("entropy_from_logits_with_chunking", False)),
        adapters=adapter_share(model, rank),
        compiled=bool(section.actor.get("use_torch_compile", True)),
        reference=bool(section.actor.use_kl_loss or config.algorithm.use_kl_in_reward) and rank <= 0,
    )


def _tokens(config: DictConfig, section: DictConfig, prefix: str, dynamic: bool) -> int:
    """Tokens of a micro-batch on one GPU: the token limit, or without dynamic batches its number of longest texts."""
    if dynamic:
        return int(section[f"{prefix}_max_token_len_per_gpu"])
    texts = section[f"{prefix}_micro_batch_size_per_gpu"] or 1  # a missing value is reported by validate.faults
    longest = config.data.max_prompt_length + config.data.max_response_length
    return int(texts * longest // config.actor_rollout_ref.actor.get("ulysses_sequence_parallel_size", 1))


def _rollout(config: DictConfig) -> Rollout:
    rollout = config.actor_rollout_ref.rollout
    return Rollout(
        tensor=rollout.tensor_model_parallel_size,
        share=rollout.gpu_memory_utilization,
        longest=rollout.max_model_len or config.data.max_prompt_length + config.data.max_response_length,
        sleeps=rollout.free_cache_engine,
        apart=config.trainer.v1.trainer_mode == "separate_async" and not config.actor_rollout_ref.hybrid_engine,
    )


def _judge(config: DictConfig, gpus: int) -> Judge | None:
    if not gpus:
        return None
    section = config.reward.reward_model
    return Judge(
        size=model_size(section.model_path),
        gpus=gpus,
        tensor=section.rollout.tensor_model_parallel_size,
        share=section.rollout.gpu_memory_utilization,
        longest=section.rollout.max_model_len,
    )


def _encoder(semantic: DictConfig) -> ModelSize | None:
    here = semantic.get("enable", True) and semantic.get("kind") == "sentence_transformers"
    if not here or str(semantic.model).startswith("package:"):
        return None
    return model_size(semantic.model)

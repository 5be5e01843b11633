# SPDX-License-Identifier: Apache-2.0
"""Estimates the memory of one GPU in each phase of a run: what fits, and what to change where it does not.

The formulas, in bytes, with P parameters, b bytes of a weight, N training GPUs, S tokens of a micro-batch, V the
vocabulary, h the hidden size, L layers:

- FSDP2: weights and gradients P b / N each, Adam 2 P b / N; gathered: 10 bytes for each parameter of a layer (two
  layers in bfloat16, one gradient in bfloat16 and in float32) and 8 for each of embedding and output matrix.
- Megatron: per GPU dense / (TP PP) + experts / (EP ETP PP) parameters; 2 bytes for the weight, 4 for the gradient,
  and 12 for master weight and Adam, which are divided among the data-parallel ranks.
- Activations with recomputation: 2 S h L, and 2 S (8 h + 4 w) for the layer that is recomputed (w: width of the
  feed-forward part); without it, the second term for every layer. The pictures' tower alike, with four patches a token.
- Logits: 8 S V in training (bfloat16, float32, gradient), 6 S V where only probabilities are wanted (two more copies
  for the entropy), 4 and 2 S V where entropy is computed in chunks.
- Key-value cache: 2 x layers x heads / TP x head size x 2 for each token.

They leave out fragmentation and whatever a kernel borrows: `tight` begins at nine tenths of what there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medix_verl.cli.checks import Check
from medix_verl.cli.model_sizes import ModelSize

__all__ = ["GIB", "Engine", "Judge", "Plan", "Rollout", "Training", "plan_checks"]

GIB = 1024**3
CONTEXT_GIB = 1.5
"""CUDA, NCCL and the graphs of a sleeping vLLM."""
WORKSPACE_GIB = 3.0
"""vLLM beside weights and cache: activations of one batch, graphs, sampler."""
TIGHT = 0.9


@dataclass(frozen=True, slots=True)
class Engine:
    """How the weights are divided."""

    megatron: bool = False
    bytes_per_weight: int = 4
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    expert: int = 1
    expert_tensor: int = 1
    offload_weights: bool = True
    offload_optimizer: bool = True


@dataclass(frozen=True, slots=True)
class Training:
    """The actor's update and the passes for probabilities."""

    tokens: int
    """Of a micro-batch on one GPU."""
    probability_tokens: int
    recompute: bool = True
    chunked_logits: bool = False
    adapters: float = 1.0
    """Share of the parameters that are trained: 1.0 without adapters."""
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Rollout:
    """vLLM."""

    tensor: int
    share: float
    """gpu_memory_utilization."""
    longest: int
    """max_model_len, tokens."""
    sleeps: bool = True
    apart: bool = False
    """Whether it has GPUs of its own (separate_async)."""


@dataclass(frozen=True, slots=True)
class Judge:
    """The judge, where verl serves it."""

    size: ModelSize
    gpus: int
    """A node."""
    tensor: int
    share: float
    longest: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One run on one kind of node."""

    model: ModelSize
    gpus: int
    """That train, a node."""
    nodes: int
    memory: float
    """GiB of one GPU."""
    engine: Engine
    training: Training
    rollout: Rollout
    judge: Judge | None = None
    encoder: ModelSize | None = None
    encoder_on_gpu: bool = False

    @property
    def world(self) -> int:
        """GPUs that train."""
        return self.gpus * self.nodes


def plan_checks(plan: Plan) -> Iterator[Check]:
    """One check a phase, each with its parts in GiB; what does not fit FAILs and says what to change."""
    sleeping = CONTEXT_GIB if plan.rollout.sleeps or plan.rollout.apart else plan.rollout.share * plan.memory
    update = {**_states(plan), **_pass(plan, training=True), "others": sleeping}
    yield _phase("update", update, plan.memory, _less_in_update(plan))
    passes = {"weights": _states(plan)["weights"], **_pass(plan, training=False), "others": sleeping}
    yield _phase("probabilities", passes, plan.memory, _PROBABILITIES)
    yield _rollout(plan)
    yield _judge(plan)
    yield _host(plan)


_PROBABILITIES = (
    "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu lower, or "
    "actor_rollout_ref.actor.entropy_from_logits_with_chunking=true"
)


def _less_in_update(plan: Plan) -> str:
    """What makes an update smaller; only what this plan has not got already."""
    if plan.engine.megatron:
        sizes = ["actor_rollout_ref.actor.megatron.tensor_model_parallel_size higher"]
        sizes += ["++medix.expert_parallel higher"] if plan.model.experts else []
        return ", or ".join(["more nodes", *sizes])
    halves = ["++medix.model_dtype=bf16"] if plan.engine.bytes_per_weight > 2 else []
    adapters = ["+recipe=[...,medix_lora]"] if plan.training.adapters == 1.0 else []
    shorter = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu lower"
    return ", or ".join(["more nodes", *halves, shorter, *adapters])


def _states(plan: Plan) -> dict[str, float]:
    """GiB of weights, gradients and optimizer on one GPU, while they are there."""
    model, engine, share = plan.model, plan.engine, plan.training.adapters
    if not engine.megatron:
        weight = model.parameters * engine.bytes_per_weight / plan.world / GIB
        return {"weights": weight, "gradients": weight * share, "Adam": 2 * weight * share}
    dense = (model.parameters - model.expert_parameters) / (engine.tensor * engine.pipeline)
    experts = model.expert_parameters / (engine.expert * engine.expert_tensor * engine.pipeline)
    dense_ranks = plan.world / (engine.tensor * engine.pipeline * engine.context)
    expert_ranks = plan.world / (engine.expert * engine.expert_tensor * engine.pipeline)
    here = dense + experts
    return {
        "weights": 2 * here / GIB,
        "gradients": 4 * here / GIB,
        "Adam": 12 * (dense / dense_ranks + experts / expert_ranks) / GIB,
    }


def _pass(plan: Plan, training: bool) -> dict[str, float]:
    """GiB of one forward pass, and of the backward pass where it trains."""
    model, engine = plan.model, plan.engine
    tokens = plan.training.tokens if training else plan.training.probability_tokens
    parts = engine.tensor * engine.context
    each = 10 if training else 4
    vocabulary = model.vocabulary * (8 if training else 2)
    gathered = 0.0 if engine.megatron else (model.layer * each + vocabulary) / GIB
    layers = model.layers / engine.pipeline
    language = _stack(tokens, model.hidden, model.active_width, layers, training, plan.training.recompute)
    tower = _stack(
        4 * tokens,
        model.vision_hidden,
        model.vision_intermediate,
        model.vision_layers,
        training,
        plan.training.recompute,
    )
    a_logit = (8 if training else 6) - (4 if plan.training.chunked_logits else 0)
    logits = tokens * model.vocab * a_logit / parts
    return {"gathered": gathered, "activations": language / parts / GIB + tower / GIB, "logits": logits / GIB}


def _stack(tokens: int, hidden: int, width: int, layers: float, training: bool, recompute: bool) -> float:
    """Bytes of activations of a stack of layers."""
    if not layers:
        return 0.0
    layer = 2 * tokens * (8 * hidden + 4 * width)
    if not training:
        return layer
    return 2 * tokens * hidden * layers + layer if recompute else layer * layers


def _rollout(plan: Plan) -> Check:
    """Weights and one text must fit into vLLM's share, and what the actor leaves on the GPU beside it."""
    rollout, states = plan.rollout, _states(plan)
    share = rollout.share * plan.memory
    stays = 0.0 if rollout.apart or plan.engine.offload_weights else states["weights"]
    stays += 0.0 if rollout.apart or plan.engine.offload_optimizer else states["Adam"]
    weights = 2 * plan.model.parameters / rollout.tensor / GIB
    cache = share - weights - WORKSPACE_GIB
    each = plan.model.cache_bytes(rollout.tensor) * rollout.longest / GIB
    # Weights come to vLLM while the actor's are on the GPU, before the cache is made.
    syncing = states["weights"] + weights + CONTEXT_GIB
    if not rollout.apart and syncing > plan.memory:
        found = f"sending weights takes {syncing:.1f} of {plan.memory:.0f} GiB"
        return Check("rollout", "FAIL", found, "actor_rollout_ref.rollout.tensor_model_parallel_size higher")
    if stays + share + CONTEXT_GIB > plan.memory:
        found = f"actor {stays:.1f} + vLLM's share {share:.1f} of {plan.memory:.0f} GiB"
        return Check("rollout", "FAIL", found, "actor_rollout_ref.rollout.gpu_memory_utilization lower")
    found = f"weights {weights:.1f} + cache {max(0.0, cache):.1f} of vLLM's {share:.1f} GiB"
    if cache < each:
        todo = "actor_rollout_ref.rollout.gpu_memory_utilization or tensor_model_parallel_size higher"
        return Check("rollout", "FAIL", f"{found}: not one text of {rollout.longest} tokens ({each:.1f} GiB)", todo)
    texts = int(cache / each)
    todo = "actor_rollout_ref.rollout.gpu_memory_utilization higher, else texts wait" if texts < 8 else ""
    return Check(
        "rollout", "warn" if todo else "ok", f"{found}: {texts} texts of {rollout.longest} tokens at once", todo
    )


def _judge(plan: Plan) -> Check:
    judge = plan.judge
    if judge is None:
        return Check("judge", "ok", "none of these GPUs: a server elsewhere, or no model")
    weights = 2 * judge.size.parameters / judge.tensor / GIB
    share = judge.share * plan.memory
    cache = share - weights - WORKSPACE_GIB
    each = judge.size.cache_bytes(judge.tensor) * judge.longest / GIB
    each_has = f"weights {weights:.1f} + cache {max(0.0, cache):.1f} of {share:.1f} GiB"
    found = f"{judge.gpus // judge.tensor} a node, each {each_has}"
    if cache < each:
        todo = "reward.reward_model.rollout.tensor_model_parallel_size higher, or a smaller judge"
        return Check("judge", "FAIL", f"{found}: not one question of {judge.longest} tokens", todo)
    return Check("judge", "ok", f"{found}: {int(cache / each)} questions of {judge.longest} tokens at once")


def _host(plan: Plan) -> Check:
    """What a node keeps in its own memory; not compared, because only the node knows how much it has."""
    states = _states(plan)
    parts = {
        "weights": states["weights"] * plan.gpus if plan.engine.offload_weights else 0.0,
        "Adam": states["Adam"] * plan.gpus if plan.engine.offload_optimizer else 0.0,
        "reference": states["weights"] * plan.gpus if plan.training.reference else 0.0,
    }
    if plan.encoder is not None and not plan.encoder_on_gpu:
        parts["encoder"] = 4 * plan.encoder.parameters / GIB
    listed = " + ".join(f"{name} {value:.1f}" for name, value in parts.items() if value)
    return Check("host memory", "ok", f"{listed or '0'} = {sum(parts.values()):.1f} GiB a node, and Ray's object store")


def _phase(name: str, parts: dict[str, float], memory: float, todo: str) -> Check:
    total = sum(parts.values())
    listed = " + ".join(f"{part} {value:.1f}" for part, value in parts.items() if value >= 0.05)
    found = f"{listed} = {total:.1f} of {memory:.0f} GiB"
    if total > memory:
        return Check(name, "FAIL", found, todo)
    return Check(name, "warn", f"{found}: tight", todo) if total > TIGHT * memory else Check(name, "ok", found)

# SPDX-License-Identifier: Apache-2.0
"""Estimates the memory of one GPU in each phase of a run: whether it fits, and what to change if not.

FSDP2 was measured with torch's FSDPMemTracker: verl 0.9.1 on 8 ranks of fake tensors. The formulas are within 15 % of
it (tests/golden/fsdp_memory.json, tests/unit/recipe/test_plan_tracked.py). In bytes, with P parameters, b bytes per
weight, N training GPUs, S tokens of a micro-batch, V the vocabulary, h the hidden size, L layers, t image patches (four
per token), and w and k the vision tower's hidden size and number of layers:

- Resident: weights and gradients P b / N each, Adam 2 P b / N.
- Saved for the backward pass: 2 S h L + 9 S h of the language model, t (2 w k + 43 w) of the tower; pixels 6144 t.
- The peak of an update is one of four moments, each in addition to the resident memory:
  the loss: everything saved, logits 2 S V (flash-attn works in place; 8 without), the output matrix gathered twice;
  a layer's backward pass: everything saved, its own activations (16 S h, 8 S for each unit of the feed-forward width,
  6 S h for each expert of a token), 10 for each of its parameters (two layers in bfloat16, one gradient in bfloat16
  and in float32), and a tied embedding with its gradient;
  the end: 8 for each parameter of the embedding and of modules wrapped with it;
  the optimizer's step: b for each trained parameter of the shard.
- The pass for log-probabilities keeps no activations. Its peak is the largest of: logits with entropy (6 S V compiled,
  14 S V not, 2 S V with chunks); logits (2 S V) with the output matrix gathered twice; a layer gathered twice with its
  activations; the embedding gathered twice. Modules wrapped with the whole model stay gathered.

Megatron's formulas are derived by hand and were not validated:
- Per GPU dense / (TP PP) + experts / (EP ETP PP) parameters; 2 bytes for the weight, 4 for the gradient, and 12 for
  master weight and Adam, which are divided among the data-parallel ranks. Logits 8 S V in training, 6 without.

Key-value cache: 2 x layers x heads / TP x head size x 2 for each token.

Fragmentation and workspaces of kernels are not included, so `tight` is reported from 90 % of the memory on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medix_verl.recipe.check import Check
from medix_verl.recipe.plan.model_sizes import ModelSize

__all__ = [
    "GIB",
    "Engine",
    "Judge",
    "Plan",
    "Rollout",
    "Training",
    "plan_checks",
    "probability_parts",
    "reference_parts",
    "update_parts",
]

GIB = 1024**3
CONTEXT_GIB = 1.5
"""CUDA, NCCL and the graphs of a sleeping vLLM engine."""
WORKSPACE_GIB = 3.0
"""vLLM's memory in addition to weights and cache: activations of one batch, graphs, sampler."""
TIGHT = 0.9


@dataclass(frozen=True, slots=True)
class Engine:
    """Sharding and offloading of the weights."""

    megatron: bool = False
    bytes_per_weight: int = 4
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    expert: int = 1
    expert_tensor: int = 1
    offload_weights: bool = True
    offload_optimizer: bool = True
    whole_gradients: bool = False
    """use_no_sync_for_gradient_accumulation: every GPU keeps all gradients in float32 between micro-batches."""
    stays_on_host: bool = False
    """FSDP2's offload_policy: weights go to the GPU layer by layer; gradients and optimizer stay on the host."""


@dataclass(frozen=True, slots=True)
class Training:
    """The actor's update and the passes for log-probabilities."""

    tokens: int
    """Tokens of a micro-batch on one GPU."""
    probability_tokens: int
    recompute: bool = True
    chunked_logits: bool = False
    adapters: float = 1.0
    """Fraction of the parameters that are trained: 1.0 without adapters."""
    reference: bool = False
    pictures: int | None = None
    """Image tokens in a micro-batch; None: all tokens, the upper bound for short answers."""
    flash: bool = True
    """Whether flash-attn's cross-entropy is available, as with verl's default attention."""
    compiled: bool = True
    """Whether the entropy is compiled (use_torch_compile)."""

    def pictures_of(self, tokens: int) -> int:
        """Image tokens among `tokens` tokens."""
        return tokens if self.pictures is None else min(self.pictures, tokens)


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
    """Whether rollouts have their own GPUs (separate_async)."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge served by verl."""

    size: ModelSize
    gpus: int
    """GPUs per node."""
    tensor: int
    share: float
    longest: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One run on one kind of node."""

    model: ModelSize
    gpus: int
    """Training GPUs per node."""
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
        """Training GPUs in total."""
        return self.gpus * self.nodes


def plan_checks(plan: Plan) -> Iterator[Check]:
    """One check for each phase, with its parts in GiB; a phase that does not fit FAILs and states what to change."""
    sleeping = CONTEXT_GIB if plan.rollout.sleeps or plan.rollout.apart else plan.rollout.share * plan.memory
    yield _phase("update", {**update_parts(plan), "others": sleeping}, plan.memory, _less_in_update(plan))
    passes = {**probability_parts(plan), "others": sleeping}
    yield _phase("probabilities", passes, plan.memory, _PROBABILITIES)
    if plan.training.reference:
        yield _phase("reference", {**reference_parts(plan), "others": sleeping}, plan.memory, _REFERENCE)
    yield _rollout(plan)
    yield _judge(plan)
    yield _host(plan)


_REFERENCE = "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu lower"
_PROBABILITIES = (
    "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu lower, or "
    "actor_rollout_ref.actor.entropy_from_logits_with_chunking=true"
)


def _less_in_update(plan: Plan) -> str:
    """Settings that reduce the memory of an update, without those already in this plan."""
    if plan.engine.megatron:
        sizes = ["actor_rollout_ref.actor.megatron.tensor_model_parallel_size higher"]
        sizes += ["++medix.expert_parallel higher"] if plan.model.experts else []
        return ", or ".join(["more nodes", *sizes])
    halves = ["++medix.model_dtype=bf16"] if plan.engine.bytes_per_weight > 2 else []
    adapters = ["+recipe=[...,medix_lora]"] if plan.training.adapters == 1.0 else []
    shorter = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu lower"
    host = [] if plan.engine.stays_on_host else ["actor_rollout_ref.actor.fsdp_config.offload_policy=true"]
    return ", or ".join(["more nodes", *halves, shorter, *adapters, *host])


def _states(plan: Plan) -> dict[str, float]:
    """GiB of weights, gradients and optimizer on one GPU while they are loaded."""
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


def _resident(plan: Plan) -> dict[str, float]:
    """The part of the states that is on the GPU in a pass."""
    return dict.fromkeys(_states(plan), 0.0) if plan.engine.stays_on_host else _states(plan)


def update_parts(plan: Plan) -> dict[str, float]:
    """Peak GiB of an update."""
    resident = _resident(plan)
    if plan.engine.megatron:
        return {**resident, **_megatron_pass(plan, training=True)}
    share = plan.training.adapters
    whole = 4 * plan.model.parameters * share / GIB if plan.engine.whole_gradients else 0.0
    step = {"optimizer's step": resident["gradients"]}
    largest = max(*_moments(plan), step, key=lambda parts: sum(parts.values()))
    return {**resident, "whole gradients": whole, **largest}


def probability_parts(plan: Plan) -> dict[str, float]:
    """Peak GiB of the actor's pass for log-probabilities and entropy."""
    weights = {"weights": _resident(plan)["weights"]}
    if plan.engine.megatron:
        return {**weights, **_megatron_pass(plan, training=False)}
    training = plan.training
    a_logit = 2 if training.chunked_logits else 6 if training.compiled else 14
    chunk = min(_CHUNK, training.probability_tokens) * (12 if training.chunked_logits else 0)
    return {**weights, **_largest_without_gradients(plan, a_logit, chunk)}


def reference_parts(plan: Plan) -> dict[str, float]:
    """Peak GiB of the reference model's pass; its weights stay on the host."""
    return _megatron_pass(plan, training=False) if plan.engine.megatron else _largest_without_gradients(plan, 2, 0)


_CHUNK = 2048
"""Tokens of a chunk of the entropy (entropy_from_logits_chunk_size)."""
_SAVED_LAST = 9
"""Bytes per token and hidden unit kept by the last norm and the first embedding."""
_SAVED_OF_PATCH = 43
"""Bytes per patch and hidden unit kept by the position embeddings and mergers of the tower."""
_PIXELS = 6144
"""Bytes of one patch in float32."""
_PATCHES = 4
"""Patches per image token."""


def _moments(plan: Plan) -> list[dict[str, float]]:
    """GiB of an update in addition to the resident memory, at each moment that may be its peak."""
    model, training, tokens = plan.model, plan.training, plan.training.tokens
    patches = _PATCHES * training.pictures_of(tokens) if model.vision else 0
    language, tower = _layer_bytes(model, tokens), _tower_layer_bytes(model, patches)
    saved: float = _SAVED_LAST * tokens * model.hidden + _SAVED_OF_PATCH * patches * model.vision_hidden
    if training.recompute:
        saved += 2 * tokens * model.hidden * model.layers + 2 * patches * model.vision_hidden * model.vision_layers
    else:
        saved += language * model.layers + tower * model.vision_layers
    root, trained = model.root, training.adapters == 1.0
    logits = tokens * model.vocab * (2 if training.flash else 8)
    inputs = _PIXELS * patches
    output = root if model.tied else model.vocab * model.hidden
    # Gradients of adapters are negligible; weights are still gathered.
    of_layer, of_root = (10, 8) if trained else (4, 4)
    held = (4 if trained else 2) * root if model.tied else 0
    own = max(language, tower) if training.recompute else 0
    moments: list[dict[str, float]] = [
        {"gathered": 4 * output, "activations": saved + inputs, "logits": logits},
        {"gathered": of_layer * model.layer + held, "activations": saved + inputs + own},
        {"gathered": of_root * max(root, model.vocab * model.hidden, model.tables), "activations": inputs},
    ]
    return [{name: value / GIB for name, value in parts.items()} for parts in moments]


def _largest_without_gradients(plan: Plan, a_logit: int, chunk: int) -> dict[str, float]:
    """Peak GiB of a pass that keeps no activations: the logits, a layer, or the embedding."""
    model, tokens = plan.model, plan.training.probability_tokens
    patches = _PATCHES * plan.training.pictures_of(tokens) if model.vision else 0
    inputs = _PIXELS * patches
    own = max(_layer_bytes(model, tokens), _tower_layer_bytes(model, patches))
    output = 0 if model.tied else 4 * model.vocab * model.hidden
    moments: list[dict[str, float]] = [
        {"activations": inputs, "logits": (tokens * a_logit + chunk) * model.vocab},
        {"gathered": 2 * model.root + output, "activations": inputs, "logits": 2 * tokens * model.vocab},
        {"gathered": 2 * model.root + 4 * model.layer, "activations": inputs + own},
        {"gathered": 4 * max(model.root, model.vocab * model.hidden, model.tables), "activations": inputs},
    ]
    largest = max(moments, key=lambda parts: sum(parts.values()))
    return {name: value / GIB for name, value in largest.items()}


def _layer_bytes(model: ModelSize, tokens: int) -> float:
    """Bytes of activations of one layer of the language model; experts get copies of their tokens."""
    copies = 3 * model.experts_per_token * model.hidden
    return 2 * tokens * (8 * model.hidden + 4 * model.active_width + copies)


def _tower_layer_bytes(model: ModelSize, patches: int) -> float:
    """Bytes of activations of one layer of the vision tower."""
    return 2 * patches * (8 * model.vision_hidden + 4 * model.vision_intermediate)


def _megatron_pass(plan: Plan, training: bool) -> dict[str, float]:
    """GiB of one forward pass and, in training, of the backward pass."""
    model, engine, recompute = plan.model, plan.engine, plan.training.recompute
    tokens = plan.training.tokens if training else plan.training.probability_tokens
    parts = engine.tensor * engine.context
    patches = _PATCHES * plan.training.pictures_of(tokens)
    language = _stack(
        _layer_bytes(model, tokens), 2 * tokens * model.hidden, model.layers / engine.pipeline, training, recompute
    )
    tower = _stack(
        _tower_layer_bytes(model, patches),
        2 * patches * model.vision_hidden,
        model.vision_layers,
        training,
        recompute,
    )
    a_logit = (8 if training else 6) - (4 if plan.training.chunked_logits else 0)
    logits = tokens * model.vocab * a_logit / parts
    return {"activations": language / parts / GIB + tower / GIB, "logits": logits / GIB}


def _stack(layer: float, kept: float, layers: float, training: bool, recompute: bool) -> float:
    """Bytes of activations of a stack of layers; `kept` is what a recomputed layer keeps."""
    if not layers or not training:
        return layer if layers else 0.0
    return kept * layers + layer if recompute else layer * layers


def _rollout(plan: Plan) -> Check:
    """Weights and one sequence must fit into vLLM's share, and the actor's resident states must fit next to it."""
    rollout, states = plan.rollout, _resident(plan)
    share = rollout.share * plan.memory
    stays = 0.0 if rollout.apart or plan.engine.offload_weights else states["weights"]
    stays += 0.0 if rollout.apart or plan.engine.offload_optimizer else states["Adam"]
    weights = 2 * plan.model.parameters / rollout.tensor / GIB
    cache = share - weights - WORKSPACE_GIB
    each = plan.model.cache_bytes(rollout.tensor) * rollout.longest / GIB
    # Weights are sent to vLLM while the actor's weights are on the GPU, before the cache is allocated.
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
    """Host memory of a node; not compared with a limit, because the node's memory is not known here."""
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

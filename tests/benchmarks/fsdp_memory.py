# SPDX-License-Identifier: Apache-2.0
"""`python tests/benchmarks/fsdp_memory.py [CASE ...] [--out FILE]`: what verl's actor and reference take under FSDP2.

Torch's FSDPMemTracker follows fake tensors through verl 0.9.1's own wrapping (`apply_fsdp2`, its patched forward pass,
its gradient clipping) on rank 0 of 8 of a fake process group; no memory is taken and nothing is computed. The figures
are written to tests/golden/fsdp_memory.json, which `tests/unit/recipe/test_plan_tracked.py` holds the planner to.

What a GPU does otherwise than a fake tensor on the CPU is put in here, and only this:
- attention and cross-entropy are flash-attn's: what they save, and no matrix of tokens by tokens;
- autocast as CUDA's: layer norm, softmax and logsumexp in float32;
- entropy compiled, as verl does by default: one float32 copy of the logits (measured: `--entropy`);
- where tokens of pictures lie is fixed, because a fake tensor has no values.

It sees no fragmentation, no NCCL buffers, no CUDA context, no vLLM, and nothing that a kernel borrows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor._sharding_prop import ShardingPropagator
from torch.testing._internal.distributed.fake_pg import FakeStore

from medix_verl.recipe.plan.model_sizes import ModelSize, known_models

GOLDEN = Path(__file__).parents[1] / "golden" / "fsdp_memory.json"
WORLD = 8
PATCHES = 4
"""Of one token of a picture."""
PIXELS = 3 * 2 * 16 * 16
"""Of one patch."""
LESS = 4
"""Layers of a geometry that is tracked in seconds."""
FEW = 4
"""Tokens of the small picture that verl shows the tower where a batch has none."""
TOWERS = {
    256: {"deepstack_visual_indexes": [1, 2]},
    1024: {"deepstack_visual_indexes": [5, 11, 17]},
    1152: {"deepstack_visual_indexes": [8, 16, 24]},
}
QUERY_HEADS = {"Qwen/Qwen3-VL-2B-Instruct": 16, "small": 8}
"""Of the others: 32."""


@dataclass(frozen=True)
class Case:
    """One phase of one model."""

    model: str
    phase: str
    """update, probabilities (the actor's, with entropy), or reference."""
    tokens: int
    pictures: int = FEW
    """Tokens of pictures among them."""
    dtype: str = "fp32"
    recompute: bool = True
    compiled: bool = True
    flash: bool = True
    """Whether flash-attn's cross-entropy is there; it works in place."""
    world: int = WORLD
    layers: int = 0
    """Of the language model and of the tower, where fewer than all are tracked."""


S2, S8, S30 = "Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-30B-A3B-Thinking"
MODELS = {
    **known_models(),
    "small": ModelSize(
        parameters=28796160,
        hidden=512,
        layers=4,
        kv_heads=4,
        head_dim=64,
        intermediate=1536,
        vocab=8192,
        vision=7819520,
        vision_hidden=256,
        vision_layers=4,
        vision_intermediate=512,
    ),
}
"""The geometries, and one that two ranks of this machine can train."""
CASES = {
    "small-update": Case("small", "update", 4096, 1024, world=2),
    "2b-update": Case(S2, "update", 16896),
    "2b-update-pictures": Case(S2, "update", 16896, 8192),
    "2b-update-short": Case(S2, "update", 4096),
    "2b-update-short-all-kept": Case(S2, "update", 4096, recompute=False),
    "2b-probabilities": Case(S2, "probabilities", 33792, 16384),
    "2b-reference": Case(S2, "reference", 33792, 16384),
    "8b-update": Case(S8, "update", 16896),
    "8b-update-pictures": Case(S8, "update", 16896, 8192),
    "8b-update-bf16": Case(S8, "update", 16896, dtype="bf16"),
    "8b-update-without-flash": Case(S8, "update", 4096, flash=False),
    "8b-probabilities": Case(S8, "probabilities", 33792, 16384),
    "8b-reference": Case(S8, "reference", 33792, 16384),
    **{
        f"{name}-{phase}-{LESS}-layers": Case(model, phase, 8448, 4096, layers=LESS)
        for name, model in (("2b", S2), ("8b", S8), ("30b", S30))
        for phase in ("update", "probabilities", "reference")
    },
    "30b-update": Case(S30, "update", 16896),
    "30b-update-pictures": Case(S30, "update", 16896, 8192),
    "30b-update-bf16": Case(S30, "update", 8448, dtype="bf16"),
    "30b-probabilities": Case(S30, "probabilities", 33792, 16384),
    "30b-reference": Case(S30, "reference", 33792, 16384),
}

ON_TWO_RANKS = {
    "small-update": CASES["small-update"],
    "small-probabilities": Case("small", "probabilities", 4096, 1024, world=2, compiled=False),
}
"""With real tensors: the allocator sees the 4 of 14 bytes a logit that logsumexp takes inside, the tracker does not."""


class FlashAttention(torch.autograd.Function):
    """Saves what flash-attn saves: queries, keys, values, output, and one float32 for each query."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:3], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any) -> tuple[Any, None]:
    """As transformers calls an implementation of attention."""
    return FlashAttention.apply(query, key, value).transpose(1, 2).contiguous(), None


class FlashCrossEntropy(torch.autograd.Function):
    """As flash-attn's with `inplace_backward`, which verl asks for: the gradient overwrites the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Any, labels: Any) -> Any:
        ctx.save_for_backward(logits)
        return logits.new_empty(logits.shape[0], dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return ctx.saved_tensors[0], None


class Peak(FSDPMemTracker):
    """The peak of the whole, by kind; not of each module, which would take minutes. Guesses of shapes are left out."""

    guessing = False

    def _update_peak_stats(self, peak_state: Any) -> None:
        for device, now in self._curr_mem_snap.items():
            if self._peak_mem.get(device, 0) < now["Total"]:
                self._peak_mem[device], self._peak_mem_snap[device] = now["Total"], dict(now)

    def _track(self, reftype: Any, t: torch.Tensor) -> None:
        if not self.guessing:
            super()._track(reftype, t)

    def take(self) -> dict[str, float]:
        """Bytes by kind at the peak since the last call."""
        (found,) = self.get_tracker_snapshot("peak").values()
        for device in self._peak_mem:
            self._peak_mem[device] = 0
        return {str(getattr(kind, "value", kind)): size for kind, size in found.items() if size}


def as_on_a_gpu(real: bool = False) -> None:
    """Replace attention, autocast's choice of float32, DTensor's shape guesses, and the search for picture tokens.

    With `real` tensors attention is the CPU's own.
    """
    import verl.models.transformers.qwen3_vl as verl_qwen
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel
    from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextModel

    if not real:
        ALL_ATTENTION_FUNCTIONS["flash_attention_2"] = attend
    for place, name in ((F, "layer_norm"), (F, "softmax"), (F, "log_softmax"), (torch, "logsumexp")):
        setattr(place, name, in_float32(getattr(place, name)))
    ShardingPropagator._propagate_tensor_meta_non_cached = unseen(ShardingPropagator._propagate_tensor_meta_non_cached)
    verl_qwen._get_input_embeds = embeds
    Qwen3VLTextModel._deepstack_process = Qwen3VLMoeTextModel._deepstack_process = deepstack


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """As CUDA's autocast calls it; the CPU's leaves these in bfloat16."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.is_autocast_enabled("cpu"):
            args = tuple(x.float() if isinstance(x, torch.Tensor) and x.dtype == torch.bfloat16 else x for x in args)
        return function(*args, **kwargs)

    return call


def unseen(function: Callable[..., Any]) -> Callable[..., Any]:
    """DTensor asks for shapes with fake tensors of its own, whole ones: in our fake mode they would be counted."""

    def call(*args: Any, **kwargs: Any) -> Any:
        before, Peak.guessing = Peak.guessing, True
        try:
            return function(*args, **kwargs)
        finally:
            Peak.guessing = before

    return call


def embeds(model: Any, input_ids: Any, attention_mask: Any = None, pixel_values: Any = None, *_: Any) -> dict[str, Any]:
    """verl's `_get_input_embeds`, with the same tensors, where the tokens of pictures come first."""
    from verl.utils.transformers_compat import unpack_visual_output

    words = model.get_input_embeddings()(input_ids)
    patches = len(pixel_values)
    grid = {
        "bilinear_indices": torch.zeros(4, patches, dtype=torch.long),
        "bilinear_weights": torch.zeros(4, patches),
        "position_ids": torch.zeros(patches, 2, dtype=torch.long),
        "cu_seqlens": torch.tensor([0, patches], dtype=torch.int32),
    }
    pixels = pixel_values.type(model.visual.dtype)
    pictures, deep = unpack_visual_output(model.visual(pixels, grid_thw=torch.zeros(1, 3, dtype=torch.long), **grid))
    mask = (input_ids == 1).unsqueeze(-1).expand_as(words)
    words = words.masked_scatter(mask, pictures.to(words.dtype))
    found = {"visual_pos_masks": mask[..., 0], "deepstack_visual_embeds": deep}
    return {"inputs_embeds": words, "attention_mask": None, **found}


def deepstack(self: Any, hidden: Any, mask: Any, visual: Any) -> Any:
    """transformers' `_deepstack_process`, where the tokens of pictures come first."""
    count = len(visual)
    hidden = hidden.clone()
    hidden[:, :count, :] = hidden[:, :count, :] + visual.to(hidden.dtype)
    return hidden


def build(name: str, dtype: torch.dtype, recompute: bool, attention: str, layers: int = 0) -> Any:
    """The model of a geometry as verl builds it."""
    from transformers import (
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLMoeConfig,
        Qwen3VLMoeForConditionalGeneration,
    )
    from transformers.initialization import no_init_weights

    size = MODELS[name]
    heads = QUERY_HEADS.get(name, 32)
    text = {"hidden_size": size.hidden, "num_hidden_layers": layers or size.layers, "num_attention_heads": heads}
    text |= {"num_key_value_heads": size.kv_heads, "head_dim": size.head_dim, "vocab_size": size.vocab}
    experts = {"num_experts": size.experts, "num_experts_per_tok": size.experts_per_token}
    text |= {**experts, "moe_intermediate_size": size.intermediate} if size.experts else {}
    text |= {} if size.experts else {"intermediate_size": size.intermediate}
    tower: dict[str, Any] = {"hidden_size": size.vision_hidden, "depth": layers or size.vision_layers, "num_heads": 16}
    tower |= {"intermediate_size": size.vision_intermediate, "out_hidden_size": size.hidden}
    tower |= {"deepstack_visual_indexes": [0, 1, 2]} if layers else TOWERS[size.vision_hidden]
    kind, of = (Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration) if size.experts else (
        Qwen3VLConfig, Qwen3VLForConditionalGeneration
    )  # fmt: skip
    config = kind(text_config=text, vision_config=tower, tie_word_embeddings=size.tied)
    config._attn_implementation = "eager"
    torch.set_default_dtype(dtype)
    with no_init_weights():
        model = of(config)
    torch.set_default_dtype(torch.float32)
    model.tie_weights()
    counted = sum(parameter.numel() for parameter in model.parameters())
    if counted != size.parameters and not layers:
        raise SystemExit(f"{name} has {counted} parameters here, {size.parameters} in models.json")
    for part in (config, config.text_config, config.vision_config):
        part._attn_implementation_internal = attention
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def wrapped(case: Case, mesh: Any, attention: str = "flash_attention_2") -> Any:
    """The model as verl's engine has it: patched and sharded."""
    from verl.models.transformers.monkey_patch import apply_monkey_patch
    from verl.utils.fsdp_utils import apply_fsdp2

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[case.dtype]
    model = build(case.model, dtype, case.recompute, attention, case.layers)
    apply_monkey_patch(model, use_remove_padding=True, use_fused_kernels=False)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=True)
    apply_fsdp2(model, {"mesh": mesh, "mp_policy": policy, "offload_policy": None, "reshard_after_forward": True}, {})
    return model.train(case.phase == "update")


def inputs_of(case: Case) -> tuple[dict[str, Any], Any]:
    """One micro-batch, and its labels."""
    ids = torch.zeros(1, case.tokens, dtype=torch.long)
    ids[:, : case.pictures] = 1
    position = torch.arange(case.tokens).expand(4, 1, -1).contiguous()
    pixels = torch.zeros(PATCHES * case.pictures, PIXELS)
    return {"input_ids": ids, "position_ids": position, "pixel_values": pixels}, ids[0].clone()


def measure(case: Case) -> dict[str, Any]:
    """Peaks of one case, in bytes by kind: of forward and backward pass, and of the optimizer's step."""
    from verl.utils.fsdp_utils import fsdp2_clip_grad_norm_

    as_on_a_gpu()
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=case.world)
    mesh = init_device_mesh("cpu", (case.world,), mesh_dim_names=("fsdp",))
    found: dict[str, Any] = {}
    with FakeTensorMode():
        model = wrapped(case, mesh)
        found["parameters"] = {
            "all": sum(parameter.numel() for parameter in model.parameters()),
            "vision": sum(parameter.numel() for parameter in model.model.visual.parameters()),
        }
        optimizer = with_states(model) if case.phase == "update" else None
        inputs, labels = inputs_of(case)
        tracker = Peak(model, optimizer)
        tracker.track_inputs((inputs, labels))
        with tracker:
            tracker.take()
            one_pass(case, model, inputs, labels)
            found["pass"] = tracker.take()
            if optimizer is not None:
                fsdp2_clip_grad_norm_(model.parameters(), max_norm=1.0)
                optimizer.step()
                found["step"] = tracker.take()
    dist.destroy_process_group()
    return found


def one_pass(case: Case, model: Any, inputs: dict[str, Any], labels: Any) -> None:
    """Forward, and backward where it trains."""
    with torch.set_grad_enabled(case.phase == "update"):
        loss = forward(case, model, inputs, labels)
        if case.phase == "update":
            loss.mean().backward()


def measure_real(case: Case) -> dict[str, Any]:
    """The same with real tensors, as one rank of a real group over gloo: what the CPU's allocator gave out, in bytes.

    Run by `torchrun`, which sets RANK and WORLD_SIZE.
    """
    from torch.profiler import ProfilerActivity, profile

    as_on_a_gpu(real=True)
    dist.init_process_group("gloo")
    model = wrapped(case, init_device_mesh("cpu", (case.world,), mesh_dim_names=("fsdp",)), "sdpa")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.to_local().normal_(std=0.02)
    optimizer = with_states(model) if case.phase == "update" else None
    inputs, labels = inputs_of(case)
    one_pass(case, model, inputs, labels)  # what is made once is no part of it
    before = [*inputs.values(), labels, *held_by(model, optimizer)]
    now = most = sum(tensor.numel() * tensor.element_size() for tensor in before)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        one_pass(case, model, inputs, labels)
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    dist.destroy_process_group()
    return {"pass": {"Total": most}}


def held_by(model: Any, optimizer: Any) -> list[Any]:
    """What a rank holds between passes: its shards of weights, gradients and Adam's states."""
    shards = [parameter.to_local() for parameter in model.parameters()]
    shards += [parameter.grad.to_local() for parameter in model.parameters() if parameter.grad is not None]
    states = [] if optimizer is None else [state for each in optimizer.state.values() for state in each.values()]
    return shards + [state.to_local() for state in states if hasattr(state, "to_local")]


def with_states(model: Any) -> Any:
    """verl's AdamW as in the middle of a batch: it has its states, and there are gradients of earlier micro-batches."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, foreach=True)  # CUDA's default
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer


def forward(case: Case, model: Any, inputs: dict[str, Any], labels: Any) -> Any:
    """verl's `forward_step`: log-probabilities, and entropy where the trainer asks for it."""
    from verl.utils import torch_functional as verl_functional

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(**inputs, attention_mask=None, use_cache=False).logits.squeeze(0)
        if case.phase == "probabilities" and case.compiled:
            logits.float()
        elif case.phase == "probabilities":
            verl_functional.entropy_from_logits(logits)
        if case.flash:
            return FlashCrossEntropy.apply(logits, labels)
        return verl_functional.logprobs_from_logits(logits, labels)


def entropy_bytes() -> dict[str, float]:
    """Bytes for each logit that verl's entropy takes beyond the bfloat16 logits, under CUDA's autocast, for real."""
    from torch.profiler import ProfilerActivity, profile
    from verl.utils import torch_functional as verl_functional

    for place, name in ((F, "softmax"), (torch, "logsumexp")):
        setattr(place, name, in_float32(getattr(place, name)))
    logits = torch.randn(256, 151936).bfloat16()

    def peak(function: Callable[..., Any]) -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            function(logits)
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
                function(logits)
        now = most = 0
        for event in profiled.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                most = max(most, now)
        return round(most / logits.numel(), 2)

    eager = verl_functional.entropy_from_logits
    return {"eager": peak(eager), "compiled": peak(torch.compile(eager, dynamic=True))}


def main() -> None:
    """Measure each case in a process of its own, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all ({', '.join(CASES)})")
    parser.add_argument("--out", type=Path, default=GOLDEN)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cases at once")
    parser.add_argument("--one", action="store_true", help="measure one case here and print it")
    parser.add_argument("--real", action="store_true", help="with --one, under torchrun: with real tensors over gloo")
    parser.add_argument("--entropy", action="store_true", help="measure verl's entropy, eager and compiled")
    args = parser.parse_args()
    if args.entropy:
        print(json.dumps(entropy_bytes()))
    elif args.one:
        name = args.cases[0]
        print(json.dumps(measure_real(ON_TWO_RANKS[name]) if args.real else measure(CASES[name])))
    else:
        measure_all(args.cases or list(CASES), args.out, args.jobs)


def measure_all(names: Sequence[str], out: Path, jobs: int) -> None:
    """Measure each case in a process of its own, which begins with what is imported here."""
    load()
    known = json.loads(out.read_text()) if out.exists() else {"cases": {}}
    known["models"] = {"small": asdict(MODELS["small"])}
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        for name, sizes in pool.imap_unordered(measure_named, names, chunksize=1):
            counts = sizes.pop("parameters")
            known["cases"][name] = {**asdict(CASES[name]), "parameters": counts, "bytes": sizes}
            peaks = {phase: f"{kinds['Total'] / 2**30:.2f} GiB" for phase, kinds in sizes.items()}
            print(name, peaks, flush=True)
            known["cases"] = {case: known["cases"][case] for case in CASES if case in known["cases"]}
            out.write_text(json.dumps(known, indent=1) + "\n")


def load() -> None:
    """Import once what takes seconds."""
    import verl.models.transformers.monkey_patch
    import verl.models.transformers.qwen3_vl
    import verl.utils.fsdp_utils
    import verl.utils.torch_functional  # noqa: F401
    from transformers import Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration  # noqa: F401


def measure_named(name: str) -> tuple[str, dict[str, Any]]:
    """A case by its name, and its figures."""
    return name, measure(CASES[name])


if __name__ == "__main__":
    main()

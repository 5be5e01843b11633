# SPDX-License-Identifier: Apache-2.0
"""`python two_ranks.py OUT MODEL [ROWS]`: one update of verl's own FSDP2 engine on a fixed batch, as rank RANK.

The batch is the same whatever the number of ranks (WORLD_SIZE); each takes its share of the rows. Rank 0 writes the
gradient of every parameter, its value after the update, and the gradient's norm. No Ray and no vLLM: the answers are
fixed, so that the gradients of different numbers of ranks can be compared.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

import torch
import verl  # noqa: F401 - loads the plugin, which brings the CPU platform
from hydra import compose, initialize_config_module
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.distributed import initialize_global_process_group_ray
from verl.workers.engine import EngineRegistry
from verl.workers.utils.losses import ppo_loss

PROMPTS = (5, 9, 4, 7, 6, 8, 5, 10)
RESPONSES = (3, 6, 8, 4, 7, 5, 9, 2)
"""Tokens of each row: unequal, so that ranks get unequal shares and a mean of means would show."""
PICTURE = (3, 6, 6, 6, 6, 4)
"""The demo's tokens of a picture of four patches by four; every second row begins with one."""


def batch(rows: range) -> TensorDict:
    """Rows of the fixed batch as the trainer hands them to the engine (no padding, ragged)."""
    generator = torch.Generator().manual_seed(7)
    every: dict[str, list[torch.Tensor]] = {}
    pictures: list[dict[str, torch.Tensor]] = []
    for number, (words, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids = torch.randint(10, 500, (words + response,), generator=generator)
        pixels = torch.randn(16, 1536, generator=generator)
        pictures.append({} if number % 2 else {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 4, 4]])})
        ids = ids if number % 2 else torch.cat([torch.tensor(PICTURE), ids])
        prompt = len(ids) - response
        row = {
            "input_ids": ids,
            "prompts": ids[:prompt],
            "responses": ids[prompt:],
            "position_ids": torch.arange(prompt + response).expand(4, -1).contiguous(),
            "loss_mask": torch.tensor([0] * prompt + [1] * response),
            "response_mask": torch.ones(response),
            "old_log_probs": -torch.rand(response, generator=generator) - 6,
            "advantages": torch.randn(1, generator=generator).expand(response).contiguous(),
        }
        for name, value in row.items():
            every.setdefault(name, []).append(value)
    data = {name: nested([values[row] for row in rows], name) for name, values in every.items()}
    made = TensorDict(data, batch_size=[len(rows)])
    tu.assign_non_tensor_stack(made, "multi_modal_inputs", [pictures[row] for row in rows])
    return made


def nested(values: list[torch.Tensor], name: str) -> torch.Tensor:
    """A ragged tensor; position ids are ragged in their last dimension."""
    if name == "position_ids":
        joined = torch.cat(values, dim=1)
        offsets = torch.tensor([0, *(value.shape[1] for value in values)]).cumsum(0)
        return torch.nested.nested_tensor_from_jagged(joined, offsets=offsets, jagged_dim=2)
    return torch.nested.as_nested_tensor(values, layout=torch.jagged)


def build(model: str) -> tuple[Any, Any]:
    """The actor's engine of the recipe medix_cpu, and its configuration."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", ["+recipe=medix_cpu", f"actor_rollout_ref.model.path={model}"])
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    model_config = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    actor.model_config = model_config
    actor.engine.use_dynamic_bsz = True
    actor.engine.max_token_len_per_gpu = 40  # several micro-batches
    actor.optim.lr_warmup_steps = 0
    actor.optim.lr_scheduler_type = "constant"  # the recipe's falling rate asks for the number of steps
    engine = EngineRegistry.new(
        model_type="language_model",
        backend=actor.engine.strategy,
        model_config=model_config,
        engine_config=actor.engine,
        optimizer_config=actor.optim,
        checkpoint_config=actor.checkpoint,
    )
    engine.initialize()
    return engine, actor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be spread over ranks, whole on each."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def main(out: str, model: str, rows: int = len(PROMPTS)) -> None:
    """Update once and write what came of it."""
    initialize_global_process_group_ray()
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    engine, actor = build(model)
    share = rows // ranks
    data = batch(range(rank * share, (rank + 1) * share))
    settings = {"use_remove_padding": False, "use_dynamic_bsz": True, "max_token_len_per_gpu": 40}
    settings |= {"temperature": 1.0, "calculate_entropy": False, "global_batch_size": rows, "use_fused_kernels": False}
    tu.assign_non_tensor(data, **settings)
    before = {name: whole(value) for name, value in engine.module.named_parameters()}
    with engine.train_mode():
        output = engine.train_batch(data, loss_function=partial(ppo_loss, config=actor))
        named = list(engine.module.named_parameters())
        # Leaving the mode throws them away.
        gradients = {name: whole(value.grad) for name, value in named if value.grad is not None}
    found = {
        "before": before,
        "gradients": gradients,
        "after": {name: whole(value) for name, value in named},
        "norm": float(output["metrics"]["grad_norm"]),
    }
    if rank == 0:
        torch.save(found, out)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))

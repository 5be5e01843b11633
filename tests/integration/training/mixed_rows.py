# SPDX-License-Identifier: Apache-2.0
"""`python mixed_rows.py gemma4|qwen3_5|make FOLDER`: one update of a tiny model by the ranks; only rank 0 has pictures.

`make` writes both models, of less than a million parameters, into FOLDER. Each rank prints `norm NUMBER`.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import two_ranks
import verl  # noqa: F401 - loads the plugin
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.distributed import initialize_global_process_group_ray
from verl.workers.utils.losses import ppo_loss

WORDS, ROWS = 512, 2
BEGIN, PICTURE, END = 3, 6, 4
"""Tokens around a picture and for it."""
VISION = {"image_token_id": PICTURE, "video_token_id": 7}


def make(folder: Path) -> None:
    """Save a tiny model of each kind, with a tokenizer."""
    from transformers import (
        Gemma4Config,
        Gemma4ForConditionalGeneration,
        Qwen3_5Config,
        Qwen3_5ForConditionalGeneration,
    )

    from medix_verl.demo.models.tokenizer import GRAMMAR_TOKENS, train_tokenizer

    text = {
        "vocab_size": WORDS, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 32,
    }  # fmt: skip
    gemma = Gemma4Config(
        text_config=text | {
            "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "global_head_dim": 32,
            "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": WORDS,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1,
            "num_key_value_heads": 1, "head_dim": 32, "position_embedding_size": 64,
        },
        boi_token_id=BEGIN, eoi_token_id=END, audio_token_id=8, boa_token_id=9, eoa_token_index=9, **VISION,
    )  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1], "partial_rotary_factor": 0.25}
    qwen = Qwen3_5Config(
        text_config=text | {
            "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16,
            "linear_value_head_dim": 16, "rope_parameters": rope | {"mrope_interleaved": True},
        },
        vision_config={
            "depth": 2, "hidden_size": 96, "intermediate_size": 128, "num_heads": 3, "out_hidden_size": 64,
            "patch_size": 16, "num_position_embeddings": 64,
        },
        vision_start_token_id=BEGIN, vision_end_token_id=END, **VISION,
    )  # fmt: skip
    tokenizer = train_tokenizer(["There is an opacity in the right lower lobe.", *GRAMMAR_TOKENS] * 3)
    torch.manual_seed(0)
    models = {"gemma4": Gemma4ForConditionalGeneration(gemma), "qwen3_5": Qwen3_5ForConditionalGeneration(qwen)}
    for name, model in models.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def picture(kind: str) -> tuple[list[int], dict[str, torch.Tensor]]:
    """A picture's tokens and what the model gets of it."""
    if kind == "qwen3_5":
        pixels = torch.randn(16, 1536)
        return [BEGIN, *[PICTURE] * 4, END], {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 4, 4]])}
    places = torch.cartesian_prod(torch.arange(3), torch.arange(3)).flip(1)[None]
    return [BEGIN, PICTURE, END], {"pixel_values": torch.rand(1, 9, 768), "image_position_ids": places}


def batch(kind: str, pictured: bool) -> TensorDict:
    """One rank's rows."""
    every: dict[str, list[torch.Tensor]] = {}
    pictures: list[dict[str, torch.Tensor]] = []
    for number in range(ROWS):
        response = 4 + number
        ids, shown = torch.randint(20, 500, (5 + number + response,)), {}
        if pictured:
            before, shown = picture(kind)
            ids = torch.cat([torch.tensor(before), ids])
        prompt, places = len(ids) - response, torch.arange(len(ids))
        row = {
            "input_ids": ids,
            "prompts": ids[:prompt],
            "responses": ids[prompt:],
            "position_ids": places if kind == "gemma4" else places.expand(4, -1).contiguous(),
            "loss_mask": torch.tensor([0] * prompt + [1] * response),
            "response_mask": torch.ones(response),
            "old_log_probs": -torch.rand(response) - 6,
            "advantages": torch.randn(1).expand(response).contiguous(),
        }
        pictures.append(shown)
        for name, value in row.items():
            every.setdefault(name, []).append(value)
    ragged = partial(torch.nested.as_nested_tensor, layout=torch.jagged)
    data: dict[str, Any] = {name: ragged(values) for name, values in every.items() if name != "position_ids"}
    places_of = every["position_ids"]
    data["position_ids"] = ragged(places_of) if kind == "gemma4" else two_ranks.nested(places_of, "position_ids")
    made = TensorDict(data, batch_size=[ROWS])
    tu.assign_non_tensor_stack(made, "multi_modal_inputs", pictures)
    return made


def main(kind: str, folder: str) -> None:
    """Update once."""
    if kind == "make":
        make(Path(folder))
        return
    initialize_global_process_group_ray()
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    engine, actor = two_ranks.build(str(Path(folder) / kind))
    torch.manual_seed(rank)
    data = batch(kind, pictured=rank == 0)
    settings = {"use_remove_padding": False, "use_dynamic_bsz": True, "max_token_len_per_gpu": 40}
    settings |= {"temperature": 1.0, "calculate_entropy": False, "use_fused_kernels": False}
    tu.assign_non_tensor(data, global_batch_size=ranks * ROWS, **settings)
    with engine.train_mode():
        output = engine.train_batch(data, loss_function=partial(ppo_loss, config=actor))
    print("norm", float(output["metrics"]["grad_norm"]), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

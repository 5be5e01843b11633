# SPDX-License-Identifier: Apache-2.0
"""Facts and checks for configurations of verl's SFT trainers, which have a model and data but no reward.

The model section's dataclass is not built, because it would load the model's configuration and tokenizer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medix_verl.recipe.check import caught

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["describe_sft", "refused_by_verl", "sizes"]

SECTIONS = ("engine", "optim", "checkpoint")


def refused_by_verl(config: DictConfig) -> Iterator[str]:
    """Errors from verl's dataclasses for the sections that verl converts to dataclasses."""
    from verl.utils.config import omega_conf_to_dataclass

    for section in SECTIONS:
        with caught() as found:
            omega_conf_to_dataclass(config[section])
        yield from (f"{section}: {text}" for text in found)


def sizes(config: DictConfig) -> Iterator[str]:
    """Batch sizes that do not divide, and texts that do not fit into a batch."""
    data, ranks = config.data, ranks_of(config)
    batch, micro = data.train_batch_size, data.micro_batch_size_per_gpu
    if batch % ranks:
        yield f"data.train_batch_size={batch} does not divide among {ranks} ranks; change one"
    elif not data.use_dynamic_bsz and (batch // ranks) % micro:
        yield f"data.micro_batch_size_per_gpu={micro} does not divide a rank's {batch // ranks} rows; change it"
    limit = data.max_token_len_per_gpu * config.engine.get("ulysses_sequence_parallel_size", 1)
    if data.use_dynamic_bsz and limit < data.max_length:
        yield f"data.max_token_len_per_gpu has room for {limit} tokens, one row may have {data.max_length}; raise it"
    if data.truncation != "error" and data.pad_mode == "no_padding":
        yield f"data.truncation={data.truncation} would cut answers off in silence; type data.truncation=error"
    if not data.val_files and isinstance(config.trainer.test_freq, str | int) and config.trainer.test_freq != -1:
        yield f"trainer.test_freq={config.trainer.test_freq} and no data.val_files: verl would stop there; give them"


def ranks_of(config: DictConfig) -> int:
    """Data-parallel ranks: from torchrun's world size, or from the configuration."""
    world = os.environ.get("WORLD_SIZE", "")
    ranks = (
        int(world)
        if world.isdigit() and "RANK" in os.environ
        else config.trainer.n_gpus_per_node * config.trainer.nnodes
    )
    return max(1, int(ranks) // int(config.engine.get("ulysses_sequence_parallel_size", 1)))


def describe_sft(config: DictConfig) -> dict[str, Any]:
    """What only an SFT configuration has of the facts of medix_verl.recipe.facts, and its policy."""
    from omegaconf import OmegaConf

    model, trainer = config.model, config.trainer
    settings: Any = OmegaConf.to_container(config.data.apply_chat_template_kwargs, resolve=True)
    return {
        "policy": {
            "path": model.path,
            "tokenizer": model.tokenizer_path or model.path,
            "trust_remote_code": bool(model.trust_remote_code),
            "template": model.custom_chat_template,
            "settings": with_thinking(settings, config.data.enable_thinking_default),
            "prompt": OmegaConf.select(config, "data.medix.prompt") or "medix",
        },
        "sft": {
            "batch": config.data.train_batch_size,
            "device": trainer.device,
            "gpus": trainer.n_gpus_per_node,
            "nodes": trainer.nnodes,
        },
    }


def with_thinking(settings: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """Arguments of the chat template, as in medix_verl.data.sft.dataset."""
    return {**settings, **({"enable_thinking": default} if isinstance(default, bool) else {})}

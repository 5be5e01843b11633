# SPDX-License-Identifier: Apache-2.0
"""Extracts from a composed configuration what the checks need, as plain values that are sent as JSON to the doctor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medix_verl.recipe.checks.locked import compare_locks
from medix_verl.recipe.code import Trust
from medix_verl.recipe.compose import booking, is_sft
from medix_verl.recipe.identity import texts
from medix_verl.recipe.sft import describe_sft
from medix_verl.recipe.share.installed import changed, with_accepted
from medix_verl.recipe.validate import faults

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["describe"]

CORES_OF_A_GPU = 3
"""CPUs that verl reserves for each GPU (ResourcePoolManager.max_colocate_count)."""
CORES_BESIDE = 1
"""CPU of TransferQueue's controller; each of its storage units reserves one more."""


def describe(
    config: DictConfig, trust: Trust = False, names: Sequence[str] = (), words: Sequence[str] = ()
) -> dict[str, Any]:
    """The facts of a configuration.

    Args:
        config: Composed with a medix_verl recipe, so that it has `reward.medix`; or for the SFT trainers.
        trust: As for medix_verl.recipe.validate.faults.
        names: The recipes as typed; their locks and installed files are checked.
        words: The overrides as typed.
    """
    from omegaconf import OmegaConf

    train, val = texts(config.data.train_files), texts(config.data.val_files)
    usual = "medix-verl prepare NAME --sft" if is_sft(config) else "medix-verl prepare"
    common = {
        "error": None,
        "faults": [*changed(names), *faults(config, with_accepted(trust, names))],
        "locks": compare_locks(config, names, words),
        "trust": bool(trust),
        "files": [*train, *val],
        "train": train,
        "val": val,
        "of_schema": str(config.data.custom_cls.path).startswith("pkg://medix_verl."),
        "prepare": str(OmegaConf.select(config, "data.medix.prepare") or usual),
    }
    if is_sft(config):
        return {**common, **describe_sft(config)}
    medix: Any = OmegaConf.to_container(config.reward.medix, resolve=True)
    return {
        **common,
        "judge": medix.get("judge") or {},
        "semantic": medix.get("semantic") or {},
        "reward": medix,
        "policy": _policy(config),
        "schedule": _schedule(config),
        "resume": _resumed(config),
        "evaluates_on": _evaluates_on(config),
        "placement": _placement(config),
        "teachers": _teachers(config),
    }


def _policy(config: DictConfig) -> dict[str, Any]:
    """The trained model, its tokenizer, and the settings of its prompts."""
    from omegaconf import OmegaConf

    model = config.actor_rollout_ref.model
    return {
        "path": model.path,
        "tokenizer": model.get("tokenizer_path") or model.path,
        "trust_remote_code": bool(model.get("trust_remote_code")),
        "template": model.get("custom_chat_template"),
        "settings": OmegaConf.to_container(config.data.get("apply_chat_template_kwargs") or OmegaConf.create({})),
        "prompt": OmegaConf.select(config, "data.medix.prompt") or "medix",
    }


def _evaluates_on(config: DictConfig) -> str | None:
    """The accelerators that evaluate each checkpoint (`medix.on_save`); None if checkpoints are not evaluated."""
    from omegaconf import OmegaConf

    if "evaluate" not in (OmegaConf.select(config, "medix.on_save") or ()):
        return None
    return str(OmegaConf.select(config, "medix.on_save_options.devices") or "")


def _resumed(config: DictConfig) -> str:
    """The folder set in `trainer.resume_from_path`; empty if the run resumes from its own folder or not."""
    trainer = config.trainer
    return str(trainer.get("resume_from_path") or "") if trainer.get("resume_mode") == "resume_path" else ""


def _teachers(config: DictConfig) -> list[str]:
    """Teacher models of a distillation; empty without distillation."""
    distillation = config.distillation
    if not distillation.enabled:
        return []
    named = {name: teacher.model_path for name, teacher in distillation.teacher_models.items()}
    if len(named) > 1:
        named.pop("teacher_model", None)  # verl drops this default entry if there are others
    return [str(path) for path in named.values() if path]


def _schedule(config: DictConfig) -> dict[str, Any]:
    """Settings that determine the number of steps, the validation schedule, and whether the model changes."""
    trainer = config.trainer
    return {
        "batch": config.data.train_batch_size,
        "max_samples": config.data.get("train_max_samples", -1),
        "epochs": trainer.total_epochs,
        "steps": trainer.total_training_steps,
        "test_freq": trainer.test_freq,
        "val_before_train": bool(trainer.val_before_train),
        "val_only": bool(trainer.get("val_only", False)),
        "rate": config.actor_rollout_ref.actor.optim.lr,
    }


def _placement(config: DictConfig) -> dict[str, Any]:
    """GPUs and cores that verl reserves at the start, and the numbers configured for Ray."""
    book, ray = booking(config), config.ray_kwargs.get("ray_init") or {}
    storage = config.transfer_queue.backend.get("SimpleStorage") or {}
    return {
        "device": config.trainer.device,
        "nodes": book.nodes,
        "gpus": book.node,
        "words": f"{book.train} train, {book.generate} generate, {book.judge} judge"
        + (f", {book.teach} teach" if book.teach else ""),
        "cores_of_gpus": CORES_OF_A_GPU * book.node,
        "cores_beside": CORES_BESIDE + int(storage.get("num_data_storage_units") or 0),
        "num_cpus": ray.get("num_cpus"),
        "num_gpus": ray.get("num_gpus"),
        "address": os.environ.get("RAY_ADDRESS") or ray.get("address"),
    }

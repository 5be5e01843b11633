# SPDX-License-Identifier: Apache-2.0
"""Finds a checkpoint of verl from a run's, a step's or an actor's folder, and refuses an incomplete one.

verl writes `RUN/global_step_N/actor` (its SFT trainer `RUN/global_step_N`, without a subfolder) and then
`RUN/latest_checkpointed_iteration.txt`. FSDP writes one file per rank and `fsdp_config.json`; Megatron (verl's second
layout) writes `model/` and finally `ckpt_contents.json`. A run that was killed while saving leaves fewer files. A
checkpoint found here is complete as far as names, sizes and file endings show. Nothing is loaded.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError

__all__ = ["Checkpoint", "find_checkpoint"]

STEP = "global_step_"
LATEST = "latest_checkpointed_iteration.txt"
ACCEPTED = "a run's folder, its global_step_N, or the folder `actor` in that"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint of an actor."""

    actor: Path
    run: Path | None
    """The run's folder; None for an actor's folder outside a run."""
    step: int | None
    backend: str
    """`fsdp` or `megatron`: the argument of verl's merger."""
    ranks: int
    model: Path
    """The folder with the model's configuration and tokenizer."""
    shards: tuple[Path, ...]
    """The files with the weights."""
    lora: bool = False
    merged: bool = False
    """Whether the weights are already in `model` in Hugging Face's format, and nowhere else."""

    @property
    def bytes(self) -> int:
        """Size of the weights on disk."""
        return sum(path.stat().st_size for path in self.shards)


def find_checkpoint(place: Path) -> Checkpoint:
    """The checkpoint in a folder; for a run, the last one that verl finished.

    Raises:
        DataError: There is no checkpoint, or it is incomplete.
    """
    place = place.expanduser()
    if not place.is_dir():
        raise DataError(f"there is no folder {place}; give {ACCEPTED}")
    place = place.resolve()
    if is_actor(place):
        return read_actor(place)
    if place.name.startswith(STEP):
        if not (place / "actor").is_dir():
            raise DataError(f"{place} has no folder `actor`: the run ended while it saved; give an earlier step")
        return read_actor(place / "actor")
    # The demo and the recipes' reports use the parent of `checkpoints` as the run's folder, as a run's record does.
    inside = place / "checkpoints"
    run = inside if inside.is_dir() and not any(place.glob(f"{STEP}*")) else place
    step = last_step(run)
    return read_actor(step if is_actor(step) else step / "actor")


def is_actor(place: Path) -> bool:
    """Whether a folder is an actor's: by its name in a step's folder, or by its content."""
    in_step = place.name == "actor" and place.parent.name.startswith(STEP)
    return in_step or (place / "fsdp_config.json").is_file() or (place / "model" / "dist_ckpt").is_dir()


def last_step(run: Path) -> Path:
    """The folder of the last step that verl finished.

    Raises:
        DataError: The step is missing, or this is not a run's folder.
    """
    steps = {int(path.name[len(STEP) :]): path for path in run.glob(f"{STEP}*") if path.name[len(STEP) :].isdigit()}
    tracker = run / LATEST
    if tracker.is_file():
        text = tracker.read_text(encoding="utf-8").strip()
        if text.isdigit() and int(text) in steps:
            return steps[int(text)]
        there = ", ".join(str(step) for step in sorted(steps)) or "none"
        raise DataError(f"{tracker} names step {text!r}, and the steps here are {there}; give one of their folders")
    if steps:
        # Without verl's file (async_save never writes it), a later step may be incomplete: read_actor checks that.
        return steps[max(steps)]
    if any((run / name).is_file() for name in (*WEIGHTS, "config.json")):
        raise DataError(
            f"{run} is a model, not a checkpoint of verl: it needs no export; "
            f"type: medix-verl evaluate {run} --tasks NAME"
        )
    raise DataError(f"{run} holds no checkpoint (no {STEP}N in it); give {ACCEPTED}")


def read_actor(actor: Path) -> Checkpoint:
    """Read an actor's folder.

    Raises:
        DataError: It is incomplete, or of a kind that cannot be merged.
    """
    if (actor / "fsdp_config.json").is_file() or any(actor.glob("model_world_size_*")):
        return read_fsdp(actor)
    if (actor / "model").is_dir():
        return read_megatron(actor)
    if (actor / "dist_ckpt").is_dir():
        raise DataError(
            f"{actor} is in verl's old Megatron layout (dist_ckpt at its top); move it to the new one first with "
            "verl's scripts/migrate_megatron_checkpoint_layout.py"
        )
    raise DataError(f"{actor} holds neither FSDP nor Megatron weights: the run ended while it saved, or saved none")


def placed(actor: Path) -> tuple[Path | None, int | None]:
    """The run's folder and the step, from the folder names."""
    for step in (actor.parent, actor):
        number = step.name[len(STEP) :]
        if step.name.startswith(STEP) and number.isdigit():
            return step.parent, int(number)
    return None, None


def read_fsdp(actor: Path) -> Checkpoint:
    """Read a checkpoint of FSDP or FSDP2."""
    config = actor / "fsdp_config.json"
    ranks = read_json(config).get("world_size")
    if not isinstance(ranks, int) or ranks < 1:
        raise DataError(f"{config} gives no world_size: the run ended while it saved; give an earlier step")
    shards = tuple(actor / f"model_world_size_{ranks}_rank_{rank}.pt" for rank in range(ranks))
    absent = [path.name for path in shards if not path.is_file()]
    if absent:
        raise DataError(
            f"{actor} lacks {len(absent)} of {ranks} ranks' files ({absent[0]}): the run ended while it saved, or they "
            "lie on other nodes' disks; copy them here, or give an earlier step"
        )
    for path in shards:
        # torch.save writes a zip archive, whose directory is at its end.
        if not zipfile.is_zipfile(path):
            raise DataError(f"{path} is cut off at {path.stat().st_size} bytes; give an earlier step")
    model = actor / "huggingface"
    check_model_folder(model)
    run, step = placed(actor)
    lora = (actor / "lora_train_meta.json").is_file()
    return Checkpoint(actor, run, step, "fsdp", ranks, model, shards, lora)


def read_megatron(actor: Path) -> Checkpoint:
    """Read a checkpoint of Megatron in verl's second layout."""
    manifest = actor / "ckpt_contents.json"
    if not manifest.is_file():
        raise DataError(f"{actor} has no {manifest.name}, which verl writes last: half-written; give an earlier step")
    settings = read_json(manifest)
    model = actor / "model" / "huggingface"
    check_model_folder(model)
    if (settings.get("backend") or {}).get("peft"):
        raise DataError(
            f"{actor} has a LoRA adapter in Megatron's own shards, which verl's merger does not put into the weights; "
            "merge it with Megatron-Bridge, or train with actor.strategy=fsdp2"
        )
    run, step = placed(actor)
    ranks = int(settings.get("world_size") or 1)
    shards = tuple(sorted((actor / "model" / "dist_ckpt").glob("*.distcp")))
    if shards:
        return Checkpoint(actor, run, step, "megatron", ranks, model, shards)
    whole = tuple(sorted(model.glob("*.safetensors")))
    if not whole:
        raise DataError(f"{actor / 'model'} has no weights; save them with actor.checkpoint.save_contents=[model,...]")
    return Checkpoint(actor, run, step, "megatron", ranks, model, whole, merged=True)


def check_model_folder(model: Path) -> None:
    """Refuse a checkpoint without the files, other than weights, that a model's folder needs.

    Raises:
        DataError: Something is missing.
    """
    if not (model / "config.json").is_file():
        raise DataError(f"{model} has no config.json: the run ended while it saved; give an earlier step")
    read_json(model / "config.json")
    if not any((model / name).is_file() for name in ("tokenizer_config.json", "tokenizer.json")):
        raise DataError(f"{model} has no tokenizer; copy the base model's tokenizer files there")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: There is no file, or it is incomplete.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no {path}: the run ended while it saved; give an earlier step") from None
    except ValueError as cause:
        raise DataError(f"{path} is not JSON ({cause}): the run ended while it saved; give an earlier step") from cause
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object; give {ACCEPTED}")
    return value

# SPDX-License-Identifier: Apache-2.0
"""The MODEL of `evaluate` given as a training run's folder: its last step is exported once, next to the steps."""

from __future__ import annotations

from pathlib import Path

from medix_verl.cli.lines import say, waiting
from medix_verl.data.trained_with import RUN_FILE
from medix_verl.errors import ConfigError

__all__ = ["model_word"]


def model_word(word: str) -> str:
    """The word itself, or the exported model if the word is a folder of a run, a step or an actor.

    Raises:
        ConfigError: An earlier export is older than the checkpoint.
        DataError: The checkpoint is incomplete.
        SetupError: The checkpoint could not be exported.
    """
    place = Path(word).expanduser()
    if "://" in word or not place.is_dir() or (place / "config.json").is_file() or not is_run(place):
        return word
    from medix_verl.runs.checkpoints.checkpoint import find_checkpoint
    from medix_verl.runs.checkpoints.export import ExportSpec, export_checkpoint

    found = find_checkpoint(place)
    step = found.actor.parent
    out = (found.run or step.parent) / "exported" / step.name
    if not (out / "config.json").is_file():
        with waiting("exporting"):
            export_checkpoint(ExportSpec(found.actor, out), say)
    elif (out / "config.json").stat().st_mtime < max(path.stat().st_mtime for path in found.shards):
        raise ConfigError(f"{out} was exported before {found.actor} was written; remove it, and it is exported again")
    say(f"{word} is a training run: its model is {out}")
    return str(out)


def is_run(place: Path) -> bool:
    """Whether a folder looks like one of a run."""
    marks = (RUN_FILE, "checkpoints", "actor", "fsdp_config.json")
    return any((place / mark).exists() for mark in marks) or any(place.glob("global_step_*"))

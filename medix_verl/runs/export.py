# SPDX-License-Identifier: Apache-2.0
"""Turns a checkpoint of verl into a model's folder in Hugging Face's format: verl's own merger, then our checks.

The work is done beside the target, under another name; the target gets its name only when every check has passed.
Merging and loading run in processes of their own, each within a time limit. An adapter (LoRA) is put into the weights.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError, SetupError
from medix_verl.runs.bounded import run_bounded
from medix_verl.runs.checkpoint import Checkpoint, find_checkpoint
from medix_verl.runs.merge_adapter import ADAPTER
from medix_verl.runtime.files import locked

__all__ = ["ExportSpec", "Exported", "export_checkpoint", "merge_command"]

SHOWN = 3


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """What is exported, and where to."""

    checkpoint: Path
    out: Path
    limit_s: float = 3600.0
    """Seconds for each of merging, putting an adapter in, and checking."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that was made and checked."""

    out: Path
    checkpoint: Checkpoint
    findings: dict[str, Any]
    """What transformers says of it: see `inspect_model`."""


def export_checkpoint(spec: ExportSpec, say: Callable[[str], None]) -> Exported:
    """Merge, check, and give the folder its name.

    Raises:
        ConfigError: The target is taken.
        DataError: There is no whole checkpoint, or the merged model is not whole.
        SetupError: A process failed, or something is not installed.
    """
    out = check_target(spec.out)
    checkpoint = find_checkpoint(spec.checkpoint)
    check_space(checkpoint, out)
    part, log = out.with_name(f".{out.name}.0.part"), out.with_name(f"{out.name}.export.log")
    busy = f"--out {out} is being exported by another process; wait for it, or give another name"
    with locked(out.with_name(f".{out.name}.lock"), busy):
        log.unlink(missing_ok=True)
        shutil.rmtree(part, ignore_errors=True)  # of an export that was killed
        try:
            say(f"merging {checkpoint.actor} ({checkpoint.backend}, {checkpoint.ranks} ranks); the log is {log}")
            merge(checkpoint, part, log, spec.limit_s)
            say("checking the merged model")
            findings = check_model(part, log, spec.limit_s)
            if out.is_dir():
                out.rmdir()
            part.rename(out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        log.unlink(missing_ok=True)
    return Exported(out, checkpoint, findings)


def check_target(out: Path) -> Path:
    """The target as an absolute path.

    Raises:
        ConfigError: It is taken.
    """
    out = out.expanduser().absolute()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"--out {out} is there already; give another name, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def check_space(checkpoint: Checkpoint, out: Path) -> None:
    """Refuse to begin where the merged model cannot fit: it has two bytes a number, a checkpoint at most four.

    Raises:
        SetupError: It cannot.
    """
    needed, free = checkpoint.bytes // 2, shutil.disk_usage(out.parent).free
    if free < needed:
        raise SetupError(
            f"the disk of {out.parent} has {free / 1e9:.1f} GB free, and the model needs {needed / 1e9:.1f} GB or "
            "more: free some, or give --out on another disk"
        )


def merge(checkpoint: Checkpoint, part: Path, log: Path, limit_s: float) -> None:
    """Make the folder `part`.

    Raises:
        SetupError: It failed.
    """
    if checkpoint.merged:
        # Megatron's bridge has saved the weights in Hugging Face's format; there is nothing to merge.
        shutil.copytree(checkpoint.model, part)
        return
    if checkpoint.backend == "megatron" and find_spec("megatron") is None:
        raise SetupError("a Megatron checkpoint is merged by Megatron itself; type: pip install 'medix-verl[megatron]'")
    if find_spec("verl") is None:
        raise SetupError("the merger is verl's, which is not installed; type: pip install 'medix-verl'")
    run_bounded("verl's merger", merge_command(checkpoint, part), log, limit_s)
    if (part / ADAPTER).is_dir():
        command = [sys.executable, "-m", "medix_verl.runs.merge_adapter", str(part)]
        run_bounded("putting the adapter into the weights", command, log, limit_s)


def merge_command(checkpoint: Checkpoint, part: Path) -> list[str]:
    """The command line of verl's merger."""
    words = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", checkpoint.backend]
    words += ["--local_dir", str(checkpoint.actor), "--target_dir", str(part)]
    if checkpoint.backend == "megatron":
        config = json.loads((checkpoint.model / "config.json").read_text(encoding="utf-8"))
        tied = config.get("tie_word_embeddings", (config.get("text_config") or {}).get("tie_word_embeddings"))
        # Without it the merger looks for an output layer that a tied model does not have.
        words += ["--use_cpu_initialization", *(["--tie-word-embedding"] if tied else [])]
    return words


def check_model(folder: Path, log: Path, limit_s: float) -> dict[str, Any]:
    """What transformers says of a folder, once nothing is wrong in it.

    Raises:
        DataError: A tensor is missing, unknown, of another shape, or holds a value that is no number.
        SetupError: It cannot be loaded.
    """
    begins = log.stat().st_size if log.is_file() else 0
    command = [sys.executable, "-m", "medix_verl.runs.inspect_model", str(folder)]
    run_bounded("loading the merged model", command, log, limit_s)
    with log.open("rb") as stream:
        stream.seek(begins)
        lines = stream.read().decode(errors="replace").splitlines()
    findings: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line.startswith('{"class"')))
    for key, complaint in (
        ("missing", "lacks tensors of its class"),
        ("unexpected", "has tensors that its class does not know"),
        ("mismatched", "has tensors of another shape than its config says"),
        ("not_finite", "has values that are no numbers; the training diverged, or the checkpoint is damaged"),
    ):
        if names := findings[key]:
            few = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            raise DataError(f"the merged model {complaint} ({few}); export another step; see {log}")
    return findings

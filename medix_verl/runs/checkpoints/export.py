# SPDX-License-Identifier: Apache-2.0
"""Exports a checkpoint of verl as a model folder in Hugging Face's format, with verl's own merger and our checks.

The folder is written under a temporary name next to the target and renamed when every check has passed. Merging and
loading run in separate processes, each with a time limit. An adapter (LoRA) is merged into the weights. Code in a
checkpoint is run only if the spec allows it (medix_verl.runs.checkpoints.trust).
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

from medix_verl.data.trained_with import write_trained_with
from medix_verl.errors import ConfigError, DataError, SetupError
from medix_verl.runs.bounded import last_json, run_bounded
from medix_verl.runs.checkpoints.checkpoint import Checkpoint, find_checkpoint
from medix_verl.runs.checkpoints.merge_adapter import ADAPTER
from medix_verl.runs.checkpoints.trust import TENSORS_ONLY, Code, check_trust, code_in, drop_code
from medix_verl.runtime.files import locked

__all__ = ["ExportSpec", "Exported", "export_checkpoint", "merge_command"]

SHOWN = 3
NO_CODE = Code()


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """Source, target and limits of an export."""

    checkpoint: Path
    out: Path
    limit_s: float = 3600.0
    """Time limit in seconds for each of merging, merging an adapter, and checking."""
    trust: bool = False
    """Whether code in the checkpoint may be run, if the export needs it."""


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported and checked model."""

    out: Path
    checkpoint: Checkpoint
    findings: dict[str, Any]
    """The result of `inspect_model`."""


def export_checkpoint(spec: ExportSpec, say: Callable[[str], None]) -> Exported:
    """Merge the checkpoint, check the result, and rename it to the target.

    Raises:
        ConfigError: The target exists.
        DataError: There is no complete checkpoint, or the merged model is not complete.
        SetupError: A process failed, something is not installed, or code would run that is not trusted.
    """
    out = check_target(spec.out)
    checkpoint = find_checkpoint(spec.checkpoint)
    check_space(checkpoint, out)
    part, log = out.with_name(f".{out.name}.0.part"), out.with_name(f"{out.name}.export.log")
    busy = f"--out {out} is being exported by another process; wait for it, or give another name"
    with locked(out.with_name(f".{out.name}.lock"), busy):
        log.unlink(missing_ok=True)
        shutil.rmtree(part, ignore_errors=True)  # left by an export that was killed
        try:
            say(f"merging {checkpoint.actor} ({checkpoint.backend}, {checkpoint.ranks} ranks); the log is {log}")
            code = code_in(checkpoint, log, spec.limit_s)
            log.unlink(missing_ok=True)  # its content does not help to understand a refusal
            check_trust(checkpoint, code, spec.trust, say)
            merge(checkpoint, part, log, spec.limit_s, code)
            if not code.own_class:
                drop_code(part)
            say("checking the merged model")
            findings = check_model(part, log, spec.limit_s, code.own_class)
            if checkpoint.run is not None:
                write_trained_with(checkpoint.run, part)
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
        ConfigError: It exists.
    """
    out = out.expanduser().absolute()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"--out {out} is there already; give another name, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def check_space(checkpoint: Checkpoint, out: Path) -> None:
    """Refuse to start if the merged model cannot fit: it has two bytes per number, a checkpoint at most four.

    Raises:
        SetupError: The disk is too full.
    """
    needed, free = checkpoint.bytes // 2, shutil.disk_usage(out.parent).free
    if free < needed:
        raise SetupError(
            f"the disk of {out.parent} has {free / 1e9:.1f} GB free, and the model needs {needed / 1e9:.1f} GB or "
            "more: free some, or give --out on another disk"
        )


def merge(checkpoint: Checkpoint, part: Path, log: Path, limit_s: float, code: Code = NO_CODE) -> None:
    """Make the folder `part`; runs code in the checkpoint only if it is needed (see check_trust).

    Raises:
        SetupError: The merge failed.
    """
    if checkpoint.merged:
        # Megatron's bridge has saved the weights in Hugging Face's format; there is nothing to merge.
        shutil.copytree(checkpoint.model, part, ignore=links_and_pickles)
        return
    if checkpoint.backend == "megatron" and find_spec("megatron") is None:
        raise SetupError("a Megatron checkpoint is merged by Megatron itself; type: pip install 'medix-verl[megatron]'")
    if find_spec("verl") is None:
        raise SetupError("the merger is verl's, which is not installed; type: pip install 'medix-verl'")
    words = merge_command(checkpoint, part, code.own_class)
    run_bounded("verl's merger", words if code.called else [*TENSORS_ONLY, *words], log, limit_s)
    if (part / ADAPTER).is_dir():
        command = [*TENSORS_ONLY, sys.executable, "-m", "medix_verl.runs.checkpoints.merge_adapter", str(part)]
        run_bounded("putting the adapter into the weights", command, log, limit_s)


def links_and_pickles(folder: str, names: list[str]) -> list[str]:
    """Files of a model's folder that are not copied: links, whose target may be anywhere, and pickled weights."""
    return [name for name in names if (Path(folder) / name).is_symlink() or name.endswith((".bin", ".pt", ".pkl"))]


def merge_command(checkpoint: Checkpoint, part: Path, own_class: bool = False) -> list[str]:
    """The command line of verl's merger; `own_class` permits loading the model's own code."""
    words = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", checkpoint.backend]
    words += ["--local_dir", str(checkpoint.actor), "--target_dir", str(part)]
    words += ["--trust-remote-code"] if own_class else []
    if checkpoint.backend == "megatron":
        config = json.loads((checkpoint.model / "config.json").read_text(encoding="utf-8"))
        tied = config.get("tie_word_embeddings", (config.get("text_config") or {}).get("tie_word_embeddings"))
        # Without this flag the merger expects an output layer, which a tied model does not have.
        words += ["--use_cpu_initialization", *(["--tie-word-embedding"] if tied else [])]
    return words


def check_model(folder: Path, log: Path, limit_s: float, own_class: bool = False) -> dict[str, Any]:
    """Check a folder with transformers; returns the findings if nothing is wrong.

    Raises:
        DataError: A tensor is missing, unknown, of another shape, or has non-finite values.
        SetupError: It cannot be loaded.
    """
    begins = log.stat().st_size if log.is_file() else 0
    command = [*TENSORS_ONLY, sys.executable, "-m", "medix_verl.runs.checkpoints.inspect_model", str(folder)]
    run_bounded("loading the merged model", [*command, *(["--trust"] if own_class else [])], log, limit_s)
    findings = last_json(log, begins)
    for key, complaint in (
        ("missing", "lacks tensors of its class"),
        ("unexpected", "has tensors that its class does not know"),
        ("mismatched", "has tensors of another shape than its config says"),
        ("not_finite", "has values that are not numbers; the training diverged, or the checkpoint is damaged"),
    ):
        if names := findings[key]:
            few = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            raise DataError(f"the merged model {complaint} ({few}); export another step; see {log}")
    return findings

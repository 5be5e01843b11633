# SPDX-License-Identifier: Apache-2.0
"""Finds code in a checkpoint, and prevents it from running without `--trust`.

A file of torch.save is a pickle, which may name any function to be called on loading. verl's merger requests this mode
of torch (`weights_only=False`); an environment variable of torch overrides it, so that only tensors and their layout
(DTensor) are created from FSDP's files, whatever their origin. Three things need more and require `--trust`: a pickle
with other names, Megatron's shards (their reader unpickles `.metadata` itself), and a model whose class is a file next
to its weights (`auto_map`). A run's record, `medix_run.json`, is not a reason to trust a folder: the author of the
folder could have written it. It describes a run, and does not show who wrote the files next to it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import SetupError
from medix_verl.runs.bounded import last_json, run_bounded
from medix_verl.runs.checkpoints.checkpoint import Checkpoint
from medix_verl.runs.record import FILE_NAME
from medix_verl.runtime.files import write_json

__all__ = ["TENSORS_ONLY", "Code", "check_trust", "code_in", "drop_code", "mapped_code"]

TENSORS_ONLY = ("env", "-u", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD=1")
"""Prefix of a command that loads a checkpoint: torch.load creates tensors only, whatever its caller requests."""
MAPPED = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files of a model's folder that may refer to the model's own code."""
UNPICKLED = (".metadata", "common.pt")
"""Files among Megatron's shards that its reader unpickles regardless of torch's settings."""
SHOWN = 4


@dataclass(frozen=True, slots=True)
class Code:
    """Code that would run when a checkpoint is loaded."""

    called: tuple[str, ...] = ()
    """`FILE: NAME` of names in a pickle other than tensors, and of files that only a pickle reader can load."""
    mapped: tuple[str, ...] = ()
    """`FILE: NAME` of the model's own classes (`auto_map`)."""
    own_class: bool = False
    """Whether transformers lacks the model's class, so that loading it needs the model's own code."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Code that has to run for the checkpoint to be exported."""
        return (*self.called, *(self.mapped if self.own_class else ()))


def code_in(checkpoint: Checkpoint, log: Path, limit_s: float) -> Code:
    """Inspect a checkpoint without loading it, in a separate process.

    Raises:
        SetupError: The process failed.
    """
    mapped = mapped_code(checkpoint.model)
    called: list[str] = []
    pickles: tuple[Path, ...] = ()
    if checkpoint.backend == "megatron":
        folder = checkpoint.shards[0].parent
        unpickled = [] if checkpoint.merged else [name for name in UNPICKLED if (folder / name).is_file()]
        called += [f"{name}: a pickle for Megatron's reader" for name in unpickled]
    else:
        pickles = checkpoint.shards
    if not (mapped or pickles):
        return Code(tuple(called))
    program = "medix_verl.runs.checkpoints.inspect_checkpoint"
    command = [*TENSORS_ONLY, sys.executable, "-m", program, str(checkpoint.model)]
    begins = log.stat().st_size if log.is_file() else 0
    run_bounded("looking the checkpoint through", [*command, *map(str, pickles)], log, limit_s)
    found = last_json(log, begins)
    called += [f"{file}: {name}" for file, names in found["called"].items() for name in names]
    return Code(tuple(called), mapped, bool(mapped) and found["own_class"])


def mapped_code(model: Path) -> tuple[str, ...]:
    """`FILE: NAME` for each class that a model's folder loads from its own code."""
    found = []
    for name in MAPPED:
        for target in texts(read_object(model / name).get("auto_map")):
            found.append(f"{name}: {target}")
    return tuple(dict.fromkeys(found))


def drop_code(model: Path) -> None:
    """Remove code and references to it from a model's folder; the model's class is transformers' own."""
    for name in MAPPED:
        found = read_object(model / name)
        if found.pop("auto_map", None) is not None:
            write_json(model / name, found, indent=2, ensure_ascii=False)
    for path in model.rglob("*.py"):
        path.unlink()


def check_trust(checkpoint: Checkpoint, code: Code, trust: bool, say: Callable[[str], None]) -> None:
    """Report the code that a checkpoint would run, and refuse it unless the user has allowed it.

    Raises:
        SetupError: The checkpoint needs code to be run, and is not trusted.
    """
    place = checkpoint.actor
    if not code.needed:
        if code.mapped:
            say(f"{checkpoint.model} names code of its own ({few(code.mapped)}); it is not run, and not exported")
        return
    if trust:
        say(f"--trust: what {place} names is run: {few(code.needed)}")
        return
    record = checkpoint.run is not None and (checkpoint.run / FILE_NAME).is_file()
    beside = f"the {FILE_NAME} beside it proves nothing of that" if record else f"there is no {FILE_NAME} beside it"
    raise SetupError(
        f"{place} would run code while it is loaded ({few(code.needed)}); nothing of it was run. Only if you know who "
        f"wrote this folder ({beside}: its author could write one), type: medix-verl export {place} --out DIR "
        "--trust"
    )


def few(names: tuple[str, ...]) -> str:
    """The first few names, and the number of the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:120] for name in names[:SHOWN]) + more


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def texts(value: Any) -> list[str]:
    """Every text in a mapping, list or text; an auto_map may be any of these."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for item in value for text in texts(item)] if isinstance(value, (list, tuple)) else []

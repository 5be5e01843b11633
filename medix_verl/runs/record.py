# SPDX-License-Identifier: Apache-2.0
"""The run's record, `medix_run.json`, next to its checkpoints: how to repeat the run, and what measured it.

The file is written when the run starts and again when its data files have been hashed, atomically each time. It
contains no secrets (see `secrets`). If several runs train into one folder, earlier records are kept as
medix_run.1.json, medix_run.2.json and so on: a resumed run is a new run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medix_verl.data.trained_with import RUN_FILE
from medix_verl.errors import DataError
from medix_verl.recipe.data_files import DataFile
from medix_verl.recipe.identity import Identity
from medix_verl.runtime.files import write_json

__all__ = [
    "FILE_NAME",
    "DataFile",
    "Identity",
    "RunRecord",
    "keep_earlier",
    "read_record",
    "repeat_command",
    "write_record",
]

FILE_NAME = RUN_FILE
FORMAT = 3
MAIN = "python -m verl.trainer.main_ppo"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of a run's record."""

    started: str
    """UTC, such as 2026-01-31T12:00:00Z."""
    overrides: tuple[str, ...]
    """The arguments of verl's main program, as typed, without secrets."""
    recipes: tuple[str, ...]
    config: Mapping[str, Any]
    """The resolved configuration; references to environment variables are not resolved."""
    versions: Mapping[str, str | None]
    commits: Mapping[str, str]
    """Checkout -> its git commit, with `+changes` if tracked files differ from it."""
    data: tuple[DataFile, ...]
    model: Identity
    judge: Identity
    encoder: Identity
    seed: int | None
    terms: Mapping[str, float] = field(default_factory=dict)
    """Term of the reward -> its weight in the configuration; not in records of format 1."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """`answer` and `judge` -> name and hash of the prompt; since format 3."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Each recipe of the run -> its text, or the SHA-256 of one of ours (medix_verl.recipe.lock); since format 3."""
    withheld: tuple[str, ...] = ()
    """Keys whose secret values are left out; they must be typed again."""
    directory: str = ""
    """The working directory of the command, to which its relative paths refer."""
    logs: Mapping[str, str] = field(default_factory=dict)
    """verl's logger -> its output path, for loggers that a report can read (see `logs`); may be relative."""
    format: int = field(default=FORMAT)

    @property
    def command(self) -> str:
        """The command line that repeats the run."""
        return repeat_command(self)


def repeat_command(record: RunRecord) -> str:
    """The command line that repeats a run; a secret is replaced by <secret> and must be typed again."""
    return " ".join([MAIN, *(shlex.quote(word) for word in record.overrides)])


def write_record(record: RunRecord, folder: Path) -> Path:
    """Write the record into a run's folder, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE_NAME, asdict(record), ensure_ascii=False)
    return folder / FILE_NAME


def keep_earlier(folder: Path) -> None:
    """Rename an earlier run's record."""
    stem, suffix = FILE_NAME.split(".")
    if (folder / FILE_NAME).is_file():
        number = 1
        while (kept := folder / f"{stem}.{number}.{suffix}").exists():
            number += 1
        (folder / FILE_NAME).rename(kept)


def read_record(run: Path) -> RunRecord:
    """Read the record of a run.

    Args:
        run: The run's folder (trainer.default_local_dir, or the parent of `checkpoints`), a step's folder in it, or the
            file itself.

    Raises:
        DataError: There is no record, or it is damaged or of a newer version.
    """
    run = run.expanduser()
    places = (
        (run, run / FILE_NAME, run.parent / FILE_NAME)
        if run.suffix == ".json"
        else (run / FILE_NAME, run.parent / FILE_NAME, run / "checkpoints" / FILE_NAME)
    )
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(
            f"there is no {FILE_NAME} in {run}; give the folder that the run had as trainer.default_local_dir "
            "(a run without one of our recipes leaves no record)"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise DataError(f"{path} is not JSON ({cause}); it was changed or cut off, give another run") from cause
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise DataError(f"{path} is not a record of a run; give the folder of one")
    if found["format"] > FORMAT:
        raise DataError(f"{path} has format {found['format']}, this medix_verl reads up to {FORMAT}; update medix-verl")
    return from_json(found, path)


def from_json(found: dict[str, Any], path: Path) -> RunRecord:
    try:
        return RunRecord(
            **{
                **found,
                **{key: tuple(found[key]) for key in ("overrides", "recipes", "withheld")},
                **{key: Identity(**found[key]) for key in ("model", "judge", "encoder")},
                "data": tuple(DataFile(**item) for item in found["data"]),
            }
        )
    except (KeyError, TypeError) as cause:
        raise DataError(
            f"{path} is not a record of a run ({cause}); it was changed by hand, give another run"
        ) from cause

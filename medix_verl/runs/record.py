# SPDX-License-Identifier: Apache-2.0
"""`medix_run.json`, beside a run's checkpoints: what it takes to repeat the run, and what it was measured with.

The file is written when the run starts and once more when its data files have been hashed, each time as a whole (a
reader never sees half of one). No secret is in it (see `secrets`). A folder that one run after another trains into
keeps the earlier records as medix_run.1.json, medix_run.2.json and so on: a resumed run is another run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError
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

FILE_NAME = "medix_run.json"
FORMAT = 2
MAIN = "python -m verl.trainer.main_ppo"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that was trained or validated on."""

    role: str
    """`train` or `val`."""
    path: str
    sha256: str | None = None
    """None: not hashed yet, or it could not be; `note` says why."""
    rows: int | None = None
    size: int | None = None
    """In bytes."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model something was done with."""

    kind: str
    """`rule`, `openai`, `verl`, `hub`, `folder`, `package`, `off`."""
    name: str | None = None
    url: str | None = None
    revision: str | None = None
    """The hub's commit on this machine, or the digest of a folder's configuration and file sizes."""

    def describe(self) -> str:
        """One line for a person."""
        parts = [
            self.name or "",
            f"at {self.url}" if self.url else "",
            f"revision {self.revision}" if self.revision else "",
        ]
        return ", ".join([self.kind, *(part for part in parts if part)])


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run leaves of itself."""

    started: str
    """UTC, as 2026-01-31T12:00:00Z."""
    overrides: tuple[str, ...]
    """The words after verl's main program, as typed, without secrets."""
    recipes: tuple[str, ...]
    config: Mapping[str, Any]
    """The resolved configuration; environment variables by their names."""
    versions: Mapping[str, str | None]
    commits: Mapping[str, str]
    """Checkout -> its git commit, with `+changes` where files differ from it."""
    data: tuple[DataFile, ...]
    model: Identity
    judge: Identity
    encoder: Identity
    seed: int | None
    terms: Mapping[str, float] = field(default_factory=dict)
    """Term of the reward -> its weight, as the configuration has them; not in records of format 1."""
    withheld: tuple[str, ...] = ()
    """Keys whose values are secret and not here; they must be typed again."""
    directory: str = ""
    """Where the command was typed: paths in it that are relative start there."""
    format: int = field(default=FORMAT)

    @property
    def command(self) -> str:
        """The command line that repeats the run."""
        return repeat_command(self)


def repeat_command(record: RunRecord) -> str:
    """The command line that repeats a run; a secret shows as <secret>, to be typed again."""
    return " ".join([MAIN, *(shlex.quote(word) for word in record.overrides)])


def write_record(record: RunRecord, folder: Path) -> Path:
    """Write the record into a run's folder, at once or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE_NAME, asdict(record), ensure_ascii=False)
    return folder / FILE_NAME


def keep_earlier(folder: Path) -> None:
    """Give an earlier run's record another name."""
    stem, suffix = FILE_NAME.split(".")
    if (folder / FILE_NAME).is_file():
        number = 1
        while (kept := folder / f"{stem}.{number}.{suffix}").exists():
            number += 1
        (folder / FILE_NAME).rename(kept)


def read_record(run: Path) -> RunRecord:
    """Read the record of a run.

    Args:
        run: The run's folder (trainer.default_local_dir, or the one above `checkpoints`), a step's folder in it, or the
            file itself.

    Raises:
        DataError: There is none, or it is damaged or of a newer version.
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
        raise DataError(f"{path} is no JSON ({cause}); it was changed or cut off, give another run") from cause
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise DataError(f"{path} is no record of a run; give the folder of one")
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
        raise DataError(f"{path} is no record of a run ({cause}); it was changed by hand, give another run") from cause

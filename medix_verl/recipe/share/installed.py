# SPDX-License-Identifier: Apache-2.0
"""The record of an installed namespace: its source, the SHA-256 of each file, and the code accepted by name.

A run, `doctor` and `recipe check` read it: a file changed since the installation is refused, and accepted code needs no
further `--trust`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medix_verl.recipe.code import Trust
from medix_verl.recipe.heads import lineage
from medix_verl.recipe.index import recipe_files, recipe_heads
from medix_verl.recipe.lock import SUFFIX as LOCK

__all__ = ["RECORD", "Installed", "changed", "digest_of", "read_installed", "with_accepted"]

RECORD = ".installed.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Installed:
    """Record of one installed namespace."""

    source: str
    commit: str
    when: str
    files: Mapping[str, str]
    """File in the namespace's folder -> SHA-256."""
    accepted: tuple[str, ...]
    """Lines `KEY=VALUE` from medix_verl.recipe.code and reach, and code files."""
    format: int = field(default=FORMAT)

    def as_json(self) -> str:
        """The text of its file."""
        return json.dumps(asdict(self), indent=1) + "\n"


def digest_of(data: bytes) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(data).hexdigest()


def read_installed(folder: Path) -> Installed | None:
    """The record in a namespace's folder; None if it was not installed; raises ValueError if the record is damaged."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        read = Installed(**{**found, "accepted": tuple(found["accepted"])})
    except (OSError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(str(path)) from error
    if read.format != FORMAT or not isinstance(read.files, dict):
        raise ValueError(str(path))
    return read


def changed(names: Sequence[str]) -> list[str]:
    """Changes to these recipes' namespaces since their installation, one line each."""
    return [line for folder in _folders(names) for line in _changed_in(folder)]


def with_accepted(trust: Trust, names: Sequence[str]) -> Trust:
    """`trust` plus the names accepted when these recipes were installed, for unchanged namespaces only."""
    if trust is True:
        return True
    found = [] if trust is False else list(trust)
    for folder in _folders(names):
        if not _changed_in(folder) and (record := read_installed(folder)) is not None:
            found += record.accepted
    return found


def _folders(names: Sequence[str]) -> Iterator[Path]:
    """Folders of the installed namespaces of these recipes and their ancestors."""
    files, heads = recipe_files(), recipe_heads()
    all_names: Iterable[str] = (above for name in names for above in lineage(name, heads))
    spaces = dict.fromkeys(Path(str(files[name])).parent for name in all_names if "/" in name and name in files)
    yield from (folder for folder in spaces if (folder / RECORD).is_file())


def _changed_in(folder: Path) -> list[str]:
    try:
        record = read_installed(folder)
    except ValueError as error:
        return [f"{error} is damaged; install {folder.name} again, with --replace"]
    if record is None:
        return []
    again = f"medix-verl recipe install {record.source}{'@' + record.commit if record.commit else ''} --replace"
    own = {RECORD, "__pycache__"}
    have = {path.name for path in folder.iterdir() if path.name not in own and not path.name.endswith(LOCK)}
    lines = [f"{folder.name}/{name} was not installed with it" for name in sorted(have - set(record.files))]
    for name, digest in record.files.items():
        if name.endswith(LOCK):
            continue  # the user may lock a new run
        path = folder / name
        if not path.is_file() or path.is_symlink():
            lines.append(f"{folder.name}/{name} is gone since it was installed")
        elif digest_of(path.read_bytes()) != digest:
            lines.append(f"{folder.name}/{name} has been changed since it was installed")
    return [f"{line}; type {again}, or stand on it with a recipe of your own" for line in lines]

# SPDX-License-Identifier: Apache-2.0
"""Creates the lock of a recipe from the record of a run, and writes it next to the recipe's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medix_verl.errors import ConfigError, DataError
from medix_verl.recipe.heads import read_head
from medix_verl.recipe.index import recipe_files
from medix_verl.recipe.lock import SUFFIX, Lock, LockedFile, lock_place, texts_of, typed_keys, without_place
from medix_verl.recipe.requires import read_requires
from medix_verl.runs.record import RunRecord, read_record
from medix_verl.runtime.files import write_text

__all__ = ["lock_of", "lock_run"]


def lock_run(folder: Path, recipe: str | None = None, out: Path | None = None) -> Path:
    """Write the lock of a run.

    Args:
        folder: The run's folder.
        recipe: The recipe of the run next to which the lock is written; None uses the last one that is not
            medix-verl's own.
        out: A file to write instead.

    Raises:
        DataError: The run has no record, or its record is incomplete.
        ConfigError: The recipe's file is not found.
    """
    record = read_record(folder)
    lock = lock_of(record, folder)
    if out is None:
        out = _place(record, lock, recipe)
    write_text(out, lock.as_json())
    return out


def lock_of(record: RunRecord, folder: Path) -> Lock:
    """The lock of a run.

    Raises:
        DataError: The record is of an older version, of a run without recipes, or its data files were not hashed.
    """
    if not record.recipes:
        raise DataError(f"the run in {folder} was started without +recipe=NAME; there is no recipe to lock")
    if record.format < 3 or not record.texts:
        raise DataError(f"the record in {folder} does not hold the recipes' texts; train once more with this version")
    unknown = [file for file in record.data if file.sha256 is None]
    if unknown:
        raise DataError(
            f"{unknown[0].path} was not hashed ({unknown[0].note or 'the run has not ended'}); lock another run"
        )
    return Lock(
        run=record.recipes,
        started=record.started,
        requires=_requires(record),
        versions={name: version for name, version in record.versions.items() if version},
        texts=dict(record.texts),
        data=tuple(LockedFile(f.role, Path(f.path).name, str(f.sha256), f.rows) for f in record.data),
        model=without_place(record.model),
        judge=without_place(record.judge),
        encoder=without_place(record.encoder),
        prompts=dict(record.prompts),
        terms=dict(record.terms),
        typed=typed_keys(record.overrides, record.config),
    )


def _requires(record: RunRecord) -> dict[str, str]:
    """The recipes' requirements; by default verl from the run's version to the next minor, medix-verl from it on."""
    stated: dict[str, str] = {}
    for name, text in record.texts.items():
        stated.update(read_requires(read_head(name, text).requires))
    verl, ours = record.versions.get("verl"), record.versions.get("medix-verl")
    ranges = {"verl": f">={verl},<{_next_minor(verl)}"} if verl else {}
    return {**ranges, **({"medix-verl": f">={ours}"} if ours else {}), **stated}


def _next_minor(version: str) -> str:
    from packaging.version import Version

    read = Version(version)
    return f"{read.major}.{read.minor + 1}"


def _place(record: RunRecord, lock: Lock, recipe: str | None) -> Path:
    own = [name for name in record.recipes if not _is_hash(lock.texts, name)]
    name = recipe or (own[-1] if own else None)
    if name is None:
        raise ConfigError(
            f"{', '.join(record.recipes)} came with medix-verl, and a lock lies beside a recipe of your own; type "
            f"medix-verl recipe new NAME --from {record.recipes[0]}, or --out FILE{SUFFIX}"
        )
    if name not in record.recipes:
        raise ConfigError(f"--recipe {name}: the run had {', '.join(record.recipes)}; name one of them")
    if name not in recipe_files():
        raise ConfigError(f"recipe '{name}' is not found here; set MEDIX_RECIPES as for the run, or type --out FILE")
    if texts_of([name]).get(name) != lock.texts.get(name):
        raise ConfigError(
            f"recipe '{name}' has been changed since the run; lock a run of the text as it is, or --out FILE"
        )
    place = lock_place(name)
    if place is None or _is_hash(lock.texts, name):
        raise ConfigError(f"recipe '{name}' lies in a package; type --out FILE")
    return place


def _is_hash(texts: Mapping[str, str], name: str) -> bool:
    return texts.get(name, "sha256:").startswith("sha256:")

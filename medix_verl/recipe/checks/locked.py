# SPDX-License-Identifier: Apache-2.0
"""Compares a run of a locked recipe with the run it was locked with; differences are reported and stop nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError
from medix_verl.recipe.check import Check
from medix_verl.recipe.data_files import hash_files, list_files
from medix_verl.recipe.lock import LockedFile, differences, lock_place, read_lock

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["check_locks", "compare_locks"]

SHOWN = 12


def compare_locks(config: DictConfig, names: Sequence[str], words: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The locks in the recipes' folders, each as plain values `recipe`, `differs`, `data` and `error`.

    Args:
        config: Composed, without Hydra's section.
        names: The recipes as typed.
        words: The overrides as typed.
    """
    found: list[dict[str, Any]] = []
    for name in names:
        place = lock_place(name)
        if place is None or not place.is_file():
            continue
        try:
            lock = read_lock(place)
        except ConfigError as error:
            found.append({"recipe": name, "differs": [], "data": [], "error": str(error)})
            continue
        data = [[file.role, file.name, file.sha256] for file in lock.data]
        differs = list(differences(lock, config, names, words))
        found.append({"recipe": name, "differs": differs, "data": data, "error": None})
    return found


def check_locks(locks: Sequence[Mapping[str, Any]], train: Sequence[str], val: Sequence[str]) -> Iterator[Check]:
    """One check for each lock. The data files are read completely to hash them.

    Args:
        locks: From compare_locks.
        train: Current `data.train_files`.
        val: Current `data.val_files`.
    """
    for lock in locks:
        if lock["error"] is not None:
            yield Check("lock", "FAIL", lock["error"], "remove that lock, or lock a run again")
            continue
        files = [LockedFile(*item) for item in lock["data"]]
        differs = [*_other_data(files, train, val), *lock["differs"]]
        if not differs:
            yield Check("lock", "ok", f"{lock['recipe']}: as in the run that it was locked with")
            continue
        more = [f"and {len(differs) - SHOWN} more"] if len(differs) > SHOWN else []
        listed = "; ".join([*differs[:SHOWN], *more])
        todo = f"make it as it was, or expect other figures than those of {lock['recipe']}"
        yield Check("lock", "warn", f"differs from the run that {lock['recipe']} was locked with: {listed}", todo)


def _other_data(files: Sequence[LockedFile], train: Sequence[str], val: Sequence[str]) -> Iterator[str]:
    now = hash_files(list_files(train, val))
    yield from (
        f"{file.role} data: {file.path} cannot be compared ({file.note})" for file in now if file.sha256 is None
    )
    for role in ("train", "val"):
        then = {file.sha256: file.name for file in files if file.role == role}
        have = {file.sha256: file.path for file in now if file.role == role and file.sha256 is not None}
        added = [path for digest, path in have.items() if digest not in then]
        missing = [name for digest, name in then.items() if digest not in have]
        if added or missing:
            yield f"{role} data: {', '.join(missing) or 'nothing'} -> {', '.join(added) or 'nothing'}"

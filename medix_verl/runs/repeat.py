# SPDX-License-Identifier: Apache-2.0
"""Lists differences that repeating a run by its command would not restore.

A record (`medix_run.json`) is compared with the present state: recipes that are not found, keys that compose to other
values because a recipe's file or verl has changed, and other versions and data files. Differences are only reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from medix_verl.errors import ConfigError
from medix_verl.recipe.compose import plain
from medix_verl.recipe.identity import versions
from medix_verl.recipe.index import VARIABLE, recipe_heads
from medix_verl.runs.record import RunRecord
from medix_verl.secrets import SECRET

__all__ = ["cautions"]

SHOWN = 5


def cautions(record: RunRecord) -> Iterator[str]:
    """Yield what the command alone does not restore, one line each."""
    if record.directory:
        yield f"typed in: {record.directory}"
    trainer = record.config.get("trainer")
    if isinstance(trainer, dict) and trainer.get("resume_mode") not in (None, "disable"):
        yield (
            "where its checkpoints still are it goes on from the last one; to begin again, add "
            "trainer.resume_mode=disable trainer.default_local_dir=FOLDER"
        )
    unknown = [name for name in record.recipes if name not in recipe_heads()]
    if unknown:
        yield f"not found here: {', '.join(unknown)}; export {VARIABLE}=FOLDER that has it, or take `--full`"
    elif find_spec("verl") is not None:
        yield from _other_keys(record)
    yield from _other_versions(record)
    yield from _other_files(record)


def _other_keys(record: RunRecord) -> Iterator[str]:
    """Keys that have another value today for the same command; keys with secrets cannot be compared."""
    from omegaconf import OmegaConf

    from medix_verl.recipe.compose import changes, compose_recipes
    from medix_verl.runs.compose import resolved

    words = [word for word in record.overrides if SECRET not in word]
    try:
        today = resolved(compose_recipes((), words))
    except ConfigError as error:
        yield f"the command does not compose any more: {error}"
        return
    found = changes(OmegaConf.create(dict(record.config)), OmegaConf.create(today))
    differs = [f"{key}: {plain(then)} -> {plain(now)}" for key, (then, now) in found.items() if SECRET not in str(then)]
    if differs:
        more = [f"and {len(differs) - SHOWN} more"] if len(differs) > SHOWN else []
        listed = "; ".join([*differs[:SHOWN], *more])
        yield f"a recipe or verl has changed since, the run's own values are in `--full`: {listed}"


def _other_versions(record: RunRecord) -> Iterator[str]:
    now = versions()
    changed = [
        f"{name} {then} -> {now.get(name) or 'none'}"
        for name, then in record.versions.items()
        if then is not None and now.get(name) != then
    ]
    if changed:
        yield f"other versions here: {', '.join(changed)}"


def _other_files(record: RunRecord) -> Iterator[str]:
    """Data files that are missing or have another size; hashing all of them would take too long."""
    for file in record.data:
        if file.size is None:
            continue
        try:
            size = (Path(record.directory) / file.path).stat().st_size
        except OSError:
            yield f"not here: {file.path} ({file.role})"
            continue
        if size != file.size:
            yield f"changed since: {file.path} ({file.role}) had {file.size} bytes and has {size}"

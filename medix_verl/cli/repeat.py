# SPDX-License-Identifier: Apache-2.0
"""What repeats a run: its command, and what that command alone does not bring back.

A record (`medix_run.json`) is compared with today: recipes that cannot be found, keys that compose to other values
because a recipe's file or verl has changed, versions and data files that are others. Nothing is refused; it is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from medix_verl.cli.lines import plain, waiting
from medix_verl.errors import ConfigError
from medix_verl.recipes_index import VARIABLE, recipe_heads
from medix_verl.runs.record import RunRecord, read_record
from medix_verl.runs.secrets import SECRET
from medix_verl.runs.surroundings import versions

__all__ = ["show_run"]

SHOWN = 5


def show_run(folder: Path, full: bool) -> None:
    """Print what repeats the run in a folder, or with `full` its resolved configuration.

    Raises:
        DataError: The folder has no record that can be read.
    """
    record = read_record(folder)
    if full:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(dict(record.config))), end="")
        return
    with waiting("composing the run's command as of today"):
        said = list(_cautions(record))
    print(f"{record.command}\n")
    for line in said:
        print(line)
    if record.withheld:
        print(f"secrets, to be typed again: {', '.join(record.withheld)}")
    print(f"started: {record.started}; seed: {record.seed}; recipes: {', '.join(record.recipes) or 'none'}")
    for name in ("model", "judge", "encoder"):
        print(f"{name}: {getattr(record, name).describe()}")
    if record.terms:
        print("terms: " + ", ".join(f"{name} {weight:g}" for name, weight in record.terms.items()))
    for file in record.data:
        rows = "rows not known" if file.rows is None else f"{file.rows} rows"
        print(f"{file.role}: {file.path}, {rows}, {f'sha256 {file.sha256}' if file.sha256 else file.note}")
    print("versions: " + ", ".join(f"{name} {version}" for name, version in record.versions.items() if version))
    for checkout, commit in record.commits.items():
        print(f"commit of {checkout}: {commit}")


def _cautions(record: RunRecord) -> Iterator[str]:
    """What the command alone does not bring back, one line each."""
    if record.directory:
        yield f"typed in: {record.directory}"
    trainer = record.config.get("trainer")
    if isinstance(trainer, dict) and trainer.get("resume_mode") not in (None, "disable"):
        yield (
            "where its checkpoints still are it goes on from the last one; to begin anew, add "
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
    """Keys to which the same words give another value today; those of a secret cannot be told."""
    from omegaconf import OmegaConf

    from medix_verl.cli.composed import changes, compose_recipes
    from medix_verl.runs.compose import resolved

    words = [word for word in record.overrides if SECRET not in word]
    try:
        today = resolved(compose_recipes((), words))
    except ConfigError as error:
        yield f"the command does not compose any more: {error}"
        return
    found = changes(OmegaConf.create(dict(record.config)), OmegaConf.create(today))
    told = [f"{key}: {plain(then)} -> {plain(now)}" for key, (then, now) in found.items() if SECRET not in str(then)]
    if told:
        more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
        listed = "; ".join([*told[:SHOWN], *more])
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
    """Files of data that are not here, or not as large as they were; a hash of them all would take too long."""
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

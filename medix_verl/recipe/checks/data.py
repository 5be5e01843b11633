# SPDX-License-Identifier: Apache-2.0
"""Checks of a recipe's data: files exist, train and val do not overlap, and validation can change during the run.

What stops a run is a FAIL; a pointless measurement is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medix_verl.data.duplicates.split_overlap import find_overlap
from medix_verl.data.mixture.spec import is_mixture, read_mixture
from medix_verl.data.prompts import is_template, template_names
from medix_verl.data.schema import check_file
from medix_verl.errors import MedixError
from medix_verl.recipe.check import Check

__all__ = ["EVALUATED_PROMPT", "check_files", "check_overlap", "check_prompt", "check_validation", "count_rows"]

EVALUATED_PROMPT = "medix"
"""Default prompt of `medix-verl evaluate`."""


def check_files(files: Sequence[str], recipe: str, prepare: str, needed: bool = True, of_schema: bool = True) -> Check:
    """Whether the data files exist and can be read.

    Args:
        files: `data.train_files` and `data.val_files`.
        recipe: Recipe name.
        prepare: The command that creates them.
        of_schema: False if a data set class other than MedixDataset reads them.
    """
    if not files:
        return Check("data", "FAIL", f"no data.train_files ({recipe})", "data.train_files=FILE.parquet")
    away = [name for name in files if "://" in name]
    here = [str(Path(name).expanduser()) for name in files if "://" not in name]
    missing = [name for name in here if not Path(name).is_file()]
    if missing:
        found = f"there is no data file {', '.join(missing)}: type `{prepare}` to make it ({recipe})"
        return Check("data", "FAIL", found, f"{prepare}, or set data.train_files and data.val_files")
    if not of_schema:
        return Check("data", "ok", f"{', '.join(files)}, read by a class of your own ({recipe})")
    try:
        rows = [f"{name} {count_rows([name])}" for name in here]
    except MedixError as error:
        return Check("data", "FAIL", *_split(error, "medix-verl check FILE"))
    other = f"; not looked into: {', '.join(away)}" if away else ""
    return Check("data", "ok", f"rows: {', '.join(rows)}{other}" if rows else f"not looked into: {', '.join(away)}")


def count_rows(files: Sequence[str]) -> int:
    """Rows of parquet files; for a mixture, the rows of one epoch.

    Raises:
        MedixError: A file is neither a sample file nor a mixture file.
    """
    total = 0
    for name in files:
        if is_mixture(name):
            from medix_verl.data.mixture.plan import build

            total += len(build(read_mixture(name)).table)
        else:
            total += check_file(name)
    return total


def check_overlap(train: Sequence[str], val: Sequence[str], recipe: str) -> Check:
    """Whether the training and validation files are the same, or share rows, images or patients."""
    name = "train and val"
    same = sorted({_place(one) for one in train} & {_place(one) for one in val})
    if same:
        found = f"{', '.join(same)} is both ({recipe}): validation measures memory"
        return Check(name, "warn", found, "data.val_files=OTHER.parquet, or medix-verl prepare ... --split-by")
    try:
        shared = find_overlap(train, val)
    except MedixError as error:
        return Check(name, "FAIL", f"{error} ({recipe})", "fix the file that is named here, or give others")
    if shared:
        return Check(
            name, "warn", f"{shared} ({recipe})", "medix-verl check TRAIN --against VAL, or prepare --split-by"
        )
    unseen = f"; not looked into: {', '.join(shared.unseen)}" if shared.unseen else ""
    return Check(name, "ok", f"no row, picture or patient is known to be in both ({recipe}){unseen}")


def check_validation(
    schedule: Mapping[str, Any], train: Sequence[str], val: Sequence[str], recipe: str
) -> Iterator[Check]:
    """Whether the run has at least one step, and whether two of its validations can differ."""
    try:
        rows = _rows(train)
        val_rows = _rows(val)
    except MedixError:
        return  # reported by check_files
    if rows is not None and 0 < schedule["max_samples"] < rows:
        rows = schedule["max_samples"]
    if rows is not None and rows < schedule["batch"]:
        found = f"{rows} training rows are less than data.train_batch_size={schedule['batch']}: no step ({recipe})"
        yield Check("steps", "FAIL", found, f"data.train_batch_size={max(1, rows)} or fewer, or more rows")
        return
    if val_rows == 0 or not val:
        yield Check("validation", "FAIL", f"no row to validate on ({recipe})", "data.val_files=FILE.parquet")
        return
    steps = schedule["steps"] or (None if rows is None else rows // schedule["batch"] * schedule["epochs"])
    if reason := _constant(schedule, steps):
        yield Check("validation", "warn", f"{reason[0]} ({recipe})", reason[1])


def _constant(schedule: Mapping[str, Any], steps: int | None) -> tuple[str, str] | None:
    """Why validation cannot change during the run, and what to type; None if it can."""
    if schedule["val_only"]:
        return None
    if not schedule["rate"]:
        return "actor.optim.lr is 0: no step changes the model", "actor_rollout_ref.actor.optim.lr=1e-6"
    if schedule["test_freq"] is None or schedule["test_freq"] <= 0:
        when = "before the first step only" if schedule["val_before_train"] else "never"
        return f"trainer.test_freq={schedule['test_freq']}: validated {when}", "trainer.test_freq=5"
    if steps is not None and schedule["test_freq"] > steps and not schedule["val_before_train"]:
        return f"validated once, after the last of {steps} steps", "trainer.val_before_train=true"
    return None


def check_prompt(prompt: str, recipe: str) -> Check | None:
    """Fail if the prompt does not exist; warn if `evaluate` needs `--prompt` to use it; None otherwise."""
    if not is_template(prompt):
        found = f"data.medix.prompt={prompt} is none of {', '.join(template_names())} ({recipe})"
        return Check("prompt", "FAIL", found, f"data.medix.prompt={EVALUATED_PROMPT}")
    if prompt == EVALUATED_PROMPT:
        return None
    found = f"data.medix.prompt={prompt}: evaluation takes it from the checkpoint and from its export; a model at "
    found += f"another server is asked with {EVALUATED_PROMPT} unless another is given ({recipe})"
    return Check("prompt of evaluation", "warn", found, f"medix-verl evaluate ... --prompt {prompt}")


def _rows(files: Sequence[str]) -> int | None:
    """Rows of the files; None if one is missing or not local."""
    places = [str(Path(name).expanduser()) for name in files]
    if any("://" in name or not Path(name).is_file() for name in places):
        return None
    return count_rows(places)


def _place(name: str) -> str:
    return name if "://" in name else str(Path(name).expanduser().resolve())


def _split(error: Exception, todo: str) -> tuple[str, str]:
    found, _, said = str(error).rpartition("; ")
    return (found, said) if found else (said, todo)

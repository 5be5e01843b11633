# SPDX-License-Identifier: Apache-2.0
"""Prints how to repeat a run: its command, and what that command alone does not reproduce."""

from __future__ import annotations

from pathlib import Path

from medix_verl.cli.lines import waiting
from medix_verl.runs.record import read_record
from medix_verl.runs.repeat import cautions

__all__ = ["show_run"]


def show_run(folder: Path, full: bool) -> None:
    """Print how to repeat the run in a folder, or with `full` its resolved configuration.

    Raises:
        DataError: The folder has no readable record.
    """
    record = read_record(folder)
    if full:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(dict(record.config))), end="")
        return
    with waiting("composing the run's command as of today"):
        said = list(cautions(record))
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

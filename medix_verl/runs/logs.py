# SPDX-License-Identifier: Apache-2.0
"""Finds where verl writes a run's metrics and answers, from the run's configuration and environment.

verl 0.9.1 (utils/tracking.py): the `file` logger writes $VERL_FILE_LOGGER_PATH, or PROJECT/EXPERIMENT.jsonl below
$VERL_FILE_LOGGER_ROOT; TensorBoard's events are in $TENSORBOARD_DIR, or tensorboard_log/PROJECT/EXPERIMENT. Both paths
are relative to the run's working directory. The other loggers (wandb and others) write nothing that a report reads.
Two runs with the same name write to the same path: a log older than a run's start belongs to another run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from medix_verl.recipe.identity import section
from medix_verl.runs.record import RunRecord

__all__ = ["READ", "Places", "log_paths", "loggers_of", "places_of", "was_written_by"]

READ = ("file", "tensorboard")
"""Loggers whose output a report can read, in order of preference."""


@dataclass(frozen=True, slots=True)
class Places:
    """Output paths according to the record of a run; they need not exist."""

    metrics: tuple[Path, ...] = ()
    """A file or folder for each logger of READ that the run used."""
    rollouts: Path | None = None
    validation: Path | None = None
    loggers: tuple[str, ...] = ()
    """trainer.logger"""


def loggers_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """trainer.logger as a list."""
    named = trainer_of(config).get("logger")
    if isinstance(named, str):
        return (named,)
    return tuple(str(name) for name in named) if isinstance(named, (list, tuple)) else ()


def log_paths(config: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Logger -> output path, for loggers that a report can read; paths are relative to the run's working directory."""
    trainer = trainer_of(config)
    # Variables that a recipe sets for Ray's processes, one of which writes the logs.
    environment = {**environment, **section(config, "ray_kwargs", "ray_init", "runtime_env", "env_vars")}
    project, experiment = (str(trainer.get(key)) for key in ("project_name", "experiment_name"))
    root = environment.get("VERL_FILE_LOGGER_ROOT") or "."
    paths = {
        "file": environment.get("VERL_FILE_LOGGER_PATH") or str(Path(root) / project / f"{experiment}.jsonl"),
        "tensorboard": environment.get("TENSORBOARD_DIR") or str(Path("tensorboard_log") / project / experiment),
    }
    return {name: path for name, path in paths.items() if name in loggers_of(config)}


def places_of(record: RunRecord) -> Places:
    """Output paths of a run. A record from before `logs` existed is read as if these variables were not set."""
    start, trainer = Path(record.directory or "."), trainer_of(record.config)
    logs = record.logs or log_paths(record.config, {})

    def place(path: Any) -> Path | None:
        return start / Path(path).expanduser() if isinstance(path, str) and path else None

    metrics = [place(logs[name]) for name in READ if name in logs]
    return Places(
        metrics=tuple(path for path in metrics if path is not None),
        rollouts=place(trainer.get("rollout_data_dir")),
        validation=place(trainer.get("validation_data_dir")),
        loggers=loggers_of(record.config),
    )


def was_written_by(record: RunRecord, path: Path) -> bool:
    """Whether a log exists and was written after the run's start."""
    files = [path] if path.is_file() else list(path.glob("events.out.tfevents.*")) if path.is_dir() else []
    try:
        started = datetime.strptime(record.started, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return bool(files)
    return any(file.stat().st_mtime >= started for file in files)


def trainer_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section `trainer` of a configuration."""
    return section(config, "trainer")

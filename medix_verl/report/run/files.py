# SPDX-License-Identifier: Apache-2.0
"""Finds and reads verl's output of a training run: the metrics of each step, and the folders of dumped answers.

Files are recognised by content, not by name: lines with `step` and `data` are verl's `file` logger, lines with `input`,
`output` and `score` in files named after a step are dumped answers, lines with `uid` and `id` are the plugin's own
parts of them. TensorBoard's events are read if there is no metrics file. Files outside the run's folder are found
through the run's record: by default, verl's `file` log is not in the run's folder. Runs in progress can be read. Two
candidates of the same kind are refused.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError, SetupError
from medix_verl.report.run.record import Found, find_record
from medix_verl.rewards.metrics import terms_found
from medix_verl.runs.record import FILE_NAME
from medix_verl.runtime.files import read_json_lines

__all__ = ["Metrics", "RunFiles", "find_run", "read_metrics"]

DEPTH = 4
SKIPPED = ("global_step_", "tokenizer", "policy", "judge", "__pycache__")
"""Folders that contain models, not records."""
SETTINGS = (FILE_NAME, "overrides.yaml", "config.yaml", "manifest.json", "report.md")
"""The plugin's record of the run, Hydra's files, and those of the demo."""
FIRST_LINE = 4_000_000
TRIED = 3
"""Number of first lines by which a file's kind is determined."""
TRAINING = ("timing_s/step", "medix/score/mean", "critic/score/mean")
"""A step with one of these keys was trained, not only validated."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where a run's records are; None if missing."""

    folder: Path
    metrics: Path | None = None
    """A JSONL file of the `file` logger, or a folder of TensorBoard's events."""
    rollouts: Path | None = None
    validation: Path | None = None
    parts: Path | None = None
    """Id, data source and reward terms of each answer, if the plugin's sampler wrote them."""
    settings: tuple[Path, ...] = ()
    """Configuration as text."""
    record: Found | None = None
    """The record of the run."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of every step."""

    steps: Mapping[int, Mapping[str, float]]
    broken: int = 0
    """Lines that could not be read, such as one that is being written."""
    not_numbers: Mapping[str, int] | None = None
    """Key -> number of values that are not finite."""

    @property
    def training(self) -> list[int]:
        """Steps that were trained, in order."""
        return [step for step, data in sorted(self.steps.items()) if any(key in data for key in TRAINING)]

    def series(self, key: str) -> list[tuple[int, float]]:
        """A key's values over the steps that have it."""
        return [(step, data[key]) for step, data in sorted(self.steps.items()) if key in data]

    def values(self, key: str) -> list[float]:
        """A key's values over the trained steps."""
        return [self.steps[step][key] for step in self.training if key in self.steps[step]]

    def keys(self, start: str = "", end: str = "") -> list[str]:
        """Every key with this prefix and suffix, sorted."""
        found = {key for data in self.steps.values() for key in data}
        return sorted(key for key in found if key.startswith(start) and key.endswith(end))

    @property
    def terms(self) -> list[str]:
        """The recorded terms of the reward, in display order."""
        return terms_found(key for _, data in sorted(self.steps.items()) for key in data)


def find_run(
    folder: Path, metrics: Path | None = None, rollouts: Path | None = None, validation: Path | None = None
) -> RunFiles:
    """Find a run's records.

    Args:
        folder: The run's folder, its parent, or a part of it: a checkpoint, a folder of answers.
        metrics: Its metrics, if they are elsewhere or there are several.
        rollouts: The folder of its training answers, likewise.
        validation: The folder of its validation answers, likewise.

    Raises:
        DataError: A given path is missing, there are several of one kind, or no output of a run was found.
    """
    for path in (folder, metrics, rollouts, validation):
        if path is not None and not path.exists():
            raise DataError(f"there is no {path}; give a folder or file that a training run wrote")
    found, settings = search(folder)
    given = {"metrics": metrics, "rollouts": rollouts, "validation": validation}
    others = other_runs(folder, found["metrics"]) if metrics is None else ()
    found = {kind: {path for path in paths if not set(path.parents) & set(others)} for kind, paths in found.items()}
    chosen = {kind: only(kind, paths, given.get(kind)) for kind, paths in found.items()}
    settings = [path for path in settings if not set(path.parents) & set(others)]
    record = find_record(folder, [path for path in settings if path.name == FILE_NAME])
    if record is not None:
        chosen = completed(chosen, record)
        settings += [record.path] if record.path not in settings else []
    if not (chosen["metrics"] or chosen["rollouts"] or chosen["validation"]):
        raise DataError(nothing_recorded(folder, record))
    return RunFiles(folder, settings=tuple(sorted(settings)), record=record, **chosen)


def search(folder: Path) -> tuple[dict[str, set[Path]], list[Path]]:
    """The paths of each kind inside a folder, and its files of settings."""
    found: dict[str, set[Path]] = {"metrics": set(), "rollouts": set(), "validation": set(), "parts": set()}
    settings: list[Path] = []
    events: set[Path] = set()
    for path in walk(folder):
        if path.suffix == ".jsonl":
            kind = kind_of(path)
            if kind:
                found[kind].add(path if kind == "metrics" else path.parent)
        elif path.name.startswith("events.out.tfevents."):
            events.add(path.parent)
        elif path.name in SETTINGS:
            settings.append(path)
    found["metrics"] = found["metrics"] or events
    return found, settings


def completed(chosen: Mapping[str, Path | None], record: Found) -> dict[str, Path | None]:
    """The paths found in a run's folder, with missing ones taken from the record, if they exist."""
    places = record.places
    answers = {"rollouts": places.rollouts, "validation": places.validation}
    found = {**chosen, "metrics": chosen["metrics"] or record.metrics}
    for kind, place in answers.items():
        if found[kind] is None and place is not None and any(place.glob("*.jsonl")):
            found[kind] = place
    parts = found["rollouts"] / "parts" if found["rollouts"] else None
    if found["parts"] is None and parts is not None and parts.is_dir():
        found["parts"] = parts
    return found


def nothing_recorded(folder: Path, record: Found | None) -> str:
    """The error message for a folder without output of a run."""
    if record is None:
        return (
            f"{folder} is neither an evaluation nor a training run; accepted: what `medix-verl evaluate --out` wrote, "
            "or a folder with verl's `file` log or answers; give them with --metrics, --rollouts, --validation"
        )
    places = record.places
    looked = [*places.metrics, places.rollouts, places.validation]
    searched = ", ".join(str(path) for path in looked if path is not None)
    return (
        f"{folder} is a training run that has recorded nothing yet (trainer.logger={list(places.loggers)}); looked at "
        f"{searched or 'nothing, for its record names no place'}; give what there is with --metrics, --rollouts, "
        "--validation"
    )


def walk(folder: Path) -> Iterator[Path]:
    """Files of a run's folder up to DEPTH, without its models."""
    for root, folders, names in os.walk(folder):
        depth = len(Path(root).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if depth < DEPTH and not name.startswith(SKIPPED))
        yield from (Path(root) / name for name in sorted(names))


def other_runs(folder: Path, metrics: Iterable[Path]) -> list[Path]:
    """Folders of other runs inside this one's, such as an ablation's: those whose metrics are at a greater depth."""
    depths = {path: len(path.relative_to(folder).parts) for path in metrics}
    return [path.parent for path, depth in depths.items() if depth > min(depths.values())]


def only(kind: str, paths: Iterable[Path], given: Path | None) -> Path | None:
    """The only path of a kind; None without any."""
    if given is not None:
        return given
    places = sorted(paths)
    if len(places) > 1:
        names = ", ".join(str(path) for path in places[:3])
        raise DataError(f"there are {len(places)} places with {kind}: {names}; give the run's with --{kind}")
    return places[0] if places else None


def kind_of(path: Path) -> str | None:
    """The kind of a JSONL file, by its first lines; None if unknown."""
    with path.open("rb") as lines:
        first = [lines.readline(FIRST_LINE) for _ in range(TRIED)]
    return next((kind for line in first if (kind := kind_of_line(path, line))), None)


def kind_of_line(path: Path, line: bytes) -> str | None:
    """The kind of a file with this line; None if unknown."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    if {"step", "data"} <= set(entry) and isinstance(entry["data"], dict):
        return "metrics"
    if not path.stem.removeprefix("val-").isdigit():
        return None
    if {"input", "output", "score"} <= set(entry):
        return "validation" if "val" in path.parent.name.lower() else "rollouts"
    return "parts" if {"uid", "id"} <= set(entry) else None


def read_metrics(path: Path | None) -> Metrics:
    """Read a run's metrics; empty without a path. If a step occurs twice, the last value of each key counts.

    Raises:
        SetupError: They are TensorBoard's, and it is not installed.
    """
    if path is None:
        return Metrics({})
    entries = read_events(path) if path.is_dir() or "tfevents" in path.name else read_json_lines(path)
    steps: dict[int, dict[str, float]] = {}
    broken, not_numbers = 0, Counter[str]()
    for entry in entries:
        step, data = (entry or {}).get("step"), (entry or {}).get("data")
        if not isinstance(step, int) or not isinstance(data, dict):
            broken += 1
            continue
        numbers = steps.setdefault(step, {})
        for key, value in data.items():
            # orjson writes NaN and infinity as null.
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                not_numbers[key] += 1
            elif isinstance(value, (int, float)):
                numbers[key] = float(value)
    return Metrics(steps, broken, dict(not_numbers))


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """TensorBoard's scalars in the format of the `file` logger's lines."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise SetupError(f"{path} holds TensorBoard's events; type: pip install tensorboard") from error
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    for key in events.Tags()["scalars"]:
        for event in events.Scalars(key):
            yield {"step": int(event.step), "data": {key: float(event.value)}}

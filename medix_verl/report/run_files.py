# SPDX-License-Identifier: Apache-2.0
"""Finds and reads what verl wrote of a training run: the metrics of each step, and the folders of dumped answers.

A run's folder is looked through by what its files hold, not by their names: lines of `step` and `data` are verl's
`file` logger, lines of `input`, `output` and `score` in files named after a step are dumped answers, lines of `uid` and
`id` are the plugin's own parts of them. TensorBoard's events are read where there is no metrics file. A run in progress
is read as far as it went; two candidates for one thing are refused, because a mixture of two runs is no run.
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
from medix_verl.rewards.metrics import terms_told
from medix_verl.runtime.files import read_json_lines

__all__ = ["Metrics", "RunFiles", "find_run", "read_metrics"]

DEPTH = 4
SKIPPED = ("global_step_", "tokenizer", "policy", "judge", "__pycache__")
"""Folders that hold models and not records."""
SETTINGS = ("medix_run.json", "overrides.yaml", "config.yaml", "manifest.json", "report.md")
"""The plugin's record of the run, Hydra's, and what the demo leaves."""
FIRST_LINE = 4_000_000
TRIED = 3
"""Lines after which a file that shows no kind is taken for none."""
TRAINING = ("timing_s/step", "medix/score/mean", "critic/score/mean")
"""A step that has one of these was trained, and not only validated."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where a run's records are; None for what there is not."""

    folder: Path
    metrics: Path | None = None
    """A jsonl of the `file` logger, or a folder of TensorBoard's events."""
    rollouts: Path | None = None
    validation: Path | None = None
    parts: Path | None = None
    """Id, data source and reward terms of each answer, where the plugin's sampler wrote them."""
    settings: tuple[Path, ...] = ()
    """Configuration as text."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The numbers of every step."""

    steps: Mapping[int, Mapping[str, float]]
    broken: int = 0
    """Lines that could not be read, such as one that is being written."""
    not_numbers: Mapping[str, int] | None = None
    """Key -> how many of its values are not finite."""

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
        """Every key with that start and end, sorted."""
        found = {key for data in self.steps.values() for key in data}
        return sorted(key for key in found if key.startswith(start) and key.endswith(end))

    @property
    def terms(self) -> list[str]:
        """The reward's terms that were recorded, in the order in which they are shown."""
        return terms_told(key for _, data in sorted(self.steps.items()) for key in data)


def find_run(
    folder: Path, metrics: Path | None = None, rollouts: Path | None = None, validation: Path | None = None
) -> RunFiles:
    """Find a run's records.

    Args:
        folder: The run's.
        metrics: Its metrics, where they are elsewhere or there are several.
        rollouts: The folder of its training answers, likewise.
        validation: The folder of its validation answers, likewise.

    Raises:
        DataError: Something named is not there, there are several of one kind, or nothing of a run is there.
    """
    for path in (folder, metrics, rollouts, validation):
        if path is not None and not path.exists():
            raise DataError(f"there is no {path}; give a folder or file that a training run wrote")
    found: dict[str, set[Path]] = {"metrics": set(), "rollouts": set(), "validation": set(), "parts": set()}
    settings = []
    events = set()
    for path in walk(folder):
        if path.suffix == ".jsonl":
            kind = kind_of(path)
            if kind:
                found[kind].add(path if kind == "metrics" else path.parent)
        elif path.name.startswith("events.out.tfevents."):
            events.add(path.parent)
        elif path.name in SETTINGS:
            settings.append(path)
    given = {"metrics": metrics, "rollouts": rollouts, "validation": validation}
    if not found["metrics"]:
        found["metrics"] = events
    others = other_runs(folder, found["metrics"]) if metrics is None else ()
    found = {kind: {path for path in paths if not set(path.parents) & set(others)} for kind, paths in found.items()}
    chosen = {kind: only(kind, paths, given.get(kind)) for kind, paths in found.items()}
    if not (chosen["metrics"] or chosen["rollouts"] or chosen["validation"]):
        raise DataError(
            f"{folder} is no evaluation and no training run; accepted: what `medix-verl evaluate --out` wrote, or a "
            "folder with verl's `file` log or answers; give them with --metrics, --rollouts, --validation"
        )
    return RunFiles(folder, settings=tuple(sorted(settings)), **chosen)


def walk(folder: Path) -> Iterator[Path]:
    """Files of a run's folder, not too deep, without its models."""
    for root, folders, names in os.walk(folder):
        depth = len(Path(root).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if depth < DEPTH and not name.startswith(SKIPPED))
        yield from (Path(root) / name for name in sorted(names))


def other_runs(folder: Path, metrics: Iterable[Path]) -> list[Path]:
    """Folders of further runs inside this one's, such as an ablation's: those whose metrics are not the nearest."""
    depths = {path: len(path.relative_to(folder).parts) for path in metrics}
    return [path.parent for path, depth in depths.items() if depth > min(depths.values())]


def only(kind: str, paths: Iterable[Path], given: Path | None) -> Path | None:
    """The one place of a kind."""
    if given is not None:
        return given
    places = sorted(paths)
    if len(places) > 1:
        names = ", ".join(str(path) for path in places[:3])
        raise DataError(f"there are {len(places)} places with {kind}: {names}; give the run's with --{kind}")
    return places[0] if places else None


def kind_of(path: Path) -> str | None:
    """What a file of JSON lines is, by the first of its first lines that shows it."""
    with path.open("rb") as lines:
        first = [lines.readline(FIRST_LINE) for _ in range(TRIED)]
    return next((kind for line in first if (kind := kind_of_line(path, line))), None)


def kind_of_line(path: Path, line: bytes) -> str | None:
    """What a file with this line is."""
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
    """Read a run's metrics; none without a path. A step that is there twice counts as it was written last.

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
    """TensorBoard's scalars as lines of the `file` logger."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise SetupError(f"{path} holds TensorBoard's events; type: pip install tensorboard") from error
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    for key in events.Tags()["scalars"]:
        for event in events.Scalars(key):
            yield {"step": int(event.step), "data": {key: float(event.value)}}

# SPDX-License-Identifier: Apache-2.0
"""`RUN/on_save/global_step_N.json`: actions, their results and measurements for each checkpoint of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from medix_verl.runtime.files import write_json
from medix_verl.secrets import without_secrets

__all__ = ["FOLDER", "Outcome", "State", "Work", "place_of", "read_outcomes", "write_outcome"]

FOLDER = "on_save"
STEP = "global_step_"


class State(str, Enum):
    """Progress of a checkpoint or an action."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    OVERTAKEN = "overtaken"
    """A later checkpoint was saved before this one was processed."""
    ENDED = "ended"
    """It took too long, was killed, or the run ended first."""


@dataclass(frozen=True, slots=True)
class Work:
    """One action on a checkpoint."""

    action: str
    state: State
    seconds: float = 0.0
    place: str = ""
    """Its output: a folder, relative to the run's."""
    cause: str = ""
    """Why it failed, in one line."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Task -> its mean score."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All actions on one checkpoint."""

    step: int
    state: State = State.WAITING
    work: tuple[Work, ...] = ()
    cause: str = ""


def place_of(run: Path, step: int, suffix: str = ".json") -> Path:
    """A file or folder of a step."""
    return run / FOLDER / f"{STEP}{step}{suffix}"


def write_outcome(run: Path, outcome: Outcome) -> None:
    """Write a step's outcome, replacing an existing file, without secrets."""
    path = place_of(run, outcome.step)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, without_secrets(json.loads(json.dumps(asdict(outcome)))), ensure_ascii=False)


def read_outcomes(run: Path) -> list[Outcome]:
    """The outcomes of a run, by step; files in another format are skipped."""
    found = []
    for path in (run / FOLDER).glob(f"{STEP}*.json"):
        try:
            found.append(from_json(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda outcome: outcome.step)


def from_json(content: Mapping[str, Any]) -> Outcome:
    work = tuple(Work(**{**item, "state": State(item["state"])}) for item in content["work"])
    return Outcome(int(content["step"]), State(content["state"]), work, str(content["cause"]))

# SPDX-License-Identifier: Apache-2.0
"""Reads a finished evaluation: `EVAL_DIR/eval.json` and `EVAL_DIR/records/*.jsonl`, and nothing else.

What a folder holds must agree with itself: a record belongs to the task and the condition that its file is named
after. An evaluation that did not finish is read all the same; `finished` says so, and whoever shows numbers says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError
from medix_verl.evaluation.manifest import entry_name
from medix_verl.evaluation.records import CONDITIONS, Record, read_records
from medix_verl.evaluation.tasks import TaskSpec, tasks

__all__ = ["Evaluation", "is_open", "read_evaluation", "spec_of"]

MANIFEST = "eval.json"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on some tasks, under some conditions."""

    folder: Path
    manifest: Mapping[str, Any]
    """What eval.json says: model, judge, protocol, seed, versions, finished ..."""
    records: Mapping[tuple[str, str], Sequence[Record]]
    """(task, condition) -> records, in the order of the table of tasks."""

    @property
    def model(self) -> str:
        """The evaluated model's name."""
        return name_of(self.manifest["model"])

    @property
    def judge(self) -> str:
        """Who judged."""
        return name_of(self.manifest.get("judge"))

    @property
    def protocol(self) -> str:
        """By which protocol."""
        return name_of(self.manifest.get("protocol"))

    @property
    def finished(self) -> bool:
        """Whether the evaluation says that it came to its end."""
        return bool(self.manifest.get("finished"))

    def tasks(self, condition: str = "real") -> dict[str, Sequence[Record]]:
        """Task -> records under one condition."""
        return {task: found for (task, shown), found in self.records.items() if shown == condition}

    def refused(self, task: str, condition: str = "real") -> Mapping[str, int]:
        """Rows of a task's source that its converter refused, by reason; none of them is a record."""
        done = dict(self.manifest.get("done") or {})
        return dict((done.get(entry_name(task, condition)) or {}).get("refused") or {})


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation's folder.

    Raises:
        DataError: It is none, a file of it cannot be read, or there is no record.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder} is no evaluation: {MANIFEST} is missing; give what medix-verl evaluate --out wrote")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path} is not JSON ({type(error).__name__}); run medix-verl evaluate --resume again"
        ) from error
    if not isinstance(manifest, dict) or not manifest.get("model"):
        raise DataError(f"{path} names no model; run medix-verl evaluate --resume again")
    found: dict[tuple[str, str], Sequence[Record]] = {}
    for file in sorted((folder / "records").glob("*.jsonl"), key=order):
        found[place_of(file)] = checked(file)
    if not any(found.values()):
        raise DataError(f"{folder} has no record; run medix-verl evaluate --resume to finish it")
    return Evaluation(folder, manifest, found)


def place_of(file: Path) -> tuple[str, str]:
    """Task and condition of a file of records, from its name."""
    task, _, condition = file.stem.rpartition(".")
    return (task, condition) if condition in CONDITIONS and task else (file.stem, "real")


def order(file: Path) -> tuple[int, str, int]:
    """Where a file stands: tasks as in the table, then unknown ones, each with its conditions in order."""
    task, condition = place_of(file)
    known = list(tasks())
    return known.index(task) if task in known else len(known), task, CONDITIONS.index(condition)


def checked(file: Path) -> Sequence[Record]:
    """The records of a file, all of its task and condition."""
    records = tuple(read_records(file))
    for record in records:
        if (record.task, record.condition) != place_of(file):
            got = f"{record.task} ({record.condition})"
            raise DataError(f"{file}: record {record.id!r} is of {got}; move it, or evaluate the task again")
    return records


def spec_of(task: str) -> TaskSpec | None:
    """The task's line in the table; None for a task that it does not know."""
    return tasks().get(task)


def is_open(task: str) -> bool:
    """Whether texts and pictures of a task may be shown and handed on; not where nobody knows what it holds."""
    spec = spec_of(task)
    return spec is not None and not spec.credentialed


def name_of(value: Any) -> str:
    """A manifest's entry in words: models of a judge, the name of a protocol, or a text as it is."""
    if isinstance(value, dict):
        models = value.get("model") or []
        value = ", ".join(models) if models else value.get("name") or value.get("kind")
    return str(value) if value else "not stated"

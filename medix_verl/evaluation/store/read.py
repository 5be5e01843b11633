# SPDX-License-Identifier: Apache-2.0
"""Reads an evaluation from `EVAL_DIR/eval.json` and `EVAL_DIR/records/*.jsonl`.

The folder must be consistent: each record has the task and the condition of its file's name. An unfinished evaluation
can be read too; `finished` is then false, and callers that display numbers must state it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError
from medix_verl.evaluation.store.manifest import done_of, read_manifest
from medix_verl.evaluation.store.records import CONDITIONS, Record, place_of, read_records
from medix_verl.evaluation.tasks.table import TaskSpec, tasks

__all__ = ["Evaluation", "is_open", "read_evaluation", "spec_of"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of one model on some tasks, under some conditions."""

    folder: Path
    manifest: Mapping[str, Any]
    """Content of eval.json: model, judge, protocol, seed, versions, finished ..."""
    records: Mapping[tuple[str, str], Sequence[Record]]
    """(task, condition) -> records, in the order of the table of tasks."""

    @property
    def model(self) -> str:
        """The evaluated model's name."""
        return name_of(self.manifest["model"])

    @property
    def judge(self) -> str:
        """The judge's name."""
        return name_of(self.manifest.get("judge"))

    @property
    def protocol(self) -> str:
        """The protocol's name."""
        return name_of(self.manifest.get("protocol"))

    @property
    def finished(self) -> bool:
        """Whether the evaluation is marked as finished."""
        return bool(self.manifest.get("finished"))

    def table(self) -> str:
        """The table of its results, as Markdown."""
        return (self.folder / "table.md").read_text(encoding="utf-8")

    def tasks(self, condition: str = "real") -> dict[str, Sequence[Record]]:
        """Task -> records under one condition."""
        return {task: found for (task, shown), found in self.records.items() if shown == condition}

    def refused(self, task: str, condition: str = "real") -> Mapping[str, int]:
        """Number of rows of a task's source that its converter rejected, by reason; they have no records."""
        return dict(done_of(self.manifest, task, condition).get("refused") or {})

    def deviations(self, task: str, condition: str = "real") -> Sequence[str]:
        """Differences of a task's questions from the published set (medix_verl.evaluation.tasks.expected)."""
        return tuple(done_of(self.manifest, task, condition).get("deviations") or ())


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation's folder.

    Raises:
        DataError: The folder is not an evaluation, one of its files cannot be read, or there is no record.
    """
    manifest = read_manifest(folder, keys=())
    found: dict[tuple[str, str], Sequence[Record]] = {}
    for file in sorted((folder / "records").glob("*.jsonl"), key=order):
        found[place_of(file.stem)] = checked(file)
    if not any(found.values()):
        raise DataError(f"{folder} has no record; run medix-verl evaluate --resume to finish it")
    return Evaluation(folder, manifest, found)


def order(file: Path) -> tuple[int, str, int]:
    """Sort key of a file: tasks in the table's order, then unknown ones, each with its conditions in order."""
    task, condition = place_of(file.stem)
    known = list(tasks())
    return known.index(task) if task in known else len(known), task, CONDITIONS.index(condition)


def checked(file: Path) -> Sequence[Record]:
    """Read the records of a file and check that they have its task and condition."""
    records = tuple(read_records(file))
    for record in records:
        if (record.task, record.condition) != place_of(file.stem):
            got = f"{record.task} ({record.condition})"
            raise DataError(f"{file}: record {record.id!r} is of {got}; move it, or evaluate the task again")
    return records


def spec_of(task: str, manifest: Mapping[str, Any] | None = None) -> TaskSpec | None:
    """The task's spec from the manifest or the table; None if it is in neither."""
    own = dict((manifest or {}).get("own") or {}).get(task)
    return tasks().get(task) if own is None else TaskSpec.from_mapping(own)


def is_open(task: str, manifest: Mapping[str, Any] | None = None) -> bool:
    """Whether texts and pictures of a task may be shown and shared; false for an unknown task."""
    spec = spec_of(task, manifest)
    return spec is not None and not spec.credentialed


def name_of(value: Any) -> str:
    """The name in a manifest's entry: the models of a judge, the name of a protocol, or the text itself."""
    if isinstance(value, dict):
        models = value.get("model") or []
        value = ", ".join(models) if models else value.get("name") or value.get("kind")
    return str(value) if value else "not stated"

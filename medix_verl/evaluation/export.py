# SPDX-License-Identifier: Apache-2.0
"""Writes an evaluation in the layout of the published leaderboard: answers, judged answers and a table of scores.

Below the folder NAME/ (the model's name, with `_` for all that is no letter or digit) lie `NAME.jsonl` (id, question
with its choices, answer, response, answer_idx), `NAME_eval.jsonl` (the same with `evaluation.score`: 0 or 1) and
`NAME_score.txt`, as the official evaluation leaves them (github.com/mbzuai-oryx/MediX-R1, eval/README.md). Its ids are
TASK_NUMBER; the numbers here count by our own ids, which stand beside them as `source_id`. Only tasks of the published
average are written. Credentialed tasks are refused, since the files are made to be handed on; so is an evaluation that
did not finish. An answer without a score is in the first file only, as the layout has no way to say so; how many these
are, and which tasks are not there, is told to whoever exports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import Evaluation, is_open, spec_of
from medix_verl.runtime.files import write_text

__all__ = ["Exported", "export_evaluation", "folder_name"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    files: tuple[Path, Path, Path]
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    """Tasks that are not written: not named, or not of the published average."""
    answers: int
    """In the first file."""
    without_score: int
    """Of these, those that are in the first file only."""
    refused: int
    """Rows of the tasks' sources that were never asked, and are in no file."""


def export_evaluation(evaluation: Evaluation, out: Path, names: Sequence[str] | None = None) -> Exported:
    """Write the three files.

    Args:
        evaluation: A finished one.
        out: The folder that gets the model's folder.
        names: Tasks to write; None is every one of the published average.

    Raises:
        ConfigError: A task is credentialed, unknown or not there, none is left, or the evaluation did not finish.
    """
    if not evaluation.finished:
        raise ConfigError(f"{evaluation.folder} did not finish; type: medix-verl evaluate ... --resume")
    there = evaluation.tasks()
    tasks = chosen(there, names)
    left_out = tuple(task for task in there if task not in tasks)
    name = folder_name(evaluation.model)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = {task: [as_line(task, number, record) for number, record in enumerate(there[task])] for task in tasks}
    judged = {task: with_scores(lines[task], there[task]) for task in tasks}
    files = (folder / f"{name}.jsonl", folder / f"{name}_eval.jsonl", folder / f"{name}_score.txt")
    write_text(files[0], jsonl(line for task in tasks for line in lines[task]), "surrogatepass")
    write_text(files[1], jsonl(line for task in tasks for line in judged[task]), "surrogatepass")
    write_text(files[2], f"Model: {evaluation.model}\n\n{score_table(judged)}\n", "surrogatepass")
    count = sum(len(lines[task]) for task in tasks)
    lost = count - sum(len(judged[task]) for task in tasks)
    refused = sum(sum(evaluation.refused(task).values()) for task in tasks)
    return Exported(files, tuple(tasks), left_out, count, lost, refused)


def chosen(there: Mapping[str, Sequence[Record]], names: Sequence[str] | None) -> list[str]:
    """The tasks to write."""
    wanted = list(names) if names is not None else [task for task in there if is_published(task)]
    for task in wanted:
        if task not in there or not is_published(task):
            fault = "is not in this evaluation" if task not in there else "is not of the published average"
            raise ConfigError(f"task {task!r} {fault}; there are: {', '.join(filter(is_published, there)) or 'none'}")
    closed = [task for task in wanted if not is_open(task)]
    if closed:
        rest = " ".join(task for task in wanted if is_open(task)) or "TASK..."
        raise ConfigError(
            f"{', '.join(closed)}: credentialed data is not exported, its agreement forbids handing it on; "
            f"leave it out: --tasks {rest}"
        )
    if not wanted:
        raise ConfigError("no task of the published average is in this evaluation; there is nothing to export")
    return wanted


def is_published(task: str) -> bool:
    """Whether a task belongs to the published average."""
    spec = spec_of(task)
    return spec is not None and spec.published_name is not None


def folder_name(model: str) -> str:
    """The model's name as the layout spells it: the last part of a path, `_` for all that is no letter or digit.

    Raises:
        ConfigError: Nothing is left of it.
    """
    name = re.sub(r"[^a-zA-Z0-9]", "_", model.rstrip("/").rsplit("/", 1)[-1])
    if not name.strip("_"):
        raise ConfigError(f"the model's name is {model!r}, of which no folder can be named; evaluate it under another")
    return name


def as_line(task: str, number: int, record: Record) -> dict[str, Any]:
    """One answer."""
    question = record.question
    if record.options:
        question += "\n\nChoices:" + "".join(f"\n{ascii_uppercase[n]}. {o}" for n, o in enumerate(record.options[:26]))
    letter = None
    if record.options and record.options.count(record.reference) == 1 and len(record.options) <= len(ascii_uppercase):
        letter = ascii_uppercase[record.options.index(record.reference)]
    return {
        "id": f"{task}_{number}",
        "question": question,
        "answer": record.reference,
        "response": record.response,
        "answer_idx": letter,
        "source_id": record.id,
    }


def with_scores(lines: Sequence[dict[str, Any]], records: Sequence[Record]) -> list[dict[str, Any]]:
    """The answers that have a score, with it."""
    judged = [(line, record.value) for line, record in zip(lines, records, strict=True)]
    return [{**line, "evaluation": {"score": score_of(value)}} for line, value in judged if value is not None]


def score_of(value: float) -> int | float:
    """A score as the layout writes it."""
    return int(value) if value in (0.0, 1.0) else value


def score_table(judged: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Task, accuracy as a share, and in percent; without an average where a task has no score."""
    means = {
        task: sum(line["evaluation"]["score"] for line in lines) / len(lines) if lines else None
        for task, lines in judged.items()
    }
    known = [mean for mean in means.values() if mean is not None]
    rows = list(means.items())
    if len(means) > 1:
        rows.append(("Overall", sum(known) / len(known) if len(known) == len(means) else None))
    wide = max(len(task) for task, _ in rows)
    head = f"{'':>3} {'Task':>{wide}}  Accuracy  Accuracy (%)"
    return "\n".join([head, *(f"{n:<3} {task:>{wide}}  {cells(mean)}" for n, (task, mean) in enumerate(rows))])


def cells(mean: float | None) -> str:
    """The last two columns."""
    return f"{'no score':>8}  {'no score':>12}" if mean is None else f"{mean:8.6f}  {mean * 100:11.2f}%"


def jsonl(lines: Any) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

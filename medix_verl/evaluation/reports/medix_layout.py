# SPDX-License-Identifier: Apache-2.0
"""Writes an evaluation in the layout of the published leaderboard: answers, judged answers and a table of scores.

The folder NAME/ (the model's name, with `_` for every character that is not a letter or digit) contains `NAME.jsonl`
(id, question with its choices, answer, response, answer_idx), `NAME_eval.jsonl` (the same with `evaluation.score`: 0 or
1) and `NAME_score.txt`, as the official evaluation writes them (github.com/mbzuai-oryx/MediX-R1, eval/README.md). Its
ids are TASK_NUMBER. The numbers here follow the order of our own ids, which are written as `source_id`. Only tasks of
the published average are written. Credentialed tasks are refused, since the files are made for sharing, and so are
unfinished evaluations. The layout cannot represent an answer without a score, so such answers are in the first file
only. Their number and the tasks that are not written are returned for the caller to report.
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
from medix_verl.evaluation.stats.missing import as_wrong, counting_of
from medix_verl.evaluation.store.read import Evaluation, is_open, spec_of
from medix_verl.evaluation.store.records import Record, first_answers
from medix_verl.runtime.files import write_text

__all__ = ["Exported", "export_evaluation", "folder_name"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    files: tuple[Path, Path, Path]
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    """Tasks that are not written: not named, or not in the published average."""
    answers: int
    """Number of answers in the first file."""
    without_score: int
    """Number of these that are in the first file only."""
    refused: int
    """Rows of the tasks' sources that were refused: not asked, and in no file."""


def export_evaluation(evaluation: Evaluation, out: Path, names: Sequence[str] | None = None) -> Exported:
    """Write the three files.

    Args:
        evaluation: A finished evaluation.
        out: The parent of the model's folder.
        names: Tasks to write; None for all of the published average.

    Raises:
        ConfigError: A task is credentialed, unknown or missing, none is left, or the evaluation did not finish.
    """
    if not evaluation.finished:
        raise ConfigError(f"{evaluation.folder} did not finish; type: medix-verl evaluate ... --resume")
    # The published evaluation has no rotated options.
    there = {
        task: first_answers(record for record in records if not record.rotation)
        for task, records in evaluation.tasks().items()
    }
    if counting_of(evaluation.manifest).errors == "wrong":
        there = {task: [as_wrong(record) for record in records] for task, records in there.items()}
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
    """The model's name in the layout: the last part of a path, `_` for what is not a letter or digit.

    Raises:
        ConfigError: It would consist of `_` only.
    """
    name = re.sub(r"[^a-zA-Z0-9]", "_", model.rstrip("/").rsplit("/", 1)[-1])
    if not name.strip("_"):
        raise ConfigError(f"the model's name is {model!r}, of which no folder can be named; evaluate it under another")
    return name


def as_line(task: str, number: int, record: Record) -> dict[str, Any]:
    """The line of one answer."""
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
    """The lines of scored answers, with their scores."""
    judged = [(line, record.value) for line, record in zip(lines, records, strict=True)]
    return [{**line, "evaluation": {"score": score_of(value)}} for line, value in judged if value is not None]


def score_of(value: float) -> int | float:
    """A score in the layout's format: an integer if it is 0 or 1."""
    return int(value) if value in (0.0, 1.0) else value


def score_table(judged: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The table of scores: task, accuracy as a share and in percent; without an average if a task has no score."""
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
    """One JSON object per line."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

# SPDX-License-Identifier: Apache-2.0
"""The tasks that an evaluation can have: one line each in `tasks.json`, read strictly.

A task is a converter with its choices, a split, a filter on what a converted sample says of itself, and a metric. Its
name is the published one, so that a table of ours can stand beside the published table. `select` finds tasks by name
or group; what a task's questions are is the business of `loading`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated

from medix_verl.errors import ConfigError
from medix_verl.specs import Choice, Count, Section, Text, Words, spec

__all__ = ["GROUPS", "METRICS", "SETS", "TABLE", "TaskSpec", "find", "read_tasks", "select", "tasks"]

TABLE = Path(__file__).with_name("tasks.json")
GROUPS = ("llm", "vlm")
"""Text only, and with pictures."""
METRICS = ("binary", "report05", "rubric")
"""Right or wrong; a report's 0 to 5 divided by 5; the share of a rubric's points."""
SETS = ("all", "llm", "vlm", "published")
"""What `select` takes beside names: every task, one group, or the 17 of the published average."""
ANSWERS = ("open", "closed", "report", "rubric")
SPLITS = ("train", "val", "test")


@spec("task {name!r}", label="task {name!r}: {key}")
class TaskSpec(Section):
    """One task.

    Raises:
        ConfigError: A field has a value that is not accepted.
    """

    name: Text
    title: Text
    group: Annotated[str, Choice(GROUPS)]
    """One of GROUPS."""
    converter: Text
    """What medix_verl.data.converters.registry.find takes."""
    split: Annotated[str, Choice(SPLITS)]
    """Ours: train, val or test."""
    metric: Annotated[str, Choice(METRICS)]
    """One of METRICS."""
    answer_types: Annotated[tuple[str, ...], Words(ANSWERS)]
    """Which kinds of answers its questions may have."""
    licence: Text
    hub_id: Text | None = None
    """Where the evaluation set is published; what is read where no other source is named."""
    published_name: Text | None = None
    """Its name in the published table; None for a task beyond the 17."""
    size: Count | None = None
    """Questions, where the number is published."""
    credential: str = ""
    """What must be signed, and where; empty where nothing is."""
    credentialed: bool = False
    """Whether questions and answers must not leave the machine."""
    pictures: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    """The converter's options."""
    filter: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A sample's own field or a key of its meta -> the values that belong to the task."""

    def __post_init__(self) -> None:
        if self.credentialed and not self.credential:
            raise ConfigError(
                f"task {self.name!r}: credentialed without credential; write what must be signed, and where"
            )


@cache
def tasks() -> Mapping[str, TaskSpec]:
    """Every task by its name, in the order of the published table."""
    return {task.name: task for task in read_tasks(TABLE)}


def read_tasks(path: Path) -> list[TaskSpec]:
    """Read a table of tasks.

    Raises:
        ConfigError: The file is no list of tasks, or a name is there twice.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no table of tasks ({type(error).__name__}); write a JSON list") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} is no table of tasks; write a JSON list of objects")
    read = [TaskSpec.from_mapping(row) for row in rows]
    names = [task.name for task in read]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path} has the task {max(names, key=names.count)!r} twice; name each task once")
    return read


def find(name: str) -> TaskSpec:
    """The task of that name.

    Raises:
        ConfigError: There is none.
    """
    known = tasks()
    if name in known:
        return known[name]
    near = get_close_matches(name.lower().replace("-", "_"), [*known, *SETS], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`medix-verl evaluate --list` shows them"
    raise ConfigError(f"unknown task {name!r}; {hint}")


def select(wanted: str | Sequence[str]) -> list[TaskSpec]:
    """Find tasks, each once, in the order of the table.

    Args:
        wanted: Names of tasks or of SETS, as a list or as one text with commas or spaces.

    Raises:
        ConfigError: A name that is none, or no name at all.
    """
    names = wanted.replace(",", " ").split() if isinstance(wanted, str) else list(wanted)
    if not names:
        raise ConfigError("no task was named; give all, llm, vlm, published or names of tasks")
    chosen = {task.name for name in names for task in members(name)}
    return [task for task in tasks().values() if task.name in chosen]


def members(name: str) -> Iterable[TaskSpec]:
    """The tasks that a name stands for."""
    if name == "all":
        return tasks().values()
    if name == "published":
        return [task for task in tasks().values() if task.published_name is not None]
    if name in GROUPS:
        return [task for task in tasks().values() if task.group == name]
    return [find(name)]

# SPDX-License-Identifier: Apache-2.0
"""Reads the table of evaluation tasks: one line each in `tasks.json`; unknown keys are rejected.

A task consists of a converter with its options, a split, a filter on fields of the converted samples, and a metric. It
has its published name, so that our tables can be compared with the published one. `select` finds tasks by name or
group, including those of other packages and the user's own (see `own`); `load` reads a task's questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, TypeVar

from medix_verl.errors import ConfigError
from medix_verl.specs import Choice, Count, Section, Text, Words, spec

__all__ = [
    *("GROUPS", "METRICS", "SETS", "TABLE", "TaskSpec", "by_task", "facts_of", "find", "offered", "offered_names"),
    *("read_tasks", "select", "tasks"),
]

T = TypeVar("T")
TABLE = Path(__file__).with_name("tasks.json")
GROUPS = ("llm", "vlm")
"""Text only (llm), or with pictures (vlm)."""
METRICS = ("binary", "report05", "rubric")
"""Right or wrong; a report's grade of 0 to 5 divided by 5; the share of a rubric's points."""
SETS = ("all", "llm", "vlm", "published")
"""Names of sets that `select` accepts: every task, one group, or the 17 tasks of the published average. Tasks that are
part of another task are in no set: an average over both would count their questions twice."""
ANSWERS = ("open", "closed", "report", "rubric")
SPLITS = ("train", "val", "test")
GROUP = "medix_verl.tasks"
"""Entry point group for other packages: NAME = module:object, where the object is a TaskSpec."""


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
    """Name of a converter, as accepted by medix_verl.data.converters.registry.find."""
    split: Annotated[str, Choice(SPLITS)]
    """Our name of the split: train, val or test."""
    metric: Annotated[str, Choice(METRICS)]
    """One of METRICS."""
    answer_types: Annotated[tuple[str, ...], Words(ANSWERS)]
    """Which kinds of answers its questions may have."""
    licence: Text
    hub_id: Text | None = None
    """Where the evaluation set is published; the default source."""
    published_name: Text | None = None
    """Its name in the published table; None for a task that is not one of the 17."""
    size: Count | None = None
    """Published number of questions; None where it is not published."""
    credential: str = ""
    """The agreement that must be signed, and where; empty if none is needed."""
    credentialed: bool = False
    """Whether questions and answers must not leave the machine."""
    pictures: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    """The converter's options."""
    filter: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A field of a sample or a key of its meta -> the values that belong to the task."""
    part_of: Text | None = None
    """The task that this one is a part of; such a task is in no set and is selected by its name only."""
    prompt: Text | None = None
    """Prompt template of its questions; None uses that of the run."""
    metrics: tuple[str, ...] = ()
    """Text metrics of reports, in addition to the grade (medix_verl.evaluation.grading.text_metrics); empty uses those
    of the run."""
    source: Text | None = None
    """The local copy that a user's own task names; it is not part of the task's definition in the manifest."""

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
        ConfigError: The file is not a list of tasks, or a name occurs twice.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a table of tasks ({type(error).__name__}); write a JSON list") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} is not a table of tasks; write a JSON list of objects")
    read = [TaskSpec.from_mapping(row) for row in rows]
    names = [task.name for task in read]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path} has the task {max(names, key=names.count)!r} twice; name each task once")
    return read


def offered_names() -> list[str]:
    """Names of the tasks that installed packages offer, except names that are in our table."""
    return sorted({point.name for point in metadata.entry_points(group=GROUP)} - set(tasks()))


def offered(name: str) -> TaskSpec:
    """The task that an installed package offers under a name.

    Raises:
        ConfigError: Its module cannot be imported, or the object is not a TaskSpec.
    """
    point = next(point for point in metadata.entry_points(group=GROUP) if point.name == name)
    try:
        found = point.load()
    except Exception as cause:  # another package's module may raise anything; the message names the module
        said = f"{type(cause).__name__}: {cause}"
        raise ConfigError(f"task {name!r}: {point.value} cannot be imported ({said}); fix it") from cause
    if not isinstance(found, TaskSpec):
        raise ConfigError(f"task {name!r}: {point.value} is {type(found).__name__}; it must be a TaskSpec")
    return replace(found, name=name)


def find(name: str) -> TaskSpec:
    """The one task of that name.

    Raises:
        ConfigError: There is none, or the name means several tasks.
    """
    found = members(name)
    if len(found) != 1:
        raise ConfigError(f"{name!r} stands for {', '.join(task.name for task in found)}; name one of them")
    return found[0]


def select(wanted: str | TaskSpec | Sequence[str | TaskSpec]) -> list[TaskSpec]:
    """Find tasks, each once: those of the table in its order, then others in the order given.

    Args:
        wanted: Names of tasks or of SETS, names that `medix-verl prepare` uses, files of own tasks (.yaml), tables
            (`own:FILE`) and TaskSpec objects, as a list or a single one; names in a string are separated by commas or
            spaces.

    Raises:
        ConfigError: A name is unknown, no name is given, or two tasks have the same name.
    """
    listed = [wanted] if isinstance(wanted, (str, TaskSpec)) else wanted
    chosen: dict[str, TaskSpec] = {}
    for item in listed:
        for task in [item] if isinstance(item, TaskSpec) else [task for word in words(item) for task in members(word)]:
            if chosen.setdefault(task.name, task) != task or (task != tasks().get(task.name, task)):
                raise ConfigError(f"two tasks are called {task.name!r}; give your own another `name`")
    if not chosen:
        raise ConfigError("no task was named; give all, llm, vlm, published or names of tasks")
    order = {name: place for place, name in enumerate(tasks())}
    return sorted(chosen.values(), key=lambda task: order.get(task.name, len(order)))


def by_task(given: Mapping[str, T], chosen: Sequence[TaskSpec]) -> dict[str, T]:
    """Values given for names of tasks or of sets, by task; a set's name means all of its tasks.

    Raises:
        ConfigError: A name is unknown.
    """
    own = {task.name for task in chosen}
    names = {name: [name] if name in own else [task.name for task in select(name)] for name in given}
    return {task: given[name] for name, tasks_of in names.items() for task in tasks_of}


def words(text: str) -> list[str]:
    """The names in a string; a table, or the path of an existing file, is one name even if it contains separators."""
    whole = text.startswith("own:") or Path(text).expanduser().is_file()
    return [text] if whole else text.replace(",", " ").split()


def members(name: str) -> list[TaskSpec]:
    """The tasks that a name means.

    Raises:
        ConfigError: There is none.
    """
    from medix_verl.evaluation.tasks.own import is_own, of_converter, read_own

    known = tasks()
    whole = [task for task in known.values() if task.part_of is None]
    if name in SETS:
        return [task for task in whole if name in ("all", task.group) or (name == "published" and task.published_name)]
    if name in known:
        return [known[name]]
    if is_own(name):
        return read_own(name)
    if name in offered_names():
        return [offered(name)]
    return [task for task in whole if task.converter == name] or of_converter(name)


def facts_of(task: TaskSpec) -> dict[str, Any]:
    """The manifest's entry for a task that is not in the table, so that the evaluation can be read without the task."""
    given = {key: value for key, value in asdict(task).items() if value and key != "source"}
    # Round trip through JSON, so that a tuple compares equal to the list that is read back.
    plain: dict[str, Any] = json.loads(json.dumps(given))
    return plain

# SPDX-License-Identifier: Apache-2.0
"""Puts a TaskRun together: loads a task's questions, shows pictures under the chosen condition, sets up the judging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError
from medix_verl.evaluation.judge_facts import judge_specs, judgeable
from medix_verl.evaluation.pictures import Item, prepare, show_as
from medix_verl.evaluation.protocol_spec import ProtocolSpec, build_protocol
from medix_verl.evaluation.task_run import Answering, TaskRun
from medix_verl.evaluation.tasks import TaskSpec
from medix_verl.judge.cache import ReplyCache, Store
from medix_verl.types import Sample

__all__ = ["Load", "TaskChoices", "alone", "load_items", "open_replies"]

Load = Callable[[TaskSpec, "Path | None", "int | None", int], Iterable[Sample]]
"""Task, source, limit, seed -> its samples; medix_verl.evaluation.loading.load."""


@dataclass(frozen=True, slots=True)
class TaskChoices:
    """What a user can choose for a task, besides model and judge."""

    limit: int | None = None
    seed: int = 0
    protocol: str = "published"
    template: str = "medix"
    condition: str = "real"


def load_items(
    spec: TaskSpec,
    source: Path | None,
    choices: TaskChoices,
    folder: Path | None,
    load: Load | None = None,
    refused: Counter[str] | None = None,
) -> dict[str, Item]:
    """A task's questions with the pictures to show.

    Args:
        spec: The task.
        source: A local copy of its set; None is the published place.
        choices: Limit, seed and condition.
        folder: Where pictures are kept; None keeps them in memory.
        load: Where samples come from; None is the converters.
        refused: Filled with how many rows of the source were refused, by reason.

    Raises:
        DataError: The task has no question, an id is there twice, or a picture cannot be used.
    """
    if load is None:
        from medix_verl.evaluation import loading

        load = partial(loading.load, refused=refused)
    kept = None if spec.credentialed else folder
    base = Path() if source is None else (source if source.is_dir() else source.parent)
    items: dict[str, Item] = {}
    for sample in load(spec, source, choices.limit, choices.seed):
        if sample.id in items:
            raise DataError(f"{spec.name}: the id {sample.id!r} is there twice; mend the converter or the source")
        items[sample.id] = prepare(sample, kept, base)
    if not items:
        raise DataError(f"{spec.name} has no question in {source or spec.hub_id}; check the source and --limit")
    return {item.sample.id: item for item in show_as(list(items.values()), choices.condition, choices.seed)}


def open_replies(folder: Path) -> ReplyCache:
    """The judges' replies that an evaluation keeps, so that nothing that was paid for is asked twice.

    Raises:
        ConfigError: The file is damaged or something else.
    """
    path = folder / "cache" / "replies.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    store = Store(path, write_through=True, instead="move the file away, and its calls are made again")
    return ReplyCache(0, store)


def alone(
    spec: TaskSpec, source: Path | None, judge: Mapping[str, Any], choices: TaskChoices, load: Load | None = None
) -> TaskRun:
    """A task for `inspect eval`, which keeps its own logs: no journal and no cache file, and pictures in memory.

    Raises:
        ConfigError: The judge cannot grade the task, or its settings do not fit together.
    """
    judgeable([spec], judge, lambda line: None)
    protocol = build_protocol(ProtocolSpec(choices.protocol), judge_specs(judge))
    items = load_items(spec, source, choices, None, load)
    answering = Answering(model="", template=choices.template, seed=choices.seed)
    return TaskRun(spec, items, protocol, answering, choices.condition)

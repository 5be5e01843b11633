# SPDX-License-Identifier: Apache-2.0
"""A task's questions, from its converter: streamed, filtered, limited; the rows that were refused are counted.

With a limit and without a seed the first questions are taken. With a seed it is those whose id hashes lowest under
the seed, so that the choice depends on neither the order of the source nor its other rows, and a smaller limit takes
a part of what a larger one takes.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.tasks import TaskSpec
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = ["load", "passes"]

SHOWN = 3
"""Kinds of refusal that an error names."""


def load(
    task: TaskSpec,
    source: Path | str | None = None,
    limit: int | None = None,
    seed: int | None = None,
    refused: Counter[str] | None = None,
) -> Iterator[Sample]:
    """Read a task's questions.

    Args:
        task: The task.
        source: A local copy of its set, or a hub id; None is where the set is published.
        limit: At most so many questions; None takes all, without holding them in memory.
        seed: Which ones (see above).
        refused: Filled with how many rows were refused, by reason.

    Raises:
        ConfigError: The limit is below 1, or the task's data are credentialed and no local copy is named.
        DataError: The layout is not the published one, or no question is left.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit is {limit}; give a number of at least 1, or none for all questions")
    counts = Counter[str]() if refused is None else refused
    every = questions(task, opened(task, source), counts)
    chosen = every if limit is None else iter(islice(every, limit) if seed is None else lowest(every, limit, seed))
    found = False
    for sample in chosen:
        found = True
        yield sample
    if not found:
        raise DataError(empty(task, source, counts))


def opened(task: TaskSpec, source: Path | str | None) -> Source:
    """The task's source, with its converter's options."""
    from medix_verl.data.converters.base import resolve_options
    from medix_verl.data.converters.registry import find, options_of
    from medix_verl.data.source import Source

    if task.credentialed and (source is None or not Path(source).expanduser().exists()):
        raise ConfigError(
            f"task {task.name} needs {task.credential}; name it with --source {task.name}=FOLDER, got {source}"
        )
    place = source if source is not None else task.hub_id
    if place is None:
        raise ConfigError(f"task {task.name} is published nowhere that can be read; name a local copy with --source")
    options = resolve_options(task.converter, options_of(find(task.converter)), task.options)
    return Source(place, options=options)


def questions(task: TaskSpec, source: Source, refused: Counter[str]) -> Iterator[Sample]:
    """The samples of the task, in the converter's order."""
    from medix_verl.data.converters.base import Refused
    from medix_verl.data.converters.registry import find

    for item in find(task.converter).read(source, task.split):
        if isinstance(item, Refused):
            refused[item.reason] += 1
        elif passes(item, task.filter):
            yield item


def passes(sample: Sample, wanted: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a sample belongs to a task.

    Raises:
        DataError: The sample does not say what is filtered by; all of them would be lost without a word.
    """
    for key, values in wanted.items():
        found = getattr(sample, key, None) if key in ("data_source", "modality") else sample.meta.get(key)
        if found is None:
            raise DataError(f"row {sample.id!r} has no {key}; the task takes those where it is {' or '.join(values)}")
        if str(found) not in values:
            return False
    return True


def lowest(samples: Iterator[Sample], limit: int, seed: int) -> list[Sample]:
    """The `limit` samples whose ids hash lowest, in the order of the source; no more are held at any time."""
    numbered = ((rank(sample.id, seed), place, sample) for place, sample in enumerate(samples))
    kept = heapq.nsmallest(limit, numbered, key=lambda item: item[:2])
    return [sample for _, _, sample in sorted(kept, key=lambda item: item[1])]


def rank(name: str, seed: int) -> bytes:
    """A sample's place in the shuffled order."""
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()


def empty(task: TaskSpec, source: Path | str | None, refused: Counter[str]) -> str:
    """Why a task has no question."""
    lost = ", ".join(f"{count} refused for {reason!r}" for reason, count in refused.most_common(SHOWN))
    taken = "; ".join(f"{key} is {' or '.join(values)}" for key, values in task.filter.items())
    where = source if source is not None else task.hub_id
    return (
        f"task {task.name} has no question in {where} ({lost or 'no row at all'}"
        f"{f', taken are rows where {taken}' if taken else ''}); check --source"
    )

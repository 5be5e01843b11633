# SPDX-License-Identifier: Apache-2.0
"""Loads a task's questions with its converter: streamed, filtered and limited; rejected rows are counted.

With a limit and no seed, the first questions are taken. With a seed, the questions whose ids have the lowest seeded
hashes are taken: the choice does not depend on the order of the source or on its other rows, and a smaller limit
selects a subset of a larger one.
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
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.tasks.expected import SourceFacts
from medix_verl.evaluation.tasks.table import TaskSpec
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = ["load", "passes"]

SHOWN = 3
"""Maximum number of rejection reasons in an error message."""


def load(
    task: TaskSpec,
    source: Path | str | None = None,
    limit: int | None = None,
    seed: int | None = None,
    refused: Counter[str] | None = None,
    facts: SourceFacts | None = None,
) -> Iterator[Sample]:
    """Read a task's questions.

    Args:
        task: The task.
        source: A local copy of its set, or a hub id; None uses the published set.
        limit: Maximum number of questions; None streams all of them without keeping them in memory.
        seed: Selects which questions are taken (see the module docstring).
        refused: Filled with the number of rejected rows by reason.
        facts: Filled with where the questions came from.

    Raises:
        ConfigError: The limit is below 1, or the task's data are credentialed and no local copy is given.
        DataError: The layout is not the published one, or no question is left.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit is {limit}; give a number of at least 1, or none for all questions")
    counts = Counter[str]() if refused is None else refused
    place = opened(task, source)
    if facts is not None:
        facts.place, facts.revision, facts.digest, facts.files = place.place, place.commit, place.digest(), place.used
        facts.notes = place.notes
    every = questions(task, place, counts)
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
            f"task {task.name} needs {task.credential}; name it with "
            f"{setting('sources', 'FOLDER', task.name)}, got {source}"
        )
    place = source if source is not None else task.hub_id
    if place is None:
        raise ConfigError(
            f"task {task.name} is published nowhere that can be read; name a local copy with "
            f"{setting('sources', 'PATH', task.name)}"
        )
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
        DataError: The sample has no value for a key of the filter; otherwise every sample would be dropped silently.
    """
    for key, values in wanted.items():
        found = getattr(sample, key, None) if key in ("data_source", "modality") else sample.meta.get(key)
        if found is None:
            raise DataError(f"row {sample.id!r} has no {key}; the task takes those where it is {' or '.join(values)}")
        if str(found) not in values:
            return False
    return True


def lowest(samples: Iterator[Sample], limit: int, seed: int) -> list[Sample]:
    """The `limit` samples with the lowest hashes of their ids, in source order; memory is bounded by `limit`."""
    numbered = ((rank(sample.id, seed), place, sample) for place, sample in enumerate(samples))
    kept = heapq.nsmallest(limit, numbered, key=lambda item: item[:2])
    return [sample for _, _, sample in sorted(kept, key=lambda item: item[1])]


def rank(name: str, seed: int) -> bytes:
    """The sort key of a sample in the shuffled order."""
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()


def empty(task: TaskSpec, source: Path | str | None, refused: Counter[str]) -> str:
    """The error message for a task without questions."""
    lost = ", ".join(f"{count} refused for {reason!r}" for reason, count in refused.most_common(SHOWN))
    taken = "; ".join(f"{key} is {' or '.join(values)}" for key, values in task.filter.items())
    where = source if source is not None else task.hub_id
    return (
        f"task {task.name} has no question in {where} ({lost or 'no row at all'}"
        f"{f', taken are rows where {taken}' if taken else ''}); check {setting('sources', None, task.name)}"
    )

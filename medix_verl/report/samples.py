# SPDX-License-Identifier: Apache-2.0
"""Selects the samples of a task for a page: a bounded number, seeded, evenly from every kind of outcome.

Wrong and unscored answers are therefore shown even if they are rare. Long texts are truncated with a note, and pictures
are thumbnails. Tasks whose texts may not be shared have no samples.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.evaluation.audit.thumbnails import thumbnail
from medix_verl.evaluation.store.read import is_open
from medix_verl.evaluation.store.records import Record

__all__ = ["OUTCOMES", "Shown", "choose", "clip", "outcome_of", "show"]

OUTCOMES = ("wrong", "partly", "unscored", "error", "right")
"""In display order."""
TEXT_CHARS = 2000
MAX_PICTURES = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample on the page."""

    record: Record
    outcome: str
    """One of OUTCOMES."""
    pictures: tuple[str, ...]
    """Data URIs."""
    hidden_pictures: int
    """Number of pictures that are missing or above the limit."""


def outcome_of(record: Record) -> str:
    """The outcome of a record: one of OUTCOMES."""
    if record.value is None:
        return record.status
    return "right" if record.value == 1.0 else "wrong" if record.value <= 0.0 else "partly"


def choose(records: Sequence[Record], count: int, seed: int = 0) -> list[Record]:
    """At most `count` records, as evenly as possible from every kind of outcome, sorted by outcome and id."""
    groups: dict[str, list[Record]] = {outcome: [] for outcome in OUTCOMES}
    for record in sorted(records, key=lambda record: record.id):
        groups[outcome_of(record)].append(record)
    rng = random.Random(seed)
    for group in groups.values():
        rng.shuffle(group)
    turns = [(place, OUTCOMES.index(outcome)) for outcome, group in groups.items() for place in range(len(group))]
    chosen = [(kind, groups[OUTCOMES[kind]][place]) for place, kind in sorted(turns)[:count]]
    return [record for _, record in sorted(chosen, key=lambda item: (item[0], item[1].id))]


def show(
    folder: Path,
    records: Sequence[Record],
    count: int,
    seed: int = 0,
    manifest: Mapping[str, Any] | None = None,
    pictures: bool = True,
) -> list[Shown]:
    """The samples of a task; none for a task that may not be shown.

    Args:
        folder: The evaluation's folder, with its pictures.
        records: The records of one task.
        count: Most samples.
        seed: Seed of the selection.
        manifest: The evaluation's manifest, which has the tasks that are not in the table.
        pictures: Whether to add thumbnails.
    """
    found = []
    for record in choose(records, count, seed):
        if not is_open(record.task, manifest):
            continue
        names = record.images[:MAX_PICTURES] if pictures else ()
        drawn = tuple(uri for uri in (thumbnail(folder, name) for name in names) if uri)
        found.append(Shown(record, outcome_of(record), drawn, len(record.images) - len(drawn)))
    return found


def clip(text: str) -> str:
    """A text of bounded length, with a note if it was truncated."""
    return text if len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]} … ({len(text):,} characters)"

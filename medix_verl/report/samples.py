# SPDX-License-Identifier: Apache-2.0
"""Chooses the samples that a page shows of a task: a bounded number, seeded, of every kind of outcome.

Half of the places go to wrong answers and answers without a score, as far as there are any, since those are what a
reader looks for. Texts are cut at a bound and say so; pictures are thumbnails. A task whose texts may not be handed on
has no sample here at all.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import is_open
from medix_verl.evaluation.thumbnails import thumbnail

__all__ = ["OUTCOMES", "Shown", "choose", "clip", "outcome_of", "show"]

OUTCOMES = ("wrong", "partly", "unscored", "error", "right")
"""In the order in which they are shown."""
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
    """Pictures that are not there or too many."""


def outcome_of(record: Record) -> str:
    """What became of a question, in a word."""
    if record.value is None:
        return record.status
    return "right" if record.value == 1.0 else "wrong" if record.value == 0.0 else "partly"


def choose(records: Sequence[Record], count: int, seed: int = 0) -> list[Record]:
    """At most `count` records: every kind of outcome as evenly as can be, then by id."""
    groups: dict[str, list[Record]] = {outcome: [] for outcome in OUTCOMES}
    for record in sorted(records, key=lambda record: record.id):
        groups[outcome_of(record)].append(record)
    rng = random.Random(seed)
    for group in groups.values():
        rng.shuffle(group)
    turns = [(place, OUTCOMES.index(outcome)) for outcome, group in groups.items() for place in range(len(group))]
    chosen = [(kind, groups[OUTCOMES[kind]][place]) for place, kind in sorted(turns)[:count]]
    return [record for _, record in sorted(chosen, key=lambda item: (item[0], item[1].id))]


def show(folder: Path, records: Sequence[Record], count: int, seed: int = 0, pictures: bool = True) -> list[Shown]:
    """The samples of a task; none of a task that may not be shown.

    Args:
        folder: The evaluation's, where its pictures are.
        records: Of one task.
        count: At most so many.
        seed: Of the choice.
        pictures: Whether thumbnails are wanted.
    """
    found = []
    for record in choose(records, count, seed):
        if not is_open(record.task):
            continue
        names = record.images[:MAX_PICTURES] if pictures else ()
        drawn = tuple(uri for uri in (thumbnail(folder, name) for name in names) if uri)
        found.append(Shown(record, outcome_of(record), drawn, len(record.images) - len(drawn)))
    return found


def clip(text: str) -> str:
    """A text of bounded length that says when it is not the whole."""
    return text if len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]} … ({len(text):,} characters)"

# SPDX-License-Identifier: Apache-2.0
"""Checks whether a task's questions are those of its published set: their number, split and part.

A score on another split is not comparable with the published one. Deviations are listed in the table and in the
report; none of them is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from medix_verl.evaluation.tasks.table import TaskSpec

__all__ = ["SourceFacts", "deviations"]

SPLIT_WORDS = {"train": "train", "validation": "val", "validate": "val", "val": "val", "dev": "val", "test": "test"}
"""Word in a file name -> our name of the split."""


@dataclass(slots=True)
class SourceFacts:
    """Where a task's questions came from; filled while they are read."""

    place: str = ""
    """A path or a hub id."""
    revision: str = ""
    """The hub's commit; empty for a local path."""
    digest: str = ""
    """Digest of the source; it changes when one of its files changes."""
    files: list[str] = field(default_factory=list)
    """Names of the files that rows were read from."""
    notes: list[str] = field(default_factory=list)
    """Notes of the converter, such as columns that it ignores."""


def deviations(task: TaskSpec, facts: SourceFacts, questions: int, refused: int, limit: int | None) -> list[str]:
    """Differences from the published set, one sentence each.

    Args:
        task: The task.
        facts: Where the questions came from.
        questions: Number of questions.
        refused: Number of rows that the converter rejected.
        limit: Requested number of questions; None means all.
    """
    found = [*size_deviations(task, questions, refused, limit)]
    for name in dict.fromkeys(facts.files):
        # File names of a user's own table are not checked for a split.
        found += [] if task.source else split_deviations(task, name)
        found += part_deviations(task, facts.place, name)
    return list(dict.fromkeys(found))


def size_deviations(task: TaskSpec, questions: int, refused: int, limit: int | None) -> Iterable[str]:
    """Compare the number of questions with the published one; rejected rows may have been part of the published set."""
    if task.size is None:
        return
    least = task.size if limit is None else min(task.size, limit)
    if questions + refused < least or (limit is None and questions > task.size):
        yield f"{questions} questions, and the published set ({task.split}) has {task.size}"


def split_deviations(task: TaskSpec, name: str) -> Iterable[str]:
    """Report a file whose name contains another split than the task's, and not the task's."""
    from medix_verl.data.converters.registry import find

    named = {SPLIT_WORDS[word] for word in words_of(name) if word in SPLIT_WORDS}
    own = find(task.converter).SPEC.splits.get(task.split, task.split)
    accepted = {task.split, SPLIT_WORDS.get(own, own)}
    if named and not named & accepted:
        yield f"the file {name} is of the split {' and '.join(sorted(named))}, and the task is of {task.split}"


def part_deviations(task: TaskSpec, place: str, name: str) -> Iterable[str]:
    """Report a file in the folder of another part of the set (a subject, a subset) than the task's."""
    from medix_verl.data.converters.registry import find, options_of

    # Only the last two components of the place: the ones before them are the user's own folders.
    parts = {part.lower() for part in (*PurePath(place).parts[-2:], *PurePath(name).parts)}
    for option, value in task.options.items():
        known = options_of(find(task.converter))[option].accepted
        others = [other for other in known if other not in (value, "all") and other.lower() in stems(parts)]
        if others and value.lower() not in stems(parts):
            yield f"the file {name} is of {option} {' and '.join(sorted(others))}, and the task is of {value}"


def words_of(name: str) -> set[str]:
    """Words of a path that may name a split: folders, the file's stem, and the parts of the stem between - and _."""
    *folders, last = PurePath(name).parts or ("",)
    stem = last.split(".", 1)[0].lower()
    return {*(folder.lower() for folder in folders), stem, *stem.replace("_", "-").split("-")}


def stems(parts: Sequence[str] | set[str]) -> set[str]:
    """Names of folders and files, each also without what follows its first dot."""
    return {*parts, *(part.split(".", 1)[0] for part in parts)}

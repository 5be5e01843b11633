# SPDX-License-Identifier: Apache-2.0
"""Finds the record (medix_run.json) of the run that a folder belongs to, and the output paths in that record.

The folder may be the run's (trainer.default_local_dir), its parent, or a part of it: a step's checkpoint, its actor, or
the folder of its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medix_verl.errors import DataError
from medix_verl.runs.logs import Places, places_of, was_written_by
from medix_verl.runs.record import FILE_NAME, RunRecord, read_record

__all__ = ["Found", "find_record"]

LEVELS = 3
"""Number of levels from RUN/global_step_N/actor/huggingface up to RUN."""
STEP = "global_step_"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class Found:
    """A record and where it is."""

    path: Path
    record: RunRecord
    places: Places

    @property
    def metrics(self) -> Path | None:
        """The first existing log that this run wrote."""
        return next((path for path in self.places.metrics if was_written_by(self.record, path)), None)


def find_record(folder: Path, below: Sequence[Path]) -> Found | None:
    """The record of the run that a folder is, contains, or is a part of.

    Args:
        folder: The folder that the user named.
        below: The records inside it.

    Raises:
        DataError: The folder contains several runs at the same depth.
    """
    depths = {path: len(path.relative_to(folder).parts) for path in below}
    nearest = sorted(path for path, depth in depths.items() if depth == min(depths.values()))
    if len(nearest) > 1:
        names = ", ".join(str(path.parent) for path in nearest[:3])
        raise DataError(f"{folder} holds {len(nearest)} runs: {names}; give the folder of one")
    if nearest:
        return load(nearest[0])
    place = folder.resolve()
    for run in place.parents[:LEVELS]:
        for path in (run / FILE_NAME, run / CHECKPOINTS / FILE_NAME):
            found = load(path) if path.is_file() else None
            if found is not None and is_part(place, found):
                return found
    return None


def load(path: Path) -> Found | None:
    """A record; None if it cannot be read (the page then shows its text)."""
    try:
        record = read_record(path)
    except DataError:
        return None
    return Found(path, record, places_of(record))


def is_part(place: Path, found: Found) -> bool:
    """Whether a folder is one of a run's steps or of its answers; other folders inside it may belong to another run."""
    below = (
        place.relative_to(found.path.parent.resolve()) if place.is_relative_to(found.path.parent.resolve()) else None
    )
    if below is not None and below.parts and below.parts[0].startswith(STEP):
        return True
    answers = [path.resolve() for path in (found.places.rollouts, found.places.validation) if path is not None]
    return any(place.is_relative_to(path) for path in answers)

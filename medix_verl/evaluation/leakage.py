# SPDX-License-Identifier: Apache-2.0
"""Which questions of an evaluation the model may have been trained on, and what its accuracy is without them.

A training file's rows are known by the hashes of medix_verl.data.fingerprints. A question with pictures is contaminated
when one of its pictures is in the file, whatever was asked about it there; a question in text only when its text is.
Pictures are compared by their pixels: a copy that was scaled or compressed anew is not found here, `medix-verl check
--against` finds it. A row of the training file that cannot be read is an error, because leaving it out would hide what
it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medix_verl.data.file_marks import file_marks
from medix_verl.data.fingerprints import fingerprint
from medix_verl.errors import DataError
from medix_verl.evaluation.agreement import Estimate
from medix_verl.evaluation.intervals import clustered_mean
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import Evaluation
from medix_verl.evaluation.statistics import mean_of
from medix_verl.types import ImageRef, Sample

__all__ = [
    "PICTURE",
    "PICTURE_AND_QUESTION",
    "QUESTION",
    "Leakage",
    "TrainingMarks",
    "find_leaks",
    "kind_of_leak",
    "read_marks",
]

QUESTION = "same question"
PICTURE = "same picture"
PICTURE_AND_QUESTION = "same picture and question"


@dataclass(frozen=True, slots=True)
class TrainingMarks:
    """What a training file's rows are known by."""

    rows: int
    questions: frozenset[bytes]
    """Hashes of the questions of text-only rows."""
    images: frozenset[bytes]
    """Hashes of the pixels of all pictures."""
    pairs: frozenset[tuple[bytes, bytes]]
    """Picture and question of one row."""


@dataclass(frozen=True, slots=True)
class Leakage:
    """One task beside a training file."""

    task: str
    total: int
    kinds: dict[str, int]
    """Kind of leak -> questions."""
    share: Estimate | None
    """Share of the task's questions that are contaminated."""
    whole: Estimate | None
    """The mean over all scored questions."""
    clean: Estimate | None
    """The mean without the contaminated ones."""
    leaked: Estimate | None
    """The mean over the contaminated ones."""


def read_marks(parquet: Path, workers: int = 1) -> TrainingMarks:
    """Read the fingerprints of a training file of ours, which are kept beside it once they are made.

    Args:
        parquet: The file.
        workers: Processes that decode pictures, where the fingerprints are not there yet.

    Raises:
        DataError: The file, a row or a picture of it cannot be used.
    """
    questions: set[bytes] = set()
    images: set[bytes] = set()
    pairs: set[tuple[bytes, bytes]] = set()
    rows = 0
    for _, marks in file_marks(parquet, workers):
        if not marks.images:
            questions.add(marks.question)
        images.update(marks.images)
        pairs.update((image, marks.question) for image in marks.images)
        rows += 1
    return TrainingMarks(rows, frozenset(questions), frozenset(images), frozenset(pairs))


def find_leaks(evaluation: Evaluation, marks: TrainingMarks) -> list[Leakage]:
    """Every task of an evaluation, under its real pictures."""
    return [examine(task, records, marks) for task, records in evaluation.tasks().items()]


def examine(task: str, records: Sequence[Record], marks: TrainingMarks) -> Leakage:
    """One task."""
    kinds = [kind_of_leak(record, marks) for record in records]
    leaked = [record for record, kind in zip(records, kinds, strict=True) if kind]
    clean = [record for record, kind in zip(records, kinds, strict=True) if not kind]
    return Leakage(
        task=task,
        total=len(records),
        kinds=dict(Counter(sorted(filter(None, kinds)))),
        share=clustered_mean([float(bool(kind)) for kind in kinds], [record.cluster for record in records]),
        whole=mean_of(records),
        clean=mean_of(clean),
        leaked=mean_of(leaked),
    )


def kind_of_leak(record: Record, marks: TrainingMarks) -> str | None:
    """How a question is contaminated, or None.

    Raises:
        DataError: A picture's hash is none.
    """
    try:
        images = [bytes.fromhex(image) for image in record.images]
    except ValueError as error:
        raise DataError(
            f"record {record.id!r} has a picture's hash that is not hexadecimal; evaluate {record.task} again"
        ) from error
    # Only whether there are pictures matters to the question's hash, not which.
    refs = tuple(ImageRef(path=name) for name in record.images)
    asked = Sample(
        record.id, record.data_source, record.question, record.reference, images=refs, options=record.options
    )
    question = fingerprint(asked, []).question
    if not images:
        return QUESTION if question in marks.questions else None
    if any((image, question) in marks.pairs for image in images):
        return PICTURE_AND_QUESTION
    return PICTURE if any(image in marks.images for image in images) else None

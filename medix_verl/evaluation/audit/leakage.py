# SPDX-License-Identifier: Apache-2.0
"""Finds the questions of an evaluation that the model may have been trained on, and the accuracy without them.

The search is that of `medix-verl check --against` (medix_verl.data.duplicates), with its kinds and distances. A
question is contaminated if the training file has the same question, one of its pictures with any question, a copy of a
picture that was saved as JPEG, scaled, made brighter or framed, or half of a long question's runs of 13 words. Crops,
rotated or mirrored pictures, other slices of the same patient, and rephrased questions are not found. A row of the
training file that cannot be read is an error, because skipping it could hide a leak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medix_verl.data.duplicates.collisions import find_duplicates
from medix_verl.data.duplicates.fingerprint_cache import file_marks
from medix_verl.data.duplicates.fingerprints import Fingerprint, PictureMarks, fingerprint
from medix_verl.data.prepare.checks import QualitySpec
from medix_verl.errors import DataError
from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.stats.generations import by_question
from medix_verl.evaluation.stats.intervals import clustered_mean
from medix_verl.evaluation.stats.summary import mean_of
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record
from medix_verl.types import ImageRef, Sample

__all__ = ["LOOKED_FOR", "Leakage", "find_leaks"]

LOOKED_FOR = (
    "The same question, the same picture, a copy of it that was saved as JPEG, scaled, made brighter or framed, and "
    "half of a long question's runs of 13 words; not crops, mirrored pictures, other pictures of the patient, or other "
    "words."
)
"""What the search finds and what it does not find, for reports."""
NEAR_BYTES = (8, 32)
"""Lengths of the two perceptual hashes in a record."""


@dataclass(frozen=True, slots=True)
class Leakage:
    """The overlap of one task with a training file."""

    task: str
    total: int
    kinds: dict[str, int]
    """Kind of leak, one of medix_verl.data.prepare.checks.KINDS_BETWEEN -> number of questions."""
    share: Estimate | None
    """Share of the task's questions that are contaminated."""
    whole: Estimate | None
    """The mean over all scored questions."""
    clean: Estimate | None
    """The mean without the contaminated ones."""
    leaked: Estimate | None
    """The mean over the contaminated ones."""
    exact_only: int = 0
    """Number of questions without perceptual hashes: only exact copies of their pictures were searched for."""


def find_leaks(evaluation: Evaluation, training: Path, workers: int = 1) -> list[Leakage]:
    """Compare every task of an evaluation, under the condition `real`, with a training file.

    Args:
        evaluation: The evaluation.
        training: A parquet file of this package's schema; its fingerprints are cached in the same folder.
        workers: Processes that decode its pictures if there is no fingerprint cache.

    Raises:
        DataError: The file, a row or a picture of it cannot be used, or a record's hash is invalid.
    """
    tasks = {task: by_question(records) for task, records in evaluation.tasks().items()}
    asked = [(record.id, fingerprint_of(record)) for records in tasks.values() for record in records]
    found = find_duplicates(asked, {training.name: named(file_marks(training, workers))}, QualitySpec())
    kinds: list[str | None] = [None] * len(asked)
    for finding in found:
        # Duplicates within the evaluation are not leaks.
        if finding.other_file is not None:
            kinds[finding.row] = finding.kind
    leaks, start = [], 0
    for task, records in tasks.items():
        leaks.append(examine(task, records, kinds[start : start + len(records)]))
        start += len(records)
    return leaks


def named(items: Iterable[tuple[str, Fingerprint]]) -> Iterator[tuple[str, Fingerprint]]:
    """A file's fingerprints, with pictures named as in an evaluation's records."""
    return ((row, replace(marks, images=marks.names)) for row, marks in items)


def examine(task: str, records: Sequence[Record], kinds: Sequence[str | None]) -> Leakage:
    """The figures of one task; `kinds` has the kind of leak of each record."""
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
        exact_only=sum(bool(record.images) and not all(record.perceptual or [""]) for record in records),
    )


def fingerprint_of(record: Record) -> Fingerprint:
    """The fingerprint of a question, as of a row of a file.

    Raises:
        DataError: A picture's hash is invalid.
    """
    try:
        pictures = [
            picture_marks(name, near)
            for name, near in zip(record.images, record.perceptual or [""] * len(record.images), strict=True)
        ]
    except ValueError as error:
        raise DataError(
            f"record {record.id!r} has a picture's hash that is none; evaluate {record.task} again"
        ) from error
    refs = tuple(ImageRef(path=name) for name in record.images)
    return fingerprint(
        Sample(record.id, record.data_source, record.question, record.reference, images=refs, options=record.options),
        pictures,
    )


def picture_marks(name: str, near: str) -> PictureMarks:
    """A picture's hashes; without perceptual hashes it is near no other picture.

    Raises:
        ValueError: A hash is not hexadecimal, or has another length.
    """
    pixels = bytes.fromhex(name)
    # The bits of the other hash are effectively random, so no picture is near. Zeros would match a uniform picture.
    both = bytes.fromhex(near) if near else (pixels * 3)[: sum(NEAR_BYTES)]
    if len(pixels) != 16 or len(both) != sum(NEAR_BYTES):
        raise ValueError(f"{name} {near}")
    return PictureMarks(pixels, int.from_bytes(both[: NEAR_BYTES[0]], "big"), both[NEAR_BYTES[0] :])

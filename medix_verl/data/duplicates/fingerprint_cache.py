# SPDX-License-Identifier: Apache-2.0
"""Cache of the fingerprints of a finished parquet file, such as an evaluation set, stored in the same folder.

The cache file `.NAME.<digest>.marks.parquet` is keyed by the content of the parquet file, the fingerprint version, and
size and time of each picture file. An evaluation row that cannot be fingerprinted is a DataError, because a leak into
it would not be found. If the folder is not writable, nothing is cached and a warning is logged.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medix_verl.data.converters.base import Refused
from medix_verl.data.duplicates.fingerprints import FINGERPRINT_SCHEMA, VERSION, Fingerprint, from_record, to_record
from medix_verl.data.io.parquet import read_samples
from medix_verl.data.prepare.check_pool import outcomes
from medix_verl.data.prepare.checks import QualitySpec, check
from medix_verl.data.schema import check_file, path_columns
from medix_verl.errors import DataError
from medix_verl.runtime.files import atomic_write

__all__ = ["file_marks"]

_logger = logging.getLogger(__name__)

BATCH = 512


def file_marks(path: Path, workers: int = 1, bounded: bool = False) -> Iterator[tuple[str, Fingerprint]]:
    """Ids and fingerprints of the rows of a prepared parquet file, in row order.

    Args:
        path: The file; its picture paths are relative to its folder.
        workers: Processes that decode pictures, if the fingerprints are not cached yet.
        bounded: As in `check_pool.outcomes`.

    Raises:
        DataError: The file, or one of its rows or pictures, cannot be used.
    """
    check_file(path)
    kept = kept_file(path)
    if not kept.is_file():
        try:
            make(path, kept, workers, bounded)
        except OSError as cause:
            reason = cause.strerror or cause
            _logger.warning("fingerprints of %s cannot be saved next to it (%s); they are computed again", path, reason)
            yield from marks_of(path, workers, bounded)
            return
    with pq.ParquetFile(kept) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            yield from map(from_record, batch.to_pylist())


def kept_file(path: Path) -> Path:
    return path.parent / f".{path.name}.{content_digest(path)}.marks.parquet"


def content_digest(path: Path) -> str:
    digest = hashlib.blake2b(VERSION.encode(), digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    for name in picture_paths(path):
        place = path.parent / name
        try:
            state = place.stat()
        except OSError:
            continue  # `marks_of` reports it with the row's id
        digest.update(
            f"{name} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode("utf-8", "surrogatepass")
        )
    return digest.hexdigest()


def picture_paths(path: Path) -> Iterator[str]:
    """Paths of the pictures that are not embedded in the file."""
    with pq.ParquetFile(path) as file:
        names = path_columns(file)
        for batch in file.iter_batches(batch_size=BATCH, columns=names) if names else ():
            for row in batch.column(0).to_pylist():
                yield from (item["path"] for item in row or () if item and item.get("path"))


def make(path: Path, kept: Path, workers: int, bounded: bool) -> None:
    """Write the fingerprints atomically (temp file, then rename), and delete those of older content."""
    with atomic_write(kept) as part, pq.ParquetWriter(part, FINGERPRINT_SCHEMA) as writer:
        records: list[dict[str, Any]] = []
        for row_id, marks in marks_of(path, workers, bounded):
            records.append(to_record(row_id, marks))
            if len(records) == BATCH:
                writer.write_table(pa.Table.from_pylist(records, schema=FINGERPRINT_SCHEMA))
                records = []
        writer.write_table(pa.Table.from_pylist(records, schema=FINGERPRINT_SCHEMA))
    for old in path.parent.glob(f".{glob_safe(path.name)}.*.marks.parquet"):
        if old != kept:
            old.unlink(missing_ok=True)


def glob_safe(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def marks_of(path: Path, workers: int, bounded: bool = False) -> Iterator[tuple[str, Fingerprint]]:
    # No quality flag refuses a row here: a row that is unsuitable for training can still be leaked.
    test = partial(check, spec=QualitySpec(refuse=()), base_dir=str(path.parent), named=True)
    for found in outcomes(read_samples(path), test, workers, bounded):
        if isinstance(found.item, Refused) or found.fingerprint is None:
            detail = found.item.detail if isinstance(found.item, Refused) else "no fingerprint"
            raise DataError(f"{path}: {detail}: a leak into it could not be found; fix it or drop it there")
        yield found.item.id, found.fingerprint

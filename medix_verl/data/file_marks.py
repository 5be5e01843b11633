# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of a finished parquet file, such as an evaluation set, kept beside it so that they are made once.

The kept file `.NAME.<digest>.marks.parquet` is bound to the content: of the parquet file, of how fingerprints are made,
and of size and time of each picture that lies beside it. An evaluation row that cannot be fingerprinted is a DataError,
because a leak into it would not be found; where the folder cannot be written, nothing is kept and that is logged.
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

from medix_verl.data.checking import outcomes
from medix_verl.data.checks import QualitySpec, check
from medix_verl.data.converters.base import Refused
from medix_verl.data.fingerprints import FINGERPRINT_SCHEMA, Fingerprint, from_record, to_record
from medix_verl.data.parquet import read_samples
from medix_verl.data.schema import check_file
from medix_verl.errors import DataError
from medix_verl.runtime.files import atomic_write

__all__ = ["file_marks"]

_logger = logging.getLogger(__name__)

VERSION = b"1"
"""Counted up when `fingerprints` makes other fingerprints of the same rows."""
BATCH = 512


def file_marks(path: Path, workers: int = 1) -> Iterator[tuple[str, Fingerprint]]:
    """Ids and fingerprints of the rows of a parquet file of ours, in their order.

    Args:
        path: The file; its relative picture paths start in its folder.
        workers: Processes that decode pictures, where fingerprints are not there yet.

    Raises:
        DataError: The file, or a row or picture of it, cannot be used.
    """
    check_file(path)
    kept = kept_file(path)
    if not kept.is_file():
        try:
            make(path, kept, workers)
        except OSError as cause:
            reason = cause.strerror or cause
            _logger.warning("fingerprints of %s cannot be kept beside it (%s); they are made anew", path, reason)
            yield from marks_of(path, workers)
            return
    with pq.ParquetFile(kept) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            yield from map(from_record, batch.to_pylist())


def kept_file(path: Path) -> Path:
    return path.parent / f".{path.name}.{content_digest(path)}.marks.parquet"


def content_digest(path: Path) -> str:
    digest = hashlib.blake2b(VERSION, digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    for name in picture_paths(path):
        place = path.parent / name
        try:
            state = place.stat()
        except OSError:
            continue  # `marks_of` refuses it by the row's id
        digest.update(f"{name} {state.st_size} {state.st_mtime_ns}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def picture_paths(path: Path) -> Iterator[str]:
    """Paths of the pictures that are not inside the file."""
    with pq.ParquetFile(path) as file:
        names = [name for name in leaves(file) if name.startswith("images.") and name.endswith(".path")]
        for batch in file.iter_batches(batch_size=BATCH, columns=names) if names else ():
            for row in batch.column(0).to_pylist():
                yield from (item["path"] for item in row or () if item and item.get("path"))


def leaves(file: pq.ParquetFile) -> list[str]:
    return [file.schema.column(number).path for number in range(len(file.schema.names))]


def make(path: Path, kept: Path, workers: int) -> None:
    """Write the fingerprints under their final name only when all are there, and delete those of older content."""
    with atomic_write(kept) as part, pq.ParquetWriter(part, FINGERPRINT_SCHEMA) as writer:
        records: list[dict[str, Any]] = []
        for row_id, marks in marks_of(path, workers):
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


def marks_of(path: Path, workers: int) -> Iterator[tuple[str, Fingerprint]]:
    # No flag refuses here: a row that is no good for training is leaked all the same.
    test = partial(check, spec=QualitySpec(refuse=()), base_dir=str(path.parent))
    for found in outcomes(read_samples(path), test, workers):
        if isinstance(found.item, Refused) or found.fingerprint is None:
            detail = found.item.detail if isinstance(found.item, Refused) else "no fingerprint"
            raise DataError(f"{path}: {detail}: a leak into it could not be found; mend it or drop it there")
        yield found.item.id, found.fingerprint

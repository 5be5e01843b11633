# SPDX-License-Identifier: Apache-2.0
"""Write and read parquet files of samples, and memory-map them for training.

Writes are atomic: a temporary file in the same folder, then a rename. Equal samples give equal bytes, and rows are
validated on writing and reading (see `schema`).

The training table is cached in the folder of `datasets`, keyed by the file's content. `datasets.load_dataset` is not
used: it treats a path as a pattern (`train[1].parquet` matches train1.parquet) and keys its cache by path and mtime,
so that a file replaced with an unchanged mtime would give its old rows. Here the named file is opened once, hashed and
read; the cache key is its SHA-256, which is also recorded in `medix_run.json`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from medix_verl.data.io.file_limits import rows_at_once
from medix_verl.data.pictures.stamp import PictureHash, digest_in, stamp
from medix_verl.data.schema import SAMPLE_SCHEMA, check_file, from_row, to_row
from medix_verl.errors import DataError
from medix_verl.runtime.files import atomic_write, write_text
from medix_verl.types import Sample

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "Further", "Table", "in_groups", "load_table", "read_samples", "read_splits", "row_groups", "write_rows",
    "write_samples",
]  # fmt: skip

_logger = logging.getLogger(__name__)
Item = TypeVar("Item")

ROWS_A_GROUP = 256
BYTES_A_GROUP = 64 << 20
"""Bytes of pictures after which a row group ends, so that several copies of a group fit in memory."""
BLOCK = 1 << 20
ROWS_AT_ONCE = 64
LAYOUT = "medix_verl-1"
"""Folder in the cache; its number is increased when the table's format changes."""
FOUND = "pictures.sha256"
"""File next to the table, with the hash of the pictures in the table."""


def write_samples(samples: Iterable[Sample], path: str | Path) -> int:
    """Write samples to a parquet file atomically.

    Returns:
        The number of rows.

    Raises:
        DataError: A sample is not valid, an id is duplicate, or there is no sample.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as part:
        return write_rows(iter(samples), part, target)


class Further(NamedTuple):
    """Columns in addition to those of a sample."""

    schema: pa.Schema
    """SAMPLE_SCHEMA and the further columns."""
    of: Callable[[str], Mapping[str, Any]]
    """Returns the further columns of a row by its id; called once per row, in row order."""
    metadata: Mapping[bytes, bytes]


NOTHING_FURTHER = Further(SAMPLE_SCHEMA, lambda _: {}, {})


def write_rows(
    samples: Iterator[Sample], part: Path, target: Path, decoded: bool = False, further: Further = NOTHING_FURTHER
) -> int:
    """Write checked rows; if `decoded`, all their pictures were decoded, and the file gets the stamp."""
    seen: set[str] = set()
    pictures = PictureHash()
    with pq.ParquetWriter(part, further.schema, compression="zstd") as writer:
        for group in row_groups(samples):
            for row in group:
                row.update(further.of(row["id"]))
                if row["id"] in seen:
                    raise DataError(f"row {row['id']!r}: the id comes twice in {target}; every row needs its own")
                seen.add(row["id"])
                if decoded:
                    pictures.add(row["images"])
            writer.write_table(pa.Table.from_pylist(group, schema=further.schema))
        writer.add_key_value_metadata({**further.metadata, **(stamp(pictures) if decoded else {})})
    if not seen:
        raise DataError(f"{target}: there is no sample to write; check the source and its filters")
    return len(seen)


def row_groups(samples: Iterable[Sample]) -> Iterator[list[dict[str, Any]]]:
    """Yield checked rows in groups of bounded number and size."""
    return (list(map(to_row, group)) for group in in_groups(samples, ROWS_A_GROUP, BYTES_A_GROUP))


def in_groups(items: Iterable[Item], most: int, size: int) -> Iterator[list[Item]]:
    """Yield groups of at most `most` items; a group ends early when its pictures reach `size` bytes."""
    group: list[Item] = []
    held = 0
    for item in items:
        group.append(item)
        held += sum(len(ref.bytes or b"") for ref in item.images) if isinstance(item, Sample) else 0
        if len(group) >= most or held >= size:
            yield group
            group, held = [], 0
    if group:
        yield group


def read_splits(path: str | Path) -> set[str]:
    """Return the distinct values of a file's column `split`.

    Raises:
        DataError: The file is not valid.
    """
    check_file(path)
    with pq.ParquetFile(path) as file:
        return set(file.read(columns=["split"]).column("split").unique().to_pylist())


def read_samples(path: str | Path) -> Iterator[Sample]:
    """Read the samples of a parquet file one by one, in order.

    Raises:
        DataError: The file or a row of it is not valid.
    """
    check_file(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows_at_once(file, 16), columns=SAMPLE_SCHEMA.names):
            for row in batch.to_pylist():
                yield from_row(row)


class Table(NamedTuple):
    """A file's rows for training."""

    rows: Dataset
    """A memory-mapped Hugging Face dataset with the file's rows, in order."""
    decoded: bool
    """Whether every picture was decoded when the file was made (see `pictures.stamp`)."""


def load_table(path: str | Path) -> Table:
    """Load the columns of SAMPLE_SCHEMA from a parquet file that `check_file` accepts.

    Args:
        path: The file; its name is taken literally, not as a pattern.

    Raises:
        OSError: The file, or the cache (`HF_DATASETS_CACHE`), cannot be read or written.
    """
    import datasets

    with Path(path).open("rb") as file:
        digest = digest_of(file)
        _logger.info("%s has SHA-256 %s", path, digest)
        kept = Path(datasets.config.HF_DATASETS_CACHE) / LAYOUT / digest / "rows.arrow"
        file.seek(0)
        with pq.ParquetFile(file, buffer_size=BLOCK, pre_buffer=False) as rows:
            stamped = digest_in(rows.metadata.metadata)
            if not kept.is_file():
                kept.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(kept) as part:
                    write_text(kept.with_name(FOUND), [write_table(rows, part, stamped is not None)])
    found = kept.with_name(FOUND)
    decoded = stamped is not None and found.is_file() and found.read_text(encoding="utf-8") == stamped
    return Table(datasets.Dataset.from_file(str(kept)), decoded)


def digest_of(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def write_table(rows: pq.ParquetFile, part: Path, stamped: bool) -> str:
    """Write a parquet file's rows as an Arrow stream, a few rows at a time.

    Returns:
        The hash of their pictures if the file is stamped; else empty.
    """
    import datasets
    from datasets.table import table_cast

    # With explicit types, a column without values has the same type as in other files.
    schema = datasets.Features.from_arrow_schema(SAMPLE_SCHEMA).arrow_schema
    pictures = PictureHash()
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in rows.iter_batches(batch_size=rows_at_once(rows, ROWS_AT_ONCE), columns=schema.names):
            table = pa.Table.from_batches([batch]).select(schema.names)
            writer.write_table(table_cast(table, schema))
            for images in batch.column("images").to_pylist() if stamped else ():
                pictures.add(images)
    return pictures.hexdigest() if stamped else ""

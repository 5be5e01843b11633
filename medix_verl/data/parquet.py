# SPDX-License-Identifier: Apache-2.0
"""Files of samples: written in row groups, atomically and with the same bytes for the same samples; read one by one.

A file under the final name is always whole: rows go to a temporary file beside it, which replaces it at the end.
Rows are checked on the way in and on the way out (see `schema`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medix_verl.data.schema import SAMPLE_SCHEMA, check_file, from_row, to_row
from medix_verl.errors import DataError
from medix_verl.runtime.files import atomic_write
from medix_verl.types import Sample

__all__ = ["read_samples", "row_groups", "write_samples"]

ROWS_A_GROUP = 256
BYTES_A_GROUP = 64 << 20
"""Bytes of pictures after which a group ends, so that one of large pictures fits in memory several times."""


def write_samples(samples: Iterable[Sample], path: str | Path) -> int:
    """Write samples to a parquet file, replacing it only when every row is written.

    Returns:
        The number of rows.

    Raises:
        DataError: A sample is not valid, an id comes twice, or there is no sample at all.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as part:
        return write_rows(iter(samples), part, target)


def write_rows(samples: Iterator[Sample], part: Path, target: Path) -> int:
    seen: set[str] = set()
    with pq.ParquetWriter(part, SAMPLE_SCHEMA, compression="zstd") as writer:
        for group in row_groups(samples):
            for row in group:
                if row["id"] in seen:
                    raise DataError(f"row {row['id']!r}: the id comes twice in {target}; every row needs its own")
                seen.add(row["id"])
            writer.write_table(pa.Table.from_pylist(group, schema=SAMPLE_SCHEMA))
    if not seen:
        raise DataError(f"{target}: there is no sample to write; check the source and its filters")
    return len(seen)


def row_groups(samples: Iterable[Sample]) -> Iterator[list[dict[str, Any]]]:
    """Checked rows in groups of bounded number and size."""
    group: list[dict[str, Any]] = []
    size = 0
    for sample in samples:
        group.append(to_row(sample))
        size += sum(len(ref.bytes or b"") for ref in sample.images)
        if len(group) >= ROWS_A_GROUP or size >= BYTES_A_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def read_samples(path: str | Path) -> Iterator[Sample]:
    """Read the samples of a parquet file one by one, in order.

    Raises:
        DataError: The file or a row of it is not valid.
    """
    check_file(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=16, columns=SAMPLE_SCHEMA.names):
            for row in batch.to_pylist():
                yield from_row(row)

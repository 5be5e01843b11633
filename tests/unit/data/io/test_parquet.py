# SPDX-License-Identifier: Apache-2.0
"""Files: the same bytes for the same samples, whole or not at all, and one schema whatever the source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medix_verl.data.io import parquet
from medix_verl.data.io.parquet import read_samples, write_samples
from medix_verl.errors import DataError
from medix_verl.types import ImageRef, Sample


def rows(count: int) -> Iterator[Sample]:
    for number in range(count):
        yield Sample(f"r{number}", "src", "What?", "this", images=(ImageRef(bytes=bytes([number % 256, 1])),))


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    write_samples(rows(20), tmp_path / "a.parquet")
    write_samples(rows(20), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_rows_are_streamed_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_A_GROUP", 8)
    write_samples(rows(20), tmp_path / "deep" / "a.parquet")
    assert pq.ParquetFile(tmp_path / "deep" / "a.parquet").num_row_groups == 3
    assert [sample.id for sample in read_samples(tmp_path / "deep" / "a.parquet")] == [f"r{n}" for n in range(20)]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_samples(rows(3), path)
    before = path.read_bytes()

    def broken() -> Iterator[Sample]:
        yield from rows(2)
        raise RuntimeError("source went away")

    with pytest.raises(RuntimeError, match="source went away"):
        write_samples(broken(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_double_ids_and_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 'r0': the id comes twice in .*a\.parquet"):
        write_samples([*rows(1), *rows(1)], tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: there is no sample to write"):
        write_samples([], tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_files_of_different_sources_concatenate(tmp_path: Path) -> None:
    write_samples([Sample("x", "one", "What?", "this")], tmp_path / "a.parquet")
    write_samples(
        [Sample("y", "two", "Which?", "b", "X_RAY", options=("a", "b"), meta={"k": [1]})], tmp_path / "b.parquet"
    )
    both = pa.concat_tables([pq.read_table(tmp_path / "a.parquet"), pq.read_table(tmp_path / "b.parquet")])
    assert both.num_rows == 2

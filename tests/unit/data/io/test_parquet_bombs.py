# SPDX-License-Identifier: Apache-2.0
"""Parquet files that promise more than they hold: refused by the footer, in every way that a file is read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medix_verl.data.io import file_limits
from medix_verl.data.io.file_limits import refuse_bomb, rows_at_once
from medix_verl.data.io.parquet import read_samples, write_samples
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import ImageRef, Sample


@pytest.fixture
def bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A column of 8 MiB in some hundred bytes, where 1 MiB is the limit."""
    monkeypatch.setattr(file_limits, "MAX_GROUP_BYTES", 1 << 20)
    monkeypatch.setattr(file_limits, "MAX_DICTIONARY_BYTES", 1 << 20)
    picture = ImageRef(bytes=bytes(8 << 20))
    write_samples([Sample("r1", "s", "What is seen?", "a nodule", images=(picture,))], tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_a_column_that_unpacks_to_far_more_is_refused(bomb: Path) -> None:
    for read in (lambda: list(read_samples(bomb)), lambda: list(Source(bomb.parent).rows("train", ["question"]))):
        with pytest.raises(DataError, match=r"column images\.list\.element\.bytes unpacks from \d+ bytes to 8 MiB"):
            read()


def test_a_column_that_is_only_large_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_limits, "MAX_GROUP_BYTES", 1 << 10)
    monkeypatch.setattr(file_limits, "MAX_DICTIONARY_BYTES", 1 << 10)
    pq.write_table(
        pa.table({"question": [f"What is seen in study {number}?" for number in range(500)]}),
        tmp_path / "train.parquet",
    )
    assert len(list(Source(tmp_path).rows("train", ["question"]))) == 500


def footer(rows: int = 1, packed: int = 10, unpacked: int = 10) -> SimpleNamespace:
    sizes = {"total_compressed_size": packed, "total_uncompressed_size": unpacked}
    column = SimpleNamespace(**sizes, path_in_schema="x", has_dictionary_page=False)
    group = SimpleNamespace(column=lambda _: column)
    return SimpleNamespace(
        metadata=SimpleNamespace(num_rows=rows, num_row_groups=1, num_columns=1, row_group=lambda _: group)
    )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (footer(rows=1 << 40), "promises 1099511627776 rows in 100 bytes; get the file again"),
        (footer(rows=-1), "promises -1 rows"),
        (footer(packed=1 << 40, unpacked=1 << 41), "promises a column of 1099511627776 bytes in 100"),
        (footer(packed=-5), "promises a column of -5 bytes"),
        (footer(unpacked=-5), "promises a column"),
    ],
)
def test_a_footer_that_contradicts_the_file_is_refused(tmp_path: Path, file: SimpleNamespace, message: str) -> None:
    (tmp_path / "a.parquet").write_bytes(bytes(100))
    refuse_bomb(footer(), tmp_path / "a.parquet")  # type: ignore[arg-type]  # what is looked at of a file
    with pytest.raises(DataError, match=message):
        refuse_bomb(file, tmp_path / "a.parquet")  # type: ignore[arg-type]  # as above


def one_value_in_many_rows(path: Path, value: str, rows: int = 100_000) -> Path:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))
    limit = {"dictionary_pagesize_limit": 1 << 30}
    pq.write_table(pa.table({"question": column}), path, compression="zstd", **limit)
    return path


def test_a_dictionary_of_one_long_value_is_refused(tmp_path: Path) -> None:
    """Some kilobytes on disk; each batch of 16 rows would take a gigabyte, and all rows terabytes."""
    path = one_value_in_many_rows(tmp_path / "train.parquet", "x" * (65 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match=r"column question unpacks from \d+ bytes to 65 MiB"):
        next(Source(tmp_path).rows("train", ["question"]))


def test_long_values_of_a_dictionary_are_unpacked_in_small_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_value_in_many_rows(tmp_path / "train.parquet", "x" * 1000, rows=100)
    with pq.ParquetFile(path) as file:
        assert rows_at_once(file, 16) == 16
        monkeypatch.setattr(file_limits, "MAX_GROUP_BYTES", 4000)
        assert 1 <= rows_at_once(file, 16) <= 3
    assert [row["question"] for row in Source(tmp_path).rows("train", ["question"])] == ["x" * 1000] * 100

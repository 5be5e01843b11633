# SPDX-License-Identifier: Apache-2.0
"""A file's table has the rows of the file that was named, whatever its name, its time and its column types."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medix_verl.data.io.parquet import load_table, write_samples
from medix_verl.data.schema import SAMPLE_SCHEMA, from_row
from medix_verl.types import ImageRef, Sample


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of `datasets`."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def put(path: Path, *answers: str) -> Path:
    write_samples([Sample(f"r{number}", "s", "What?", answer) for number, answer in enumerate(answers)], path)
    return path


def answers_of(path: Path) -> list[str]:
    return list(load_table(path).rows["answer"])


@pytest.mark.parametrize(
    "name",
    ["train[1].parquet", "a*b?.parquet", "x::y.parquet", "v[1]/a{1,2}.parquet", "[!a].parquet", "1%25 #1.parquet"],
)
def test_a_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    for other in ("train1.parquet", "aXbY.parquet", "v1/a1.parquet", "y.parquet", "b.parquet", "1% #1.parquet"):
        put(tmp_path / other, "another")
    assert answers_of(put(tmp_path / name, "mine")) == ["mine"]


def test_a_replaced_file_with_the_old_time_gives_its_new_rows(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    for answer in ("old", "new"):
        os.utime(put(path, answer), (1_700_000_000, 1_700_000_000))
        assert answers_of(path) == [answer]


def test_the_same_content_is_kept_once(tmp_path: Path, cache: Path) -> None:
    first, second = put(tmp_path / "a.parquet", "x", "y"), put(tmp_path / "b.parquet", "x", "y")
    assert answers_of(first) == answers_of(second) == ["x", "y"]
    assert len(list(cache.rglob("*.arrow"))) == 1


def test_the_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    samples = [
        Sample("a", "s", "What?", "this", "X_RAY", (ImageRef(bytes=b"1"), ImageRef(path="p.png")), ("this", "that")),
        Sample("b", "s", "Which?", "that", meta={"label": "B"}),
    ]
    write_samples(samples, tmp_path / "a.parquet")
    assert [from_row(row) for row in load_table(tmp_path / "a.parquet").rows] == samples


def test_columns_of_other_types_with_the_same_values(tmp_path: Path) -> None:
    """64-bit offsets, columns that are null throughout, further columns, another order."""
    row = {"id": "a", "data_source": "s", "question": "What?", "answer": "this", "split": "train"}
    large = pa.large_list(pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())]))
    table = pa.table(
        {
            "more": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            **{name: pa.array([text], pa.large_string()) for name, text in reversed(row.items())},
            "images": pa.array([[{"path": None, "bytes": b"1"}]], large),
            **{name: pa.nulls(1) for name in ("modality", "options", "meta")},
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    loaded = load_table(tmp_path / "a.parquet").rows
    assert loaded.column_names == SAMPLE_SCHEMA.names
    assert from_row(loaded[0]) == Sample(**row, images=(ImageRef(bytes=b"1"),))

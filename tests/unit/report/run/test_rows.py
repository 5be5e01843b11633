# SPDX-License-Identifier: Apache-2.0
"""What the data rows of a run say of its answers."""

from pathlib import Path

import pytest

from medix_verl.data.io.parquet import write_samples
from medix_verl.report.run.dumps import Answer
from medix_verl.report.run.rows import read_rows
from medix_verl.types import ImageRef, Sample

PICTURE = (ImageRef(bytes=b"x"),)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (Sample("a", "s", "What?", "this", "X_RAY", PICTURE), "X_RAY"),
        (Sample("a", "s", "What?", "this", None, PICTURE), "picture without a tag"),
        (Sample("a", "s", "What?", "this"), "no picture"),
    ],
)
def test_a_picture_without_a_tag_is_not_counted_as_text(tmp_path: Path, sample: Sample, expected: str) -> None:
    write_samples([sample], tmp_path / "[a].parquet")
    rows = read_rows([tmp_path / "[a].parquet"])
    (row,) = rows.by_id["a"]
    assert (row.modality or row.untagged) == expected


def test_answers_are_counted_so(tmp_path: Path) -> None:
    write_samples([Sample("a", "s", "What?", "this", None, PICTURE)], tmp_path / "a.parquet")
    answer = make_answer("a")
    assert read_rows([tmp_path / "a.parquet"]).modality_of(answer) == "picture without a tag"


def make_answer(row_id: str) -> Answer:
    return Answer(1, "u", "What?", "this", "this", 1.0, {}, row_id)

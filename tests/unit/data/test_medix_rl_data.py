# SPDX-License-Identifier: Apache-2.0
"""The published data set's rows become samples; what cannot is named."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medix_verl.data.converters.medix_rl_data import convert, to_sample
from medix_verl.data.parquet import read_samples
from medix_verl.errors import DataError


def a_row(solution: str, name: str = "7") -> dict:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": None}
    return {"id": name, "image": [image], "source": "vqa-rad", "problem": "<image>What is it?", "solution": solution}


@pytest.mark.parametrize(
    ("solution", "modality", "answer"),
    [
        ("<X_RAY>pneumonia", "X_RAY", "pneumonia"),
        ("<mri_scan>\nleft", "MRI_SCAN", "left"),
        ("lesion > 3 cm", None, "lesion > 3 cm"),
        ("<5 mm> in width", None, "<5 mm> in width"),
        ("<NOT_A_TAG>x", None, "<NOT_A_TAG>x"),
    ],
)
def test_only_a_known_tag_is_taken_off(solution: str, modality: str | None, answer: str) -> None:
    sample = to_sample(a_row(solution), "train")
    assert (sample.modality, sample.answer) == (modality, answer)
    assert sample.question == "What is it?"


def test_a_row_without_an_answer_is_named() -> None:
    with pytest.raises(DataError, match="row 7 has no answer"):
        to_sample(a_row("<X_RAY> "), "train")


def write_shard(folder: Path, name: str, rows: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}-00000-of-00001.parquet")


def test_both_splits_are_converted(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "data", "train", [a_row("<X_RAY>yes", "a"), a_row("<CT_SCAN>no", "b")])
    write_shard(tmp_path / "in" / "data", "test", [a_row("<X_RAY>yes", "c")])
    found = list(convert(tmp_path / "in", tmp_path / "out"))
    assert [(split, count) for split, _, count in found] == [("train", 2), ("val", 1)]
    assert [sample.id for sample in read_samples(tmp_path / "out" / "train.parquet")] == ["a", "b"]


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no shards of the split train"):
        list(convert(tmp_path, tmp_path / "out"))


def test_other_columns_are_refused(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_shard(tmp_path, name, [{"id": "1", "text": "x"}])
    with pytest.raises(DataError, match="has no column image, source, problem, solution"):
        list(convert(tmp_path, tmp_path / "out"))

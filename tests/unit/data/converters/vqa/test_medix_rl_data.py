# SPDX-License-Identifier: Apache-2.0
"""The published data set's rows become samples; what cannot is named."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medix_verl.data.converters.base import Refused
from medix_verl.data.converters.vqa.medix_rl_data import read, to_sample
from medix_verl.data.schema import from_row, to_row
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample


def a_row(solution: str, name: str = "7") -> dict:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": None}
    return {"id": name, "image": [image], "source": "vqa-rad", "problem": "<image>What is it?", "solution": solution}


def test_an_image_that_is_no_list_is_one_picture() -> None:
    row = a_row("<X_RAY>pneumonia")
    alone = {**row, "image": row["image"][0]}
    assert to_sample(alone, "train") == to_sample(row, "train")
    with pytest.raises(DataError, match="column image holds a str; expected pictures"):
        to_sample({**row, "image": "a.png"}, "train")
    lost = to_sample({**row, "image": {"bytes": None, "path": "a.png"}}, "train")
    assert isinstance(lost, Refused) and lost.reason == "no picture"


@pytest.mark.parametrize(
    ("solution", "modality", "answer", "kind"),
    [
        ("<X_RAY>pneumonia", "X_RAY", "pneumonia", "open"),
        ("<mri_scan>\nleft", "MRI_SCAN", "left", "open"),
        ("<X_RAY>Yes.", "X_RAY", "Yes.", "closed"),
        ("lesion > 3 cm", None, "lesion > 3 cm", "open"),
        ("<5 mm> in width", None, "<5 mm> in width", "open"),
        ("<NOT_A_TAG>x", None, "<NOT_A_TAG>x", "open"),
    ],
)
def test_only_a_known_tag_is_taken_off(solution: str, modality: str | None, answer: str, kind: str) -> None:
    sample = to_sample(a_row(solution), "train")
    assert isinstance(sample, Sample)
    assert (sample.modality, sample.answer, sample.meta["answer_type"]) == (modality, answer, kind)
    assert sample.question == "What is it?" and len(sample.meta["image_id"]) == 1
    assert from_row(to_row(sample)) == sample


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"solution": "<X_RAY> "}, "no answer"),
        ({"solution": None}, "no answer"),
        ({"problem": "<image> "}, "no question"),
        ({"image": [{"bytes": None, "path": "x.png"}]}, "no picture"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused(change: dict, reason: str) -> None:
    item = to_sample({**a_row("<X_RAY>yes"), **change}, "train")
    assert isinstance(item, Refused) and (item.id, item.reason) == ("7", reason)


def write_shard(folder: Path, name: str, rows: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}-00000-of-00001.parquet")


def test_both_splits_are_read(tmp_path: Path) -> None:
    write_shard(tmp_path / "data", "train", [a_row("<X_RAY>yes", "a"), a_row("<CT_SCAN>", "b"), a_row("x", "c")])
    write_shard(tmp_path / "data", "test", [a_row("<X_RAY>yes", "d")])
    source = Source(tmp_path)
    assert [(item.id, type(item)) for item in read(source, "train")] == [("a", Sample), ("b", Refused), ("c", Sample)]
    assert [item.split for item in read(source, "val") if isinstance(item, Sample)] == ["val"]


def test_a_folder_without_the_split_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, "train", [a_row("<X_RAY>yes")])
    with pytest.raises(DataError, match=r"no file of the split 'test': expected test-\*.parquet.*got train-00000"):
        list(read(Source(tmp_path), "val"))


def test_a_shard_with_other_columns_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, "train", [{"id": "a", "problem": "?"}])
    with pytest.raises(DataError, match=r"has no column image, source, solution; it has id, problem"):
        list(read(Source(tmp_path), "train"))

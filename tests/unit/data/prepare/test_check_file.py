# SPDX-License-Identifier: Apache-2.0
"""A finished file: every bad row is found, none hides the next, and the counts add up."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.wheels import scikit_image
from medix_verl.cli.data.check_data import add_arguments, run
from medix_verl.data.io.parquet import write_samples
from medix_verl.data.prepare.check_file import check_parquet
from medix_verl.data.prepare.checks import QualitySpec
from medix_verl.data.schema import SAMPLE_SCHEMA, to_row
from medix_verl.errors import DataError
from medix_verl.types import ImageRef, Sample

pictures = scikit_image()


def png(size: int, turn: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pictures.retina()).resize((size, size)).rotate(turn).save(buffer, "PNG")
    return buffer.getvalue()


def row(name: str, question: str, answer: str, *data: bytes) -> Sample:
    return Sample(name, "s", question, answer, images=tuple(ImageRef(bytes=one) for one in data))


EYE = png(80)
ROWS = [
    row("good", "Which organ is in this image?", "eye", EYE),
    row("twice", "Which organ is in this image?", "eye", EYE),
    row("cut", "Which organ is in this image?", "eye", EYE[:500]),
    row("other", "Which organ is in this image?", "retina", EYE),
    row("leak", "Is this picture sharp?", "n/a", png(80, 90)),
]


def broken_file(path: Path) -> Path:
    rows = [to_row(sample) for sample in [*ROWS, ROWS[0]]]
    rows.append({**to_row(ROWS[0]), "id": "bad", "modality": "XRAY"})
    pq.write_table(pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA), path)
    return path


def test_every_bad_row_is_found(tmp_path: Path) -> None:
    path = broken_file(tmp_path / "train.parquet")
    write_samples([row("t1", "Whose eye is in this image?", "a man's", png(80, 90))], tmp_path / "test.parquet")
    report = check_parquet(path, against=[tmp_path / "test.parquet"])
    assert report["rows"] == {"read": 7, "refused": 3, "dropped": 2, "written": 2}
    assert report["reasons"] == {
        "picture corrupt": 1,
        "id comes twice": 1,
        "invalid row": 1,
        "duplicate: exact": 1,
        "duplicate: same-image": 1,
    }
    assert [(item["id"], item["reason"]) for item in report["refused"]] == [
        ("cut", "picture corrupt"),
        ("good", "id comes twice"),
        ("bad", "invalid row"),
    ]
    assert [(item["id"], item["kind"], item["other_id"], item["drop"]) for item in report["findings"]] == [
        ("twice", "exact", "good", True),
        ("other", "same-question", "good", False),
        ("leak", "same-image", "t1", True),
    ]
    assert report["flags"] == {"answer-unknown": 1}
    assert {(item["file"], item["kind"], item["rows"]) for item in report["collisions"]} == {
        (None, "exact", 1),
        (None, "same-question", 1),
        ("test.parquet", "same-image", 1),
    }
    assert "modality 'XRAY' is not known" in report["examples"]["invalid row"][0]["detail"]


def test_a_clean_file_and_a_wrong_one(tmp_path: Path) -> None:
    write_samples(ROWS[:1], tmp_path / "a.parquet")
    report = check_parquet(tmp_path / "a.parquet", QualitySpec())
    assert report["rows"] == {"read": 1, "refused": 0, "dropped": 0, "written": 1}
    assert report["findings"] == report["refused"] == [] and report["credentialed"] is False
    with pytest.raises(DataError, match=r"gone\.parquet: no such file"):
        check_parquet(tmp_path / "gone.parquet")
    with pytest.raises(DataError, match=r"gone\.parquet: no such file"):
        check_parquet(tmp_path / "a.parquet", against=[tmp_path / "gone.parquet"])


def test_a_row_of_mimic_is_credentialed_whether_it_says_so_or_not(tmp_path: Path) -> None:
    write_samples([Sample("a", "own/mimic-cxr", "What?", "this")], tmp_path / "a.parquet")
    assert check_parquet(tmp_path / "a.parquet")["credentialed"] is True


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse
    import json

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    path = broken_file(tmp_path / "train.parquet")
    words = [str(path), "--workers", "1", "--report", str(tmp_path / "r.json"), "--quality", str(tmp_path / "q.yaml")]
    (tmp_path / "q.yaml").write_text("refuse: [answer-unknown]\n")
    assert run(parser.parse_args(words)) == 1
    out = capsys.readouterr().out
    assert "7 rows, 4 cannot be used, 1 are there twice or leak" in out
    assert "1 picture corrupt, for example cut: row 'cut'" in out
    assert "to look at: 1 same-question in the file itself" in out
    assert "not compared with any evaluation file" in out
    assert json.loads((tmp_path / "r.json").read_text())["rows"]["refused"] == 4
    write_samples(ROWS[:1], path)
    assert run(parser.parse_args([str(path), "--workers", "1"])) == 0

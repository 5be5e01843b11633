# SPDX-License-Identifier: Apache-2.0
"""What training and validation share is found without a picture, and said by `check` and the doctor."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medix_verl.cli.data import check_data
from medix_verl.cli.main import main
from medix_verl.data.duplicates.split_overlap import find_overlap
from medix_verl.data.io.parquet import write_samples
from medix_verl.recipe.checks.data import check_overlap
from medix_verl.types import ImageRef, Sample


def put(path: Path, *samples: Sample) -> Path:
    write_samples(samples, path)
    return path


def sample(name: str, question: str = "", source: str = "own/a", split: str = "train", **meta: Any) -> Sample:
    shown = tuple(ImageRef(bytes=b"x") for _ in meta.get("image_id", ()))
    return Sample(name, source, question or f"What is {name}?", "this", images=shown, split=split, meta=meta)


def counts(tmp_path: Path, train: Sequence[Sample], val: Sequence[Sample]) -> tuple[int, int, int]:
    found = find_overlap([put(tmp_path / "train.parquet", *train)], [put(tmp_path / "val.parquet", *val)])
    return found.rows, found.pictures, found.patients


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (sample("a"), sample("b"), (0, 0, 0)),
        (sample("a"), sample("b", "WHAT  is a?"), (1, 0, 0)),
        (sample("a", image_id=["1.png"]), sample("b", "What is a?", image_id=["1.png"]), (1, 1, 0)),
        (sample("a", image_id=["1.png"]), sample("b", "What is a?", image_id=["2.png"]), (0, 0, 0)),
        (sample("a", image_id=["1.png"]), sample("b", source="own/b", image_id=["0.png", "1.png"]), (0, 1, 0)),
        (sample("a", image_id=["1.png"]), sample("b", source="slake", image_id=["1.png"]), (0, 0, 0)),
        (sample("a", patient_id="7"), sample("b", patient_id=7), (0, 0, 1)),
        (sample("a", source="medix_demo"), sample("b", "What is a?", source="medix_demo"), (0, 0, 0)),
    ],
)
def test_what_is_shared(tmp_path: Path, train: Sample, val: Sample, expected: tuple[int, int, int]) -> None:
    assert counts(tmp_path, [train, sample("other")], [val]) == expected


def test_pictures_without_a_name_could_be_any(tmp_path: Path) -> None:
    picture = Sample("a", "s", "What is seen?", "this", images=(ImageRef(bytes=b"1"),))
    assert counts(tmp_path, [picture], [picture]) == (0, 0, 0)
    stored = Sample("a", "s", "What is seen?", "this", images=(ImageRef(path="train.images/3f/3f.png"),))
    assert counts(tmp_path, [stored], [stored]) == (1, 1, 0)


def test_a_mixture_and_a_file_that_is_not_here(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", sample("a", source="x"), sample("b", source="y"))
    (tmp_path / "mix.yaml").write_text("sources: [{path: a.parquet, data_sources: [y]}]\n", encoding="utf-8")
    put(tmp_path / "val.parquet", sample("v", "What is a?"), sample("w", "What is b?"))
    found = find_overlap([tmp_path / "mix.yaml"], [tmp_path / "val.parquet", "s3://bucket/val.parquet"])
    assert (found.rows, found.example, found.unseen) == (1, "b", ("s3://bucket/val.parquet",))


def test_the_doctor_warns(tmp_path: Path) -> None:
    train, val = put(tmp_path / "t.parquet", sample("a")), put(tmp_path / "v.parquet", sample("b", "What is a?"))
    found = check_overlap([str(train)], [str(val)], "medix")
    assert (found.status, found.found) == ("warn", "training and validation share 1 rows (row 'a') (medix)")
    assert check_overlap([str(train)], [str(tmp_path / "gone.parquet")], "medix").status == "ok"
    (tmp_path / "no.parquet").write_text("no parquet")
    assert check_overlap([str(train)], [str(tmp_path / "no.parquet")], "medix").status == "FAIL"


def test_check_warns_of_a_split_beside_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = put(tmp_path / "train.parquet", sample("a"), sample("c"))
    put(tmp_path / "val.parquet", sample("b", "What is a?", split="val"))
    put(tmp_path / "more.parquet", sample("d", "What is a?"))
    (tmp_path / "other.parquet").write_text("no parquet")
    parser = ArgumentParser()
    check_data.add_arguments(parser)
    assert check_data.run(parser.parse_args([str(train), "--workers", "1"])) == 0
    printed = capsys.readouterr().out
    assert "warning: train.parquet and val.parquet beside it: training and validation share 1 rows (row 'a')" in printed
    assert printed.count("warning") == 1


def test_two_splits_of_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Train of the whole table, then val of a part of it, would share rows."""
    rows = [{"id": f"r{n}", "question": f"Q{n}?", "answer": "x", "patient_id": n // 2} for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def prepare(split: str, *words: str) -> int:
        out = str(tmp_path / "out" / f"{split}.parquet")
        source = str(tmp_path / "mine.jsonl")
        return main(["prepare", "own", "--source", source, "--split", split, "--out", out, "--workers", "1", *words])

    assert prepare("train") == 0
    assert prepare("val") == 1
    assert (
        "has no column split, so that its rows would be in val and in train; type --split-by" in capsys.readouterr().err
    )
    by = ("--split-by", "patient", "--val-share", "0.25")
    assert prepare("val", *by) == 1
    assert (
        "train.report.json is of the split train of the same table, prepared with --split-by auto"
        in capsys.readouterr().err
    )
    (tmp_path / "out" / "train.report.json").unlink()
    assert prepare("train", *by) == 0 and prepare("val", *by) == 0
    assert not find_overlap([tmp_path / "out" / "train.parquet"], [tmp_path / "out" / "val.parquet"])

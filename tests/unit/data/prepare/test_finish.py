# SPDX-License-Identifier: Apache-2.0
"""The order in which the last files of a preparation come, and what is left where one of them fails."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from helpers import sets
from medix_verl.data.io.parquet import read_samples
from medix_verl.data.prepare.checks import Checked
from medix_verl.data.prepare.job import Job
from medix_verl.data.prepare.prepare import prepare
from medix_verl.types import Sample

WRITTEN = {"train.parquet", "train.report.json", "train.dropped.jsonl"}


def never(sample: Sample) -> Checked:
    raise AssertionError(f"row {sample.id!r} was read again")


def test_a_card_that_fails_leaves_the_rows_and_the_parts(tmp_path: Path) -> None:
    """The card is made last: the parquet file is whole without it, and the next run reads nothing of the set again."""
    source, converter = sets.put_rows(tmp_path / "in", 5), str(sets.put_converter(tmp_path))
    job = Job(converter, "train", tmp_path / "out" / "train.parquet", place=str(source), rows_a_part=2)
    (tmp_path / "a file").touch()
    with pytest.raises(OSError, match="a file"):
        prepare(replace(job, card=tmp_path / "a file" / "card.html"), print)
    assert {path.name for path in job.out.parent.iterdir()} == {*WRITTEN, ".train.parquet.parts"}
    assert len(list(read_samples(job.out))) == 5
    prepare(replace(job, card=tmp_path / "card.html"), print, never)
    assert {path.name for path in job.out.parent.iterdir()} == WRITTEN and (tmp_path / "card.html").is_file()


def test_where_the_files_lay_is_in_no_file_that_is_handed_on(tmp_path: Path) -> None:
    """The folder of a clinic is often a patient's; two reports of one place still say the same of it."""
    folder, pictures = tmp_path / "Mustermann_Erika", tmp_path / "Mustermann_Films"
    folder.mkdir()
    pictures.mkdir()
    Image.new("L", (64, 64), 7).save(pictures / "a.png")
    (folder / "t.csv").write_text(
        "id,question,answer,image\n" + "".join(f"r{n},What is it {n}?,a lung,a.png\n" for n in range(40)),
        encoding="utf-8",
    )
    options = {"images_from": str(pictures), "split_by": "row", "val_share": "0.1"}
    out = tmp_path / "out" / "train.parquet"
    job = Job("own", "train", out, str(folder), options=options, card=out.parent / "CARD.html")
    report = prepare(job, print)
    assert report["rows"]["written"] > 1
    assert report["source"]["place"].startswith("local:")
    assert report["options"]["images_from"].startswith("local:")
    for path in out.parent.iterdir():
        assert b"Mustermann" not in path.read_bytes(), path.name

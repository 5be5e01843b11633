# SPDX-License-Identifier: Apache-2.0
"""A preparation: what is written, what is left out and why, and what a second run finds."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers import sets
from medix_verl.data.io.parquet import read_samples, write_samples
from medix_verl.data.prepare.checks import Checked, check
from medix_verl.data.prepare.job import Job
from medix_verl.data.prepare.prepare import prepare
from medix_verl.errors import ConfigError, DataError
from medix_verl.runtime.files import locked
from medix_verl.types import ImageRef, Sample

picture, put_converter, put_rows = sets.picture, sets.put_converter, sets.put_rows


class Say:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)


def job_for(tmp_path: Path, count: int = 5, **changes: dict[str, Any]) -> Job:
    source = put_rows(tmp_path / "in", count, **changes)
    converter = str(put_converter(tmp_path))
    return Job(converter, "train", tmp_path / "out" / "train.parquet", place=str(source), rows_a_part=2)


def ids(path: Path) -> list[str]:
    return [sample.id for sample in read_samples(path)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_files_of_a_preparation(tmp_path: Path) -> None:
    job = job_for(tmp_path, r1={"answer": ""}, r3={"image": b"no picture".hex()})
    report = prepare(job, Say())
    assert names(job.out.parent) == {"train.parquet", "train.report.json", "train.dropped.jsonl"}
    assert ids(job.out) == ["r0", "r2", "r4"]
    assert report == json.loads((job.out.parent / "train.report.json").read_text(encoding="utf-8"))
    assert report["rows"] == {"read": 5, "refused": 2, "dropped": 0, "written": 3}
    assert report["reasons"] == {"no answer": 1, "picture unreadable": 1}
    lines = (job.out.parent / "train.dropped.jsonl").read_text(encoding="utf-8").splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["reason"]) for line in lines] == [
        ("r1", "no answer"),
        ("r3", "picture unreadable"),
    ]


def test_one_preparation_a_file(tmp_path: Path) -> None:
    job = job_for(tmp_path)
    job.out.parent.mkdir()
    busy = r"train\.parquet is being prepared by another process; wait for it"
    with locked(job.out.parent / ".train.parquet.lock"), pytest.raises(ConfigError, match=busy):
        prepare(job, Say())
    assert names(job.out.parent) == set()


def test_duplicates_and_double_ids_are_dropped(tmp_path: Path) -> None:
    same = {"question": "What is seen in picture 0?", "answer": "finding 0", "image": picture(0, 32).hex()}
    job = job_for(tmp_path, copy=same, r4={"id": "r0"})
    report = prepare(job, Say())
    assert ids(job.out) == ["r0", "r1", "r2", "r3"]
    assert report["reasons"] == {"duplicate: exact": 1, "id comes twice": 1}
    assert report["examples"]["duplicate: exact"] == [{"id": "copy", "detail": "exact of 'r0' in the same file"}]
    assert report["rows"] == {"read": 6, "refused": 0, "dropped": 2, "written": 4}


def test_rows_of_an_evaluation_file_are_left_out(tmp_path: Path) -> None:
    """The picture is saved again and asked about in other words: it leaks all the same."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(2, 32))).save(buffer, "BMP")
    leak = Sample("e0", "eval", "Another question?", "x", "X_RAY", (ImageRef(bytes=buffer.getvalue()),), split="test")
    write_samples([leak], tmp_path / "test.parquet")
    job = replace(job_for(tmp_path), against=(tmp_path / "test.parquet",))
    report = prepare(job, Say())
    assert ids(job.out) == ["r0", "r1", "r3", "r4"]
    assert report["reasons"] == {"duplicate: same-image": 1}
    assert report["collisions"] == [{"file": "test.parquet", "kind": "same-image", "dropped": True, "rows": 1}]
    assert report["against"] == ["test.parquet"]


def test_an_evaluation_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    broken = Sample("e0", "eval", "What?", "x", "X_RAY", (ImageRef(bytes=b"none"),), split="test")
    write_samples([broken], tmp_path / "test.parquet")
    job = replace(job_for(tmp_path), against=(tmp_path / "test.parquet",))
    with pytest.raises(
        DataError, match=r"test\.parquet: row 'e0'.*is not a readable picture.*a leak into it could not be found"
    ):
        prepare(job, Say())


@pytest.mark.parametrize("workers", [1, 2])
def test_pictures_beside_the_file(tmp_path: Path, workers: int) -> None:
    same = {"image": picture(0, 32).hex()}
    job = replace(job_for(tmp_path, r1=same), images="files", workers=workers)
    prepare(job, Say())
    refs = [sample.images[0] for sample in read_samples(job.out)]
    assert len(refs) == 5 and refs[0] == refs[1]
    assert all(ref.bytes is None and ref.path and ref.path.startswith("train.images/") for ref in refs)
    stored = [path for path in (job.out.parent / "train.images").rglob("*") if path.is_file()]
    assert len(stored) == 4
    assert (job.out.parent / str(refs[0].path)).read_bytes() == picture(0, 32)


def test_pictures_by_place_are_taken_in(tmp_path: Path) -> None:
    job = job_for(tmp_path, r0={"image": "path:a.png"}, r1={"image": "path:b.png"})
    (tmp_path / "in" / "a.png").write_bytes(picture(99, 32))
    report = prepare(job, Say())
    assert next(read_samples(job.out)).images[0].bytes == picture(99, 32)
    assert report["reasons"] == {"picture missing": 1}


def test_options_and_limit_reach_the_converter(tmp_path: Path) -> None:
    job = replace(job_for(tmp_path), options={"suffix": " Say!"}, limit=3)
    prepare(job, Say())
    samples = list(read_samples(job.out))
    assert [sample.id for sample in samples] == ["r0", "r1", "r2"] and samples[0].question.endswith("? Say!")


def test_long_prompts_are_refused(tmp_path: Path) -> None:
    job = replace(job_for(tmp_path, r2={"question": "long " * 3000}), max_prompt_tokens=2000)
    report = prepare(job, Say())
    assert report["reasons"] == {"prompt too long": 1} and ids(job.out) == ["r0", "r1", "r3", "r4"]


@pytest.mark.parametrize(("patch", "kept"), [(None, 5), (14, 0)])
def test_the_estimate_goes_by_the_patches_that_are_named(tmp_path: Path, patch: int | None, kept: int) -> None:
    """A picture of the least size is 256 tokens by 16 x 16 pixels a patch, and 342 by 14 x 14."""
    job, say = replace(job_for(tmp_path), max_prompt_tokens=550, patch_size=patch), Say()
    if kept:
        prepare(job, say)
        assert len(ids(job.out)) == kept
    else:
        with pytest.raises(DataError):
            prepare(job, say)
    assert any(f"patches of {patch or 16} x {patch or 16} pixels; --model NAME counts them" in one for one in say.lines)


def test_an_option_that_is_no_path_may_be_the_name_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "ward").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    job = replace(job_for(tmp_path, count=2), options={"suffix": "ward"})
    prepare(job, Say())
    assert [sample.question[-5:] for sample in read_samples(job.out)] == ["?ward"] * 2


def test_what_lies_where_an_option_points_belongs_to_the_rows(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(picture(1, 32))
    table = tmp_path / "mine.csv"
    table.write_text("id,question,answer,image\nr0,What?,this,a.png\nr1,Why?,so,\n", encoding="utf-8")
    options = {"images_from": str(pictures)}
    job = Job("own", "train", tmp_path / "out.parquet", place=str(table), options=options, rows_a_part=1)
    with pytest.raises(OSError, match="No space left"):
        prepare(job, Say(), Failing("r1"))
    (pictures / "a.png").write_bytes(picture(2, 48))
    say = Say()
    prepare(job, say)
    assert any("starting again" in line for line in say.lines)
    assert next(read_samples(job.out)).images[0].bytes == picture(2, 48)


class Failing:
    """A check that fails at one row, as a full disk would."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.asked: list[str] = []

    def __call__(self, sample: Sample) -> Checked:
        from medix_verl.data.prepare.checks import QualitySpec

        self.asked.append(sample.id)
        if sample.id == self.at:
            raise OSError(28, "No space left on device")
        return check(sample, QualitySpec())


def test_a_second_run_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    job = job_for(tmp_path, count=7, r1={"answer": ""})
    with pytest.raises(OSError, match="No space left"):
        prepare(job, Say(), Failing("r5"))
    assert names(job.out.parent) == {".train.parquet.parts"}
    say, second = Say(), Failing("never")
    prepare(job, say, second)
    assert say.lines[0] == "going on with 2 finished parts of an earlier run"
    assert second.asked == ["r4", "r5", "r6"]
    undisturbed = replace(job, out=tmp_path / "other" / "train.parquet")
    prepare(undisturbed, Say())
    for name in ("train.parquet", "train.report.json", "train.dropped.jsonl"):
        assert (job.out.parent / name).read_bytes() == (undisturbed.out.parent / name).read_bytes()


def test_changed_rows_start_anew(tmp_path: Path) -> None:
    job = job_for(tmp_path, count=7)
    with pytest.raises(OSError, match="No space left"):
        prepare(job, Say(), Failing("r5"))
    put_rows(tmp_path / "in", 8)
    say = Say()
    prepare(job, say)
    assert say.lines[0] == "the parts of an earlier run are of another plan (changed: source's files); starting again"
    assert len(ids(job.out)) == 8


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    job = job_for(tmp_path)
    job.out.parent.mkdir()
    job.out.write_bytes(b"old")
    prepare(job, Say())
    assert len(ids(job.out)) == 5


def test_no_row_at_all_says_why(tmp_path: Path) -> None:
    job = job_for(tmp_path, count=2, r0={"answer": ""}, r1={"answer": ""})
    with pytest.raises(DataError, match=r"no row is left of 2, 2 for the reason 'no answer' \(row 'r0': it is empty\)"):
        prepare(job, Say())
    assert not job.out.exists()


def test_a_converter_that_forgets_meta_is_named(tmp_path: Path) -> None:
    job = job_for(tmp_path, r0={"meta": {"answer_type": "both"}})
    with pytest.raises(DataError, match=r"row 'r0': the converter .*mine\.py must set meta's licence, answer_type"):
        prepare(job, Say())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "test"}, r"mine has no split 'test'; it has train \(their rows\), val \(their held\)"),
        ({"place": None}, "mine is not on the hub; give --source the folder or file with its rows"),
        ({"against": (Path("gone.parquet"),)}, r"--decontaminate-against gone\.parquet: no such file"),
        ({"options": {"sufix": "x"}}, "mine has no option 'sufix'; accepted: suffix; did you mean 'suffix'"),
    ],
)
def test_what_a_set_cannot_do(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(replace(job_for(tmp_path), **change), Say())
    assert not (tmp_path / "out").exists()


def test_credentialed_rows_are_read_from_an_own_copy_only(tmp_path: Path) -> None:
    job = job_for(tmp_path)
    put_converter(tmp_path, credential="PhysioNet agreement")
    for place in (None, "own/hub-copy"):
        with pytest.raises(ConfigError, match=r"mine is credentialed \(PhysioNet agreement\); get your own copy"):
            prepare(replace(job, place=place), Say())
    assert prepare(job, Say())["credentialed"] is True


def test_a_row_may_be_credentialed_where_the_set_is_not(tmp_path: Path) -> None:
    job = job_for(tmp_path, r3={"meta": {"credentialed": True}})
    assert prepare(job, Say())["credentialed"] is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "file"}, "--images is 'file'; accepted: embed, files; did you mean 'files'"),
        ({"workers": 0}, "--workers is 0; set it to an integer of at least 1"),
        ({"limit": 0}, "--limit is 0"),
        ({"patch_size": 14}, "--patch-size is 14, but nothing is counted; give --max-prompt-tokens"),
        ({"patch_size": 0, "max_prompt_tokens": 9}, "--patch-size is 0; set it to an integer of at least 1"),
        (
            {"patch_size": 14, "max_prompt_tokens": 9, "model": "m"},
            "--patch-size is 14, and --model m has its own; leave out one",
        ),
        ({"model": "m"}, "--model is 'm', but nothing is counted; give --max-prompt-tokens"),
        ({"out": Path("train.json")}, r"--out train\.json is no \.parquet file; give a file such as"),
        ({"out": Path()}, r"--out \. is a folder; give a file such as train\.parquet"),
    ],
)
def test_what_no_set_can_do(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Job(**{"name": "own", "split": "train", "out": Path("a.parquet"), **change})

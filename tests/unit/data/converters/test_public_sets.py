# SPDX-License-Identifier: Apache-2.0
"""What holds for every public set: its published layout is read whole, a wrong one is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import set_layouts as made
from medix_verl.data.converters.base import SPLITS, Refused, resolve_options
from medix_verl.data.converters.registry import NAMES, find, options_of
from medix_verl.data.io.parquet import read_samples, write_samples
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

SETS = sorted(made.ROWS)


def read_set(name: str, folder: Path, split: str = "", **options: str) -> list[Sample | Refused]:
    converter = find(name)
    source = Source(folder, options=resolve_options(name, options_of(converter), options))
    items: Iterator[Sample | Refused] = converter.read(source, split or made.SPLITS.get(name, "train"))
    return list(items)


def test_the_layouts_are_of_every_public_set() -> None:
    assert set(NAMES) - set(SETS) == {"medix-rl-data", "own", "dicom"}


@pytest.mark.parametrize("name", SETS)
def test_a_set_says_what_it_is(name: str) -> None:
    spec = find(name).SPEC
    assert (spec.name, set(spec.splits) <= set(SPLITS)) == (name, True)
    assert spec.licence and spec.title and "\n" not in spec.about
    assert spec.hub_id is not None or name in {"mimic-cxr", "iu-xray"}
    assert (spec.credentialed, bool(spec.credential)) == ((name == "mimic-cxr"),) * 2


@pytest.mark.parametrize("name", SETS)
def test_every_row_of_the_published_layout_comes_out_and_round_trips(name: str, tmp_path: Path) -> None:
    made.WRITERS[name](tmp_path, made.ROWS[name])
    items = read_set(name, tmp_path)
    expected = {"mimic-cxr": 2, "mmlu-medical": 10}.get(name, len(made.ROWS[name]))
    assert len({item.id for item in items}) == len(items) == expected
    samples = [item for item in items if isinstance(item, Sample)]
    assert [item.reason for item in items if isinstance(item, Refused)] == ["other language"] * (name == "slake")
    assert write_samples(samples, tmp_path / "out.parquet") == len(samples)
    assert list(read_samples(tmp_path / "out.parquet")) == samples
    (tmp_path / "out.parquet").unlink()
    assert read_set(name, tmp_path) == items


@pytest.mark.parametrize("name", SETS)
def test_a_sample_carries_what_the_statistics_need(name: str, tmp_path: Path) -> None:
    made.WRITERS[name](tmp_path, made.ROWS[name])
    spec = find(name).SPEC
    for sample in read_set(name, tmp_path):
        if isinstance(sample, Sample):
            assert sample.meta["licence"] == spec.licence
            assert sample.meta["answer_type"] == ("closed" if sample.options else sample.meta["answer_type"])
            assert sample.meta["answer_type"] in ("open", "closed")
            assert len(sample.meta["image_id"]) == len(sample.images) and all(sample.meta["image_id"])
            assert bool(sample.images) == spec.pictures
            assert sample.data_source.split("/")[0] == name
            assert sample.meta.get("credentialed", False) == spec.credentialed
            assert "<image>" not in sample.question
            assert all(picture.bytes is not None and picture.bytes.startswith(b"\x89PNG") for picture in sample.images)


WRONG = {
    "slake": ("q_lang", r"train\.json has no column q_lang; it has img_id, img_name"),
    "vqa-rad": ("answer", r"train-.*parquet has no column answer; it has image, question"),
    "path-vqa": ("question", r"train-.*parquet has no column question"),
    "kvasir-vqa": ("image", r"00000\.parquet has no column image"),
    "pmc-vqa": ("Choice C", r"train\.csv has no column Choice C"),
    "omnimedvqa": ("gt_answer", r"Chest CT Scan\.json has no column gt_answer"),
    "pubmedvision": ("conversations", r"PubMedVision_InstructionTuning_VQA\.json has no column conversations"),
    "medxpertqa": ("images", r"MM/test\.jsonl has no column images"),
    "medqa": ("sent1", r"a row has id, ending0.*; expected sent1, ending0-3, label, or question, options, answer_idx"),
    "medmcqa": ("cop", r"train-.*parquet has no column cop"),
    "pubmedqa": ("final_decision", r"train-.*parquet has no column final_decision"),
    "mmlu-medical": ("choices", r"anatomy/test-.*parquet has no column choices"),
    "medical-o1-verifiable-problem": ("Ground-True Answer", r"problem\.json has no column Ground-True Answer"),
    "healthbench": ("rubrics", r"_oss_eval\.jsonl has no column rubrics"),
    "medbullets": ("answer_idx", r"a row has neither options nor opa, ..., answer_idx"),
    "supergpqa-medical": ("answer_letter", r"SuperGPQA-all\.jsonl has no column answer_letter"),
    "cmb-exam": ("option", r"CMB-train-merge\.json has no column option"),
    "medframeqa": ("image_2", r"test-.*parquet has no column image_2"),
    "gmai-mmbench": ("index", r"VAL\.tsv has no column index; it has image"),
    "mimic-cxr": ("ViewPosition", r"metadata\.csv\.gz has no column ViewPosition; it has dicom_id"),
    "iu-xray": ("report", r"annotation\.json row 1 has no report; it has id, image_path"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_missing_column_is_named_with_its_file(name: str, tmp_path: Path) -> None:
    column, words = WRONG[name]
    made.WRITERS[name](tmp_path, [{key: row[key] for key in row if key != column} for row in made.ROWS[name]])
    with pytest.raises(DataError, match=words):
        read_set(name, tmp_path)


@pytest.mark.parametrize("name", sorted(set(SETS) - {"mimic-cxr", "iu-xray", "mmlu-medical"}))
def test_a_folder_without_the_files_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(DataError, match=r"has no file of the split .*check --source"):
        read_set(name, tmp_path)


@pytest.mark.parametrize("name", sorted(set(made.FILES) - {"iu-xray"}))
def test_a_row_without_its_picture_is_refused(name: str, tmp_path: Path) -> None:
    made.WRITERS[name](tmp_path, made.ROWS[name])
    for archive in tmp_path.glob("*.zip"):
        archive.unlink()
    reasons = {item.reason for item in read_set(name, tmp_path) if isinstance(item, Refused)}
    assert reasons - {"other language"} == {"no picture"}
    assert not any(isinstance(item, Sample) for item in read_set(name, tmp_path))

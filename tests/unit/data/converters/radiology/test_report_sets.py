# SPDX-License-Identifier: Apache-2.0
"""MIMIC-CXR and IU X-Ray: studies with their views and reports, in the layouts that their owners give."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from helpers import set_layouts as made
from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.data.converters.radiology import iu_xray, mimic_cxr
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample


def read(converter: Any, folder: Path, split: str = "train", **options: str) -> list[Any]:
    return list(converter.read(Source(folder, options=resolve_options("x", converter.OPTIONS, options)), split))


@pytest.fixture
def mimic(tmp_path: Path) -> Path:
    made.write_mimic(tmp_path, made.ROWS["mimic-cxr"])
    return tmp_path


def test_a_study_is_its_frontal_views_and_its_report(mimic: Path) -> None:
    first, second = read(mimic_cxr, mimic)
    assert isinstance(first, Sample)
    assert first.answer == "Findings: The lungs are clear. NG TUBE: none. No effusion.\nImpression: No acute process."
    assert (first.id, first.modality, first.meta["image_id"]) == ("mimic-cxr-s50414267", "X_RAY", ["d1"])
    assert (first.meta["patient_id"], first.meta["credentialed"]) == ("10000032", True)
    assert second.meta["patient_id"] == "10000764"
    assert [item.id for item in read(mimic_cxr, mimic, "test")] == ["mimic-cxr-s53911762"]
    assert read(mimic_cxr, mimic, "val") == []


def test_every_view_when_asked_and_then_no_metadata(mimic: Path) -> None:
    (mimic / "mimic-cxr-2.0.0-metadata.csv.gz").unlink()
    assert read(mimic_cxr, mimic, views="all")[0].meta["image_id"] == ["d1", "d2"]
    with pytest.raises(
        DataError, match=r"has no mimic-cxr-2\.0\.0-metadata\.csv or .*\.gz; download it from PhysioNet"
    ):
        read(mimic_cxr, mimic)


def test_one_part_of_the_report(mimic: Path) -> None:
    assert read(mimic_cxr, mimic, part="impression")[0].answer == "No acute process."


def test_unpacked_tables_and_dicom_pictures_are_read_too(mimic: Path) -> None:
    for packed in mimic.glob("*.csv.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    for picture in mimic.rglob("*.jpg"):
        picture.rename(picture.with_suffix(".dcm"))
    assert [len(item.images) for item in read(mimic_cxr, mimic)] == [1, 1]


def test_what_a_study_lacks_is_said(mimic: Path) -> None:
    study = mimic / "files/p10/p10000032/s50414267"
    study.with_suffix(".txt").write_bytes(b"FINDINGS: \xff")
    assert read(mimic_cxr, mimic)[0].reason == "broken text"
    study.with_suffix(".txt").write_text("WET READ: fine.")
    assert read(mimic_cxr, mimic)[0].reason == "no answer"
    study.with_suffix(".txt").unlink()
    assert read(mimic_cxr, mimic)[0].reason == "no report"
    (mimic / "files/p10/p10000764/s53189527/d3.jpg").unlink()
    item = read(mimic_cxr, mimic)[1]
    assert item.reason == "no picture" and "d3.jpg" in item.detail


def test_a_study_without_a_frontal_view_is_refused(tmp_path: Path) -> None:
    made.write_mimic(tmp_path, [{**made.ROWS["mimic-cxr"][0], "ViewPosition": "LATERAL"}])
    (item,) = read(mimic_cxr, tmp_path)
    assert item == Refused("mimic-cxr-s50414267", "no picture", "the study has no view of those wanted")


def test_a_broken_table_is_named(mimic: Path) -> None:
    (mimic / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"split\.csv\.gz cannot be read .*; download it again"):
        read(mimic_cxr, mimic)


def test_a_place_that_is_not_local_is_refused() -> None:
    source = made.FakeSource([], {"views": "all", "part": "both"})
    source.local = False
    with pytest.raises(DataError, match="mimic-cxr is credentialed and read from local files only"):
        list(mimic_cxr.read(source, "train"))


@pytest.fixture
def iu(tmp_path: Path) -> Path:
    made.write_iu(tmp_path, made.ROWS["iu-xray"])
    return tmp_path


def test_annotated_studies_are_findings(iu: Path) -> None:
    first, second = read(iu_xray, iu)
    assert (first.id, first.answer, first.modality) == ("CXR1_IM-1", "The heart is normal.", "X_RAY")
    assert first.meta["image_id"] == ["CXR1/0.png", "CXR1/1.png"] and "findings" in first.question
    assert "impression" not in first.question and len(second.images) == 1
    assert read(iu_xray, iu, "test") == []
    with pytest.raises(ConfigError, match=r"annotation\.json has findings only; type --set part=findings"):
        read(iu_xray, iu, part="impression")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", r"annotation\.json is not JSON"),
        ("[]", r"annotation\.json has no list 'train' of studies; expected train, val and test"),
        ('{"train": {}}', r"annotation\.json has no list 'train' of studies"),
    ],
)
def test_a_wrong_annotation_file_is_named(iu: Path, content: str, words: str) -> None:
    (iu / "annotation.json").write_text(content)
    with pytest.raises(DataError, match=words):
        read(iu_xray, iu)


def test_the_tables_layout_joins_reports_and_views(tmp_path: Path) -> None:
    reports = [
        {"uid": "1", "findings": "Clear.", "impression": "Normal."},
        {"uid": "2", "findings": "", "impression": "Normal."},
        {"uid": "3", "findings": "", "impression": ""},
    ]
    views = [
        ("1", "1_a.png", "Lateral"),
        ("1", "1_b.png", "Frontal"),
        ("2", "2_a.png", "Frontal"),
        ("3", "3.png", "Frontal"),
    ]
    rows = [dict(zip(("uid", "filename", "projection"), view, strict=True)) for view in views]
    made.write_tables(tmp_path / "indiana_reports.csv", reports)
    made.write_tables(tmp_path / "indiana_projections.csv", rows)
    (tmp_path / "images_normalized").mkdir()
    for row in rows:
        (tmp_path / "images_normalized" / row["filename"]).write_bytes(made.png(1))
    first, second, third = read(iu_xray, tmp_path)
    assert (first.id, first.answer) == ("iu-xray-1", "Findings: Clear.\nImpression: Normal.")
    assert first.meta["image_id"] == ["1_b.png", "1_a.png"], "frontal first"
    assert second.answer == "Impression: Normal." and third.reason == "no answer"
    with pytest.raises(ConfigError, match="the tables have no split 'test'; type --split train"):
        read(iu_xray, tmp_path, "test")


def test_another_folder_is_no_iu_xray(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match=r"expected indiana_projections\.csv"):
        read(iu_xray, tmp_path)

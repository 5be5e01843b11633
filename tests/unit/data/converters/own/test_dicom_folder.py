# SPDX-License-Identifier: Apache-2.0
"""A folder of DICOM files: which pictures a row gets, that no tag travels, and what is refused and named."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import dicom_files as files
from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.data.converters.own import dicom_folder, dicom_pictures
from medix_verl.data.schema import from_row, to_row
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample

STUDY, CT, SCOUT = files.uid(1), files.uid(11), files.uid(12)
IDENTIFIED = {"allow-identified": "yes"}
NAMED = {"keep-names": "yes"}


def level(value: int) -> np.ndarray:
    return np.full((32, 32), value, dtype=np.uint8)


def row(**values: object) -> dict[str, object]:
    return {"question": "What is seen?", "answer": "a nodule", **values}


def table(place: Path, *rows: dict[str, object]) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / "rows.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    return place


def read(place: Path, split: str = "train", **options: str) -> list[Sample | Refused]:
    resolved = resolve_options("dicom", dicom_folder.OPTIONS, {"window": "128/256", **options})
    return list(dicom_folder.read(Source(place, options=resolved), split))


def levels(item: Sample | Refused) -> list[int]:
    assert isinstance(item, Sample), item
    pictures = [Image.open(io.BytesIO(ref.bytes or b"")) for ref in item.images]
    assert {(picture.format, picture.mode, bool(picture.info)) for picture in pictures} == {("PNG", "L", False)}
    return [int(np.asarray(picture)[0, 0]) for picture in pictures]


def put(place: Path, name: str, value: int, **tags: object) -> None:
    own = {"SOPInstanceUID": files.uid(value + 1000), "StudyInstanceUID": STUDY, "SeriesInstanceUID": CT}
    files.write(place / name, files.dataset(level(value), **{**own, **tags}))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Five slices of a CT in another order than their names', and a scout."""
    for number in range(5):
        put(tmp_path, f"ct/{9 - number}.dcm", 10 * number, InstanceNumber=number, SeriesDescription="axial")
    put(tmp_path, "scout.dcm", 200, SeriesInstanceUID=SCOUT, SeriesDescription="scout")
    return tmp_path


def test_a_file_a_series_and_a_study(study: Path) -> None:
    rows = [row(file="scout.dcm"), row(series=CT), row(study=STUDY), row(files=["ct/9.dcm", "scout.dcm", "ct/5.dcm"])]
    one, middle, largest, three = read(table(study, *rows), series="largest")
    assert (levels(one), levels(middle), levels(largest), levels(three)) == ([200], [20], [20], [0, 200, 40])
    assert isinstance(middle, Sample) and from_row(to_row(middle)) == middle
    assert (middle.modality, middle.data_source, middle.meta["pictures_of"]) == ("CT_SCAN", "dicom/rows", 5)
    assert middle.meta["answer_type"] == "open" and len(middle.meta["image_id"]) == 1
    assert not any(str(uid) in json.dumps(to_row(item), default=str) for item in (one, middle) for uid in (STUDY, CT))


def test_whatever_a_file_raises_is_its_rows_refusal(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RecursionError("Kowalski^Anna")

    table(study, row(id="q1", file="scout.dcm"), row(id="q2", file="ct/9.dcm"))
    monkeypatch.setattr(dicom_pictures, "look_for_identity", fail)
    first, second, *_ = read(study)
    assert [item.id for item in (first, second)] == ["q1", "q2"]
    assert isinstance(first, Refused) and first.reason == "unreadable picture"
    assert first.detail == "line 1: DICOM file 6 of the folder: corrupt: RecursionError"


def test_frames_by_option_and_by_row(study: Path) -> None:
    table(study, row(series=CT), row(series=CT, frames="0,4"), row(series=CT, frames="every:2"), row(file="scout.dcm"))
    found = read(study, frames="all", max_frames="3")
    assert [levels(item) for item in found] == [[0, 20, 40], [0, 40], [0, 20, 40], [200]]


def test_series_by_description_and_modality(study: Path) -> None:
    table(study, row(study=STUDY))
    assert levels(read(study, description="SCOUT")[0]) == [200]
    assert levels(read(study, modality="CT", series="all", frames="first")[0]) == [0, 200]
    for options, detail in (
        ({}, "line 1: the study has 2 series that match"),
        ({"description": "liver"}, "no series of the study matches description 'liver'"),
    ):
        refused = read(study, **options)[0]
        assert isinstance(refused, Refused) and refused.reason == "no choice" and detail in refused.detail


def test_frames_of_one_file_and_a_window_of_the_row(tmp_path: Path) -> None:
    stack = np.stack([level(10), level(20), level(30)])
    files.write(tmp_path / "cine.dcm", files.dataset(stack, frames=3, Modality="MR"))
    table(tmp_path, row(file="cine.dcm"), row(file="cine.dcm", frames="all"), row(file="cine.dcm", window="20/2"))
    middle, every, narrow = read(tmp_path)
    assert (levels(middle), levels(every), levels(narrow)) == ([20], [10, 20, 30], [255])
    assert isinstance(every, Sample) and every.modality == "MRI_SCAN" and "pictures_of" not in every.meta
    assert len(set(every.meta["image_id"])) == 3


def test_a_csv_table_names_several_files(study: Path) -> None:
    with (study / "rows.csv").open("w", newline="") as text:
        csv.writer(text).writerows([["question", "answer", "files"], ["Q", "A", "5.dcm|scout.dcm"]])
    assert levels(read(study)[0]) == [40, 200]


def test_several_modalities_give_no_tag_and_the_rows_own_word_counts(study: Path) -> None:
    put(study, "pet.dcm", 90, Modality="PT")
    both, own = read(table(study, row(files=["pet.dcm", "scout.dcm"]), row(file="pet.dcm", modality="fundus")))[:2]
    assert isinstance(both, Sample) and isinstance(own, Sample)
    assert (both.modality, both.meta["modality_word"], own.modality) == (None, "CT+PT", "FUNDUS_PHOTOGRAPHY")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PatientName": "Kowalski^Anna"}, "patient data"),
        ({"PatientBirthDate": "19831204", "InstitutionName": "Some Hospital"}, "patient data"),
        ({"BurnedInAnnotation": "YES"}, "burnt-in text"),
        ({"Modality": "US"}, "burnt-in text unknown"),
    ],
)
def test_a_file_that_tells_its_patient_is_refused_by_its_name(
    tmp_path: Path, tags: dict[str, str], reason: str
) -> None:
    put(tmp_path, "a.dcm", 10, **tags)
    (refused,) = read(table(tmp_path, row(file="a.dcm")), **NAMED)
    assert isinstance(refused, Refused) and refused.reason == reason
    assert refused.detail.startswith("line 1: a.dcm: ")
    assert not any(value in refused.detail for value in ("Kowalski", "Anna", "19831204", "Some Hospital"))
    (taken,) = read(tmp_path, **IDENTIFIED)
    assert levels(taken) == [10] and isinstance(taken, Sample) and taken.meta["credentialed"] is True
    content = repr(taken) + repr(taken.images[0].bytes)
    assert not any(value in content for value in ("Kowalski", "Anna", "19831204", "Some Hospital"))


def test_unknown_burnt_in_text_alone_can_be_accepted(tmp_path: Path) -> None:
    put(tmp_path, "us.dcm", 10, Modality="US")
    put(tmp_path, "yes.dcm", 20, Modality="US", BurnedInAnnotation="YES")
    table(tmp_path, row(file="us.dcm"), row(file="yes.dcm"))
    taken, refused = read(tmp_path, burnt_in_unknown="accept")
    assert levels(taken) == [10] and isinstance(refused, Refused) and refused.reason == "burnt-in text"
    assert isinstance(taken, Sample) and "credentialed" not in taken.meta and taken.modality == "ULTRASOUND"


def test_patients_are_told_apart_by_a_number_only(tmp_path: Path) -> None:
    for name, patient in (("a", "sub-1"), ("b", "sub-2"), ("c", "sub-1"), ("d", "")):
        put(tmp_path, f"{name}.dcm", ord(name), PatientID=patient)
    found = read(table(tmp_path, *(row(file=f"{name}.dcm") for name in "abcd"), row(file="a.dcm", patient_id="mine")))
    assert [item.meta.get("patient_id") for item in found if isinstance(item, Sample)] == [
        "patient-00001", "patient-00002", "patient-00001", None, "mine",
    ]  # fmt: skip


def test_rows_without_a_file_and_files_without_a_row_are_named(study: Path) -> None:
    (study / "broken.dcm").write_text("no DICOM")
    files.write(study / "report.dcm", files.dataset(None, Modality="SR"))
    table(study, row(series=CT), row(file="gone.dcm"), row(series="1.2.3"), row(), row(file="a", study="b"))
    found = [item for item in read(study, **NAMED) if isinstance(item, Refused)]
    assert [(item.id, item.reason) for item in found] == [
        ("line 2", "no file"),
        ("line 3", "no file"),
        ("line 4", "no file"),
        ("line 5", "no file"),
        ("broken.dcm", "unreadable file"),
        ("scout.dcm", "file without a row"),
    ]
    assert "line 2: there is no DICOM file 'gone.dcm'" in found[0].detail
    assert "line 3: no picture of the folder is of series '1.2.3'" in found[1].detail
    assert "names its files by nothing; give one of file, files, series, study" in found[2].detail
    assert "names its files by file and study" in found[3].detail
    assert found[5].detail == "no row of rows.jsonl names it"


def test_no_name_of_a_file_and_no_uid_is_told(tmp_path: Path) -> None:
    """A folder may be called by its patient, and a UID may lead back to one."""
    own = {"StudyInstanceUID": files.uid(4711), "SeriesInstanceUID": files.uid(4712), "SOPInstanceUID": files.uid(4713)}
    place = tmp_path / "Kowalski_Anna"
    put(place, "Kowalski_1.dcm", 10, **own)
    put(place, "Kowalski_2.dcm", 20, PatientName="Kowalski^Anna", **own)
    files.write(place / "Kowalski_3.dcm", files.dataset(Rows=65535, Columns=65535))
    (place / "Kowalski_4.dcm").write_text("no DICOM")
    (place / "Kowalski_5.dcm").write_bytes(files.encode(files.dataset())[:-4])
    rows = [row(file=f"Kowalski_Anna/Kowalski_{number}.dcm") for number in (1, 2, 3, 5, 7)]
    rows += [
        row(files=["Kowalski_Anna/Kowalski_1.dcm", "Kowalski_Anna/gone.dcm"]),
        row(series=files.uid(9)),
        row(file=5),
    ]
    found = read(table(tmp_path, *rows))
    content = repr(found)
    assert not [word for word in ("Kowalski", "Anna", files.ROOT) if word in content]
    details = [item.detail for item in found if isinstance(item, Refused)]
    assert [bool(re.search(detail, given)) for detail, given in zip(
        [
            "line 2: DICOM file 2 of the folder: PatientName hold patient data",
            "line 3: DICOM file 3 of the folder: DICOM picture is too large",
            "line 4: DICOM file 5 of the folder: DICOM pixels cannot be decoded",
            "line 5: there is no DICOM file number 1 of the row",
            "line 6: there is no DICOM file number 2 of the row",
            "line 7: no picture of the folder is of the row's series",
            "line 8: there is no DICOM file number 1 of the row",
            "not a DICOM file",
        ],
        details, strict=True,
    )] == [True] * 8  # fmt: skip
    assert isinstance(found[0], Sample) and found[-1].id == "dicom-file-4"


def test_a_file_of_another_split_is_not_without_a_row(study: Path) -> None:
    table(study, row(series=CT, split="train", id="a"), row(file="scout.dcm", split="test", id="b"))
    assert [item.id for item in read(study, "train")] == ["a"] and [item.id for item in read(study, "test")] == ["b"]


@pytest.mark.parametrize(
    ("name", "tags", "detail"),
    [
        ("sr.dcm", {"pixels": None, "Modality": "SR"}, "line 1: x: no DICOM picture .no Rows and Columns."),
        ("empty.dcm", {"pixels": None, "Rows": 4, "Columns": 4}, "line 1: x: DICOM pixels cannot be decoded"),
        ("huge.dcm", {"Rows": 65535, "Columns": 65535}, "x: DICOM picture is too large .65535 x 65535."),
        ("frames.dcm", {"NumberOfFrames": 3}, "x: DICOM pixels cannot be decoded"),
    ],
)
def test_a_file_that_cannot_be_decoded_is_refused(
    tmp_path: Path, name: str, tags: dict[str, object], detail: str
) -> None:
    files.write(tmp_path / name, files.dataset(**tags))
    (refused,) = read(table(tmp_path, row(file=name)), **NAMED)
    assert isinstance(refused, Refused) and refused.reason == "unreadable picture"
    assert re.search(detail.replace("x: ", f"{name}: "), refused.detail)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    data = files.encode(files.dataset(level(3)))
    (tmp_path / "cut.dcm").write_bytes(data[:-100])
    (refused,) = read(table(tmp_path, row(file="cut.dcm")))
    assert isinstance(refused, Refused) and refused.reason == "unreadable picture"


def test_a_row_with_too_many_pixels_is_refused_undecoded(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_pictures, "ROW_PIXELS", 2 * 32 * 32)
    refused = read(table(study, row(series=CT, frames="all")))[0]
    assert isinstance(refused, Refused) and refused.reason == "too many pixels"
    assert levels(read(table(study, row(series=CT, frames="0,1")))[0]) == [0, 10]


def test_a_frame_that_is_not_there_refuses_its_row(study: Path) -> None:
    refused = read(table(study, row(file="scout.dcm", frames="7"), row(file="scout.dcm", window="lung")))
    details = [item.detail for item in refused if isinstance(item, Refused)]
    assert "line 1: frame 7 is not there; there are frames 0 to 0" in details[0]
    assert "line 2: window is 'lung'; accepted: file" in details[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": "last"}, "frames is 'last'; accepted: first, middle, all"),
        ({"max_frames": "0"}, "max_frames is '0'; accepted: a whole number from 1 to 1000"),
        ({"window": "lung"}, "window is 'lung'; accepted: file"),
        ({"series": "best"}, "dicom: option series is 'best'; accepted: only, largest, all"),
        ({"description": "("}, "description is .*no regular expression"),
        ({"allow_identified": "yes"}, "dicom has no option 'allow_identified'; accepted"),
    ],
)
def test_an_option_that_is_not_accepted_stops_at_once(study: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(table(study, row(series=CT)), **options)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no DICOM file; give --source the folder with the files and the table"):
        read(table(tmp_path, row(file="a.dcm")))


def test_a_row_that_takes_too_many_files_is_refused(study: Path) -> None:
    refused = read(table(study, row(files=["ct/5.dcm", "ct/6.dcm", "ct/7.dcm"])), max_frames="2")[0]
    assert isinstance(refused, Refused)
    assert "the row takes 3 pictures, max_frames is 2; raise it" in refused.detail


@pytest.mark.parametrize("by", ["patient", "picture", "row"])
def test_a_table_without_splits_is_divided_by_a_hash(tmp_path: Path, by: str) -> None:
    """The patient is the files' where the table does not name one."""
    for number in range(30):
        put(tmp_path, f"{number}.dcm", number, PatientID=f"made up {number // 3}")
    rows = [row(file=f"{number}.dcm", id=f"r{number}") for number in range(30)]
    rows += [row(file=f"{number}.dcm", id=f"s{number}", question="What else?") for number in range(30)]
    table(tmp_path, *rows)
    with pytest.raises(DataError, match="its rows would be in val and in train; type --split-by patient"):
        read(tmp_path, "val", **IDENTIFIED)
    sides = {
        split: {item.id for item in read(tmp_path, split, split_by=by, val_share="0.4", **IDENTIFIED)}
        for split in ("train", "val")
    }
    assert sides["train"] and sides["val"] and not sides["train"] & sides["val"]
    assert sides["train"] | sides["val"] == {item["id"] for item in rows}
    if by != "row":
        size = 3 if by == "patient" else 1
        groups = {split: {int(name[1:]) // size for name in names} for split, names in sides.items()}
        assert not groups["train"] & groups["val"]

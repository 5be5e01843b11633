# SPDX-License-Identifier: Apache-2.0
"""Series: what is read of a header, the order of the files, and which series and frames are taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import dicom_files as files
from medix_verl.data.dicom.series import (
    FrameChoice,
    Header,
    SeriesChoice,
    choose_series,
    parse_frames,
    pick_frames,
    read_headers,
    sort_series,
)
from medix_verl.errors import ConfigError, DataError


def test_a_header_is_read_without_its_pixels(tmp_path: Path) -> None:
    slice_tags = {"ImagePositionPatient": [0, 0, 12.5], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    tags = {"InstanceNumber": 7, "SeriesDescription": "axial", "NumberOfFrames": 3, "PatientID": "A", **slice_tags}
    files.write(tmp_path / "b.dcm", files.dataset(**tags))
    files.write(
        tmp_path / "deep" / "c", files.dataset(PatientID="A", Modality="NM", ImageType=["O", "P", "RECON TOMO"])
    )
    files.write(tmp_path / "d", files.dataset(None, PatientID="B", Modality="SR"))
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "e.dcm").write_text("no DICOM")
    files.write(tmp_path / "DICOMDIR")
    names = ["DICOMDIR", "b.dcm", "d", "deep/c", "e.dcm", "notes.txt"]
    b, d, c, e = read_headers(tmp_path, names)
    assert (b.name, b.number, b.place, b.frames, b.description, b.patient) == ("b.dcm", 7, 12.5, 3, "axial", 1)
    assert (d.has_picture, d.patient, d.modality) == (False, 2, "SR")
    assert (c.modality, c.patient, c.number, c.place) == ("SPECT", 1, None, None)
    assert (e.fault, e.has_picture) == ("not a DICOM file", False)


def test_a_corrupt_header_is_a_fault_without_a_value(tmp_path: Path) -> None:
    file = files.dataset()
    file.add_new(0x00200013, "LO", "Kowalski")  # InstanceNumber
    files.write(tmp_path / "a.dcm", file)
    (header,) = read_headers(tmp_path, ["a.dcm"])
    assert header.fault == "corrupt: ValueError" and "Kowalski" not in repr(header)


def headers(*rows: tuple[str, int | None, float | None]) -> list[Header]:
    return [Header(name, series="s", instance=name, number=number, place=place) for name, number, place in rows]


@pytest.mark.parametrize(
    ("rows", "order"),
    [
        ([("a", 10, 0.0), ("b", 9, 1.0), ("c", 2, 2.0)], "cba"),
        ([("a", 1, 5.0), ("b", 1, -2.5), ("c", 1, 0.0)], "bca"),
        ([("a", None, 5.0), ("b", 1, -2.5), ("c", 2, 0.0)], "bca"),
        ([("c", None, None), ("a", 1, 3.0), ("b", 1, 1.0)], "abc"),
    ],
)
def test_the_order_of_a_series(rows: list[tuple[str, int | None, float | None]], order: str) -> None:
    assert "".join(header.name for header in sort_series(headers(*rows))) == order
    assert "".join(header.name for header in sort_series(reversed(headers(*rows)))) == order


def test_a_file_that_is_there_twice_counts_once() -> None:
    twice = [Header("b", instance="1", number=1), Header("a", instance="1", number=1), Header("c", number=2)]
    assert [header.name for header in sort_series(twice)] == ["a", "c"]


STUDY = [
    *(
        Header(f"ct{n}", series="1", instance=f"ct{n}", modality="CT", description="Axial 5mm", number=n)
        for n in (2, 1)
    ),
    Header("scout", series="2", modality="CT", description="Scout"),
    Header("pet", series="3", modality="PT", description="WB", frames=9),
]


def names_of(choice: SeriesChoice) -> list[list[str]]:
    return [[header.name for header in group] for group in choose_series(STUDY, choice)]


def test_series_are_chosen_by_description_modality_and_size() -> None:
    assert names_of(SeriesChoice(description="AXIAL")) == [["ct1", "ct2"]]
    assert names_of(SeriesChoice(modality="pt")) == [["pet"]]
    assert names_of(SeriesChoice(modality="CT", pick="largest")) == [["ct1", "ct2"]]
    assert names_of(SeriesChoice(pick="all")) == [["pet"], ["ct1", "ct2"], ["scout"]]
    with pytest.raises(DataError, match="the study has 2 series that match; name one in the column series, or"):
        names_of(SeriesChoice(modality="CT"))
    with pytest.raises(DataError, match="no series of the study matches description 'liver'; give another one"):
        names_of(SeriesChoice(description="liver"))
    with pytest.raises(DataError, match="no series of the study matches modality 'US'"):
        names_of(SeriesChoice(modality="US"))


def test_a_choice_of_series_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ConfigError, match="series is 'best'; accepted: only, largest, all"):
        SeriesChoice(pick="best")
    with pytest.raises(ConfigError, match=r"description is '\(', no regular expression .*; accepted: a pattern"):
        SeriesChoice(description="(")


@pytest.mark.parametrize(
    ("text", "count", "taken"),
    [
        ("first", 9, [0]),
        ("middle", 9, [4]),
        ("middle", 1, [0]),
        ("all", 3, [0, 1, 2]),
        ("all", 9, [0, 3, 5, 8]),
        ("every:2", 7, [0, 2, 4, 6]),
        ("every:100", 7, [0]),
        ("5,0", 6, [5, 0]),
    ],
)
def test_frames_are_picked(text: str, count: int, taken: list[int]) -> None:
    assert pick_frames(parse_frames(text, 4), count) == taken


def test_a_frame_that_is_not_there_and_too_many_are_refused() -> None:
    with pytest.raises(DataError, match="frame 6 is not there; there are frames 0 to 5"):
        pick_frames(parse_frames("0,6", 4), 6)
    with pytest.raises(ConfigError, match="frames names 3 pictures, max_frames is 2; name fewer or raise max_frames"):
        parse_frames("0,1,2", 2)


@pytest.mark.parametrize("text", ["", "last", "every:0", "every:", "1,", "-1", "1.5", "all "])
def test_frames_in_other_words_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="frames is .*; accepted: first, middle, all, every:N, or numbers from 0"):
        parse_frames(text, 4)


@given(st.sampled_from(["first", "middle", "all", "every"]), st.integers(1, 50), st.integers(1, 500), st.integers(1, 9))
def test_picked_frames_are_there_rise_and_keep_the_cap(kind: str, cap: int, count: int, step: int) -> None:
    taken = pick_frames(FrameChoice(kind, step=step, cap=cap), count)
    assert taken == sorted(set(taken)) and 1 <= len(taken) <= cap and taken[-1] < count

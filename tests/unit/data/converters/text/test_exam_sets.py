# SPDX-License-Identifier: Apache-2.0
"""Medbullets, SuperGPQA and CMB-Exam: their second layouts, answers that lie apart, rows that are no question here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import set_layouts as made
from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.data.converters.registry import find, options_of
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample


def read_set(name: str, folder: Path, split: str = "test", **options: str) -> list[Sample | Refused]:
    converter = find(name)
    return list(converter.read(Source(folder, options=resolve_options(name, options_of(converter), options)), split))


def only(items: list[Sample | Refused]) -> Sample:
    (item,) = items
    assert isinstance(item, Sample), item
    return item


def test_medbullets_is_read_as_the_authors_and_as_the_hub_have_it(tmp_path: Path) -> None:
    made.WRITERS["medbullets"](tmp_path / "theirs", [made.bullets_row(20)])
    row = made.bullets_row(20)
    options = {letter: row[f"op{letter.lower()}"] for letter in "ABCDE"}
    hub = {"idx": "0", "question": row["question"], "options": options, "answer": "B", "link": "x"}
    made.write_parquet(tmp_path / "hub" / "data" / "op5_test-00000-of-00001.parquet", [hub])
    theirs, hubs = only(read_set("medbullets", tmp_path / "theirs")), only(read_set("medbullets", tmp_path / "hub"))
    assert theirs == hubs and (theirs.answer, theirs.meta["label"]) == ("Heparin", "B")
    assert theirs.data_source == "medbullets/op5" and len(theirs.options or ()) == 5


def test_medbullets_with_four_options(tmp_path: Path) -> None:
    row = {key: value for key, value in made.bullets_row(20).items() if key != "ope"}
    made.write_tables(tmp_path / "medbullets_op4.csv", [row])
    found = only(read_set("medbullets", tmp_path, options="4"))
    assert found.options == ("Rest", "Heparin", "Aspirin", "Surgery")
    with pytest.raises(DataError, match="no file of the split"):
        read_set("medbullets", tmp_path)


def test_a_letter_beside_another_text_is_refused(tmp_path: Path) -> None:
    made.WRITERS["medbullets"](tmp_path, [made.bullets_row(20, answer="Rest")])
    made.WRITERS["supergpqa-medical"](tmp_path, [made.graduate_row(1, answer="Enzyme 3")])
    reasons = [item.reason for name in ("medbullets", "supergpqa-medical") for item in read_set(name, tmp_path)]
    assert reasons == ["labels differ"] * 2


def test_other_disciplines_are_no_medicine(tmp_path: Path) -> None:
    rows = [made.graduate_row(1), made.graduate_row(2, discipline="Law"), made.graduate_row(3, discipline=None)]
    made.WRITERS["supergpqa-medical"](tmp_path, rows)
    kept, *others = read_set("supergpqa-medical", tmp_path)
    assert isinstance(kept, Sample) and (kept.answer, kept.meta["label"], kept.meta["field"]) == (
        *("Renin", "J"),
        "Basic Medicine",
    )
    assert [item.reason for item in others if isinstance(item, Refused)] == ["other discipline"] * 2


def exam(folder: Path, answers: Any) -> Path:
    rows = [{key: value for key, value in made.exam_row(n, id=n).items() if key != "answer"} for n in (1, 2, 3)]
    made.write_json(folder / "CMB-Exam" / "CMB-test" / "CMB-test-choice-question-merge.json", rows)
    if answers is not None:
        (folder / "CMB-test-choice-answer.json").write_text(json.dumps(answers), encoding="utf-8")
    return folder


def test_the_answers_of_cmb_lie_apart(tmp_path: Path) -> None:
    folder = exam(tmp_path, [{"id": 1, "answer": "C"}, {"id": 2, "answer": "ABD"}])
    first, several, none = read_set("cmb-exam", folder)
    assert isinstance(first, Sample) and (first.answer, first.meta["label"], first.options) == (
        *("丙", "C"),
        ("甲", "乙", "丙", "丁"),
    )
    assert isinstance(several, Refused) and several.reason == "several answers"
    assert isinstance(none, Refused) and none.reason == "unknown letter"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (None, "the answers of the test questions are on GitHub only"),
        ({"1": "C"}, "is not a JSON list of id and answer"),
    ],
)
def test_without_its_answers_cmb_says_where_they_are(answers: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_set("cmb-exam", exam(tmp_path, answers))


def test_training_questions_of_cmb_hold_their_answers(tmp_path: Path) -> None:
    made.WRITERS["cmb-exam"](tmp_path, [made.exam_row(1), made.exam_row(2, answer="BD")])
    first, second = read_set("cmb-exam", tmp_path, "train")
    assert isinstance(first, Sample) and first.meta["exam_subject"] == "内科"
    assert isinstance(second, Refused) and second.reason == "several answers"

# SPDX-License-Identifier: Apache-2.0
"""The sets that exist for evaluation only: their layouts, their odd rows, and what a wrong layout says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from medix_verl.data.converters.base import Refused
from medix_verl.data.converters.text import usmle_self_assessment
from medix_verl.data.converters.vqa import medix_eval_sets, mmmu_medical
from medix_verl.errors import DataError
from medix_verl.types import Sample

Row = dict[str, Any]
LETTERS = "ABCDEFGHI"


class Rows:
    """A source whose rows are in memory; every picture but `lost` is there."""

    place = "fake"

    def __init__(self, rows: Sequence[Row], options: Mapping[str, str], local: bool = True, lost: str = "") -> None:
        self.given, self.options, self.local, self.lost = rows, options, local, lost
        self.configs: list[str | None] = []

    def rows(
        self, split: str, columns: Sequence[str], optional: Sequence[str] = (), config: Any = None, files: Any = None
    ) -> Iterator[Row]:
        self.configs.append(config)
        for row in self.given:
            yield {column: row.get(column) for column in (*columns, *optional)}

    def member(self, name: str) -> bytes:
        if name == self.lost:
            raise DataError(f"there is no file {name}")
        return name.encode()


def items(converter: Any, *rows: Row, split: str = "test", **more: Any) -> list[Sample | Refused]:
    options = more.pop("options", {})
    return list(converter.read(Rows(rows, options, **more), split))


def one(converter: Any, row: Row, **more: Any) -> Any:
    return items(converter, row, **more)[0]


def usmle(**changes: Any) -> Row:
    options = dict(zip(LETTERS, ["Aspirin", "Heparin", "Warfarin", None, None, None, None, None, None], strict=True))
    return {"question": "Which drug?", "answer": "Heparin", "options": options} | changes


@pytest.mark.parametrize(
    ("changes", "answer", "options"),
    [
        ({}, "Heparin", ("Aspirin", "Heparin", "Warfarin")),
        ({"answer": "B"}, "Heparin", ("Aspirin", "Heparin", "Warfarin")),
        ({"answer_idx": "B"}, "Heparin", ("Aspirin", "Heparin", "Warfarin")),
        ({"answer": "heparin."}, "Heparin", ("Aspirin", "Heparin", "Warfarin")),
        ({"answer": "A", "options": {"A": "O", "B": "A", "C": None}}, "A", ("O", "A")),
    ],
)
def test_usmle_answers_are_texts(changes: Row, answer: str, options: tuple[str, ...]) -> None:
    sample = one(usmle_self_assessment, usmle(**changes))
    assert (sample.answer, sample.options, sample.meta["answer_type"]) == (answer, options, "closed")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": "Insulin"}, "answer outside options"),
        ({"answer_idx": "A"}, "labels differ"),
        ({"answer_idx": "D"}, "unknown letter"),
        ({"options": None}, "answer outside options"),
        ({"options": {"A": "Heparin", "B": None}}, "too few options"),
        ({"question": None}, "no question"),
        ({"answer": None}, "no answer"),
    ],
)
def test_usmle_rows_that_cannot_be_used(changes: Row, reason: str) -> None:
    found = one(usmle_self_assessment, usmle(**changes))
    assert isinstance(found, Refused) and found.reason == reason


def pmc(**changes: Any) -> Row:
    row = {"image": {"bytes": b"png", "path": None}, "question": "What?", "answer": "Focal uptake"}
    return row | {"choices": ["A: Diffuse uptake", "B: Focal uptake"]} | changes


def test_pmc_vqa_with_and_without_choices() -> None:
    listed = one(medix_eval_sets, pmc(), options={"part": "pmc_vqa"})
    struct = one(
        medix_eval_sets, pmc(choices={"A": "Diffuse uptake", "B": "Focal uptake"}), options={"part": "pmc_vqa"}
    )
    assert listed.options == struct.options == ("Diffuse uptake", "Focal uptake")
    hard = one(medix_eval_sets, pmc(), options={"part": "pmc_vqa_hard"})
    assert (hard.options, hard.data_source) == (None, "medix-eval-sets/pmc_vqa_hard")
    other = one(medix_eval_sets, pmc(image=None, image_id={"bytes": b"png"}), options={"part": "pmc_vqa"})
    assert other.images == listed.images
    assert one(medix_eval_sets, pmc(image=None), options={"part": "pmc_vqa"}).reason == "no picture"


def mimic(**changes: Any) -> Row:
    address = "https://physionet.org/files/mimic-cxr-jpg/2.1.0/files/p10/p10000032/s50414267/aa-1.jpg"
    return {"image": address, "report": "The lungs are clear.", "summary": "Normal."} | changes


def test_mimic_becomes_a_report_or_a_summary() -> None:
    report = one(medix_eval_sets, mimic(), options={"part": "mimic_cxr_report_generation"})
    assert (report.answer, report.modality, report.images[0].bytes) == ("The lungs are clear.", "X_RAY", b"aa-1.jpg")
    summary = one(medix_eval_sets, mimic(), options={"part": "mimic_cxr_report_summarization"})
    assert (summary.answer, summary.images, summary.modality) == ("Normal.", (), None)
    assert summary.question.endswith("\n\nReport:\nThe lungs are clear.")
    for sample in (report, summary):
        assert sample.meta["credentialed"] is True
        assert (sample.meta["patient_id"], sample.meta["image_id"]) == ("p10000032", ["aa-1.jpg"])
        assert "PhysioNet" in sample.meta["licence"]


@pytest.mark.parametrize(
    ("part", "changes", "reason"),
    [
        ("generation", {"report": ""}, "no answer"),
        ("generation", {"image": None}, "no picture"),
        ("summarization", {"report": None}, "no question"),
        ("summarization", {"summary": " "}, "no answer"),
    ],
)
def test_mimic_rows_that_cannot_be_used(part: str, changes: Row, reason: str) -> None:
    found = one(medix_eval_sets, mimic(**changes), options={"part": f"mimic_cxr_report_{part}"})
    assert isinstance(found, Refused) and found.reason == reason


def test_mimic_is_never_read_from_elsewhere() -> None:
    with pytest.raises(DataError, match="mimic_cxr_report_generation is credentialed and fake is not local"):
        items(medix_eval_sets, mimic(), options={"part": "mimic_cxr_report_generation"}, local=False)


def mmmu(**changes: Any) -> Row:
    row = {"id": "validation_Pharmacy_1", "question": "What does <image 1> show?", "options": "['a', 'b']"}
    return row | {"answer": "B", "question_type": "multiple-choice", "image_1": {"bytes": b"1"}} | changes


def read_mmmu(**changes: Any) -> Any:
    return one(mmmu_medical, mmmu(**changes), split="val", options={"subject": "Pharmacy"})


def test_mmmu_reads_letters_and_places_of_pictures() -> None:
    sample = read_mmmu()
    assert (sample.answer, sample.options, sample.question) == ("b", ("a", "b"), "What does image 1 show?")
    two = read_mmmu(question="Is <image 1> like <image 2>?", options="['<image 2>', 'no']", image_2={"bytes": b"2"})
    assert (two.question, two.options) == ("Is image 1 like image 2?", ("image 2", "no"))
    assert [ref.bytes for ref in two.images] == [b"1", b"2"]


def test_mmmu_open_answers_may_be_several() -> None:
    several = read_mmmu(question_type="open", options="[]", answer="['12', 'twelve']")
    assert (several.answer, several.options, several.meta["synonyms"]) == ("12", None, ["twelve"])
    single = read_mmmu(question_type="open", options="[]", answer="12 mmHg")
    assert (single.answer, "synonyms" in single.meta) == ("12 mmHg", False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": "?"}, "unknown letter"),
        ({"options": "a, b"}, "no options"),
        ({"options": "['a', "}, "no options"),
        ({"image_1": None}, "no picture"),
        ({"question": ""}, "no question"),
    ],
)
def test_mmmu_rows_that_cannot_be_used(changes: Row, reason: str) -> None:
    found = read_mmmu(**changes)
    assert isinstance(found, Refused) and found.reason == reason


def test_mmmu_goes_through_its_five_subjects() -> None:
    source = Rows([mmmu()], {"subject": "all"})
    ids = [item.id for item in mmmu_medical.read(source, "val")]
    assert source.configs == list(mmmu_medical.SUBJECTS)
    assert len(set(ids)) == 5

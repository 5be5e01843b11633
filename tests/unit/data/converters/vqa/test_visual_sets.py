# SPDX-License-Identifier: Apache-2.0
"""What each set with pictures knows: its references, choices, tags, names of pictures, and its refusals."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from helpers import set_layouts as made
from helpers.set_layouts import one, read
from medix_verl.data.converters.base import Refused
from medix_verl.data.converters.vqa import kvasir_vqa, medxpertqa, omnimedvqa, pmc_vqa, pubmedvision, slake, vqa_rad
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample


def test_slake_takes_english_and_says_what_it_left() -> None:
    first, other, third = read(slake, made.ROWS["slake"])
    assert (first.id, first.answer, first.modality, first.options) == ("slake-0", "CT", "CT_SCAN", None)
    assert (first.meta["answer_type"], first.meta["image_id"]) == ("open", ["xmlab1/source.jpg"])
    assert (first.meta["language"], first.meta["location"]) == ("en", "Abdomen")
    assert other == Refused("slake-1", "other language", "'zh' is not --set language=en")
    assert third.meta["answer_type"] == "closed"


def test_slake_takes_other_languages_when_asked() -> None:
    assert [type(item).__name__ for item in read(slake, made.ROWS["slake"], language="zh")] == [
        "Refused",
        "Sample",
        "Refused",
    ]
    assert all(isinstance(item, Sample) for item in read(slake, made.ROWS["slake"], language="all"))


def test_slake_reads_the_first_name_of_its_validation_file(tmp_path: Path) -> None:
    made.write_json(tmp_path / "validate.json", made.ROWS["slake"])
    made.write_zip(tmp_path / "imgs.zip", made.FILES["slake"])
    assert len(list(slake.read(Source(tmp_path, options={"language": "en"}), "val"))) == 3


def test_rows_that_are_there_twice_get_ids_of_their_own() -> None:
    first, again, other = read(vqa_rad, made.ROWS["vqa-rad"])
    assert again.id == f"{first.id}-2" and other.id != first.id
    assert first.meta["image_id"] == again.meta["image_id"] != other.meta["image_id"]
    assert (first.meta["answer_type"], other.meta["answer_type"], first.modality) == ("closed", "open", None)


def test_kvasir_joins_the_answers_that_all_apply() -> None:
    assert one(kvasir_vqa, made.visual_row(1, "Where?", ["center", " lower-left "])).answer == "center, lower-left"
    item = one(kvasir_vqa, made.ROWS["kvasir-vqa"][1])
    assert (item.answer, item.modality, item.meta["image_id"]) == ("center, lower-left", "ENDOSCOPY", ["cl8k2"])
    assert item.meta["origin"] == "HyperKvasir"


def test_pmc_vqa_gives_the_choices_text() -> None:
    item = one(pmc_vqa, made.pmc_row("PMC1_F1.jpg", "B", "Focal uptake"))
    assert (item.answer, item.meta["image_id"]) == ("Focal uptake", ["PMC1_F1.jpg"])
    assert item.options == ("Diffuse uptake", "Focal uptake", "None", "Cannot be told")


def test_pmc_vqa_version_2_has_the_letter_as_answer() -> None:
    row = made.pmc_row("PMC1.jpg", "", "D", Caption="x", split="train")
    del row["Answer_label"]
    assert one(pmc_vqa, row, version="2").answer == "Cannot be told"


def test_pmc_vqa_refuses_what_contradicts_itself() -> None:
    item = one(pmc_vqa, made.pmc_row("PMC1.jpg", "A", "Focal uptake"))
    assert (item.reason, "the label 'A' is 'Diffuse uptake'" in item.detail) == ("labels differ", True)
    assert one(pmc_vqa, made.pmc_row("PMC1.jpg", "E", "")).reason == "unknown letter"


def test_pmc_vqa_keeps_a_choice_that_only_looks_lettered() -> None:
    row = made.pmc_row("PMC1.jpg", "A", "", **{"Choice A": "A. fumigatus"})
    assert one(pmc_vqa, row).answer == "A. fumigatus"


def test_pmc_vqa_clean_has_a_test_split_only() -> None:
    with pytest.raises(ConfigError, match="version 'clean' has no split 'train'; accepted: test"):
        read(pmc_vqa, [], version="clean")


def test_omnimedvqa_finds_the_answer_among_its_options() -> None:
    first, short, other = read(omnimedvqa, made.ROWS["omnimedvqa"], "test")
    assert (first.answer, first.modality, first.meta["origin"]) == ("Adenocarcinoma", "CT_SCAN", "Chest CT Scan")
    assert (short.answer, short.options) == ("Normal", ("Normal", "Adenocarcinoma"))
    assert other.modality == "CT_SCAN", "one published row calls it `modality`"
    outside = one(omnimedvqa, made.omni_row(4, gt_answer="Fibrosis"), "test")
    assert outside.reason == "answer outside options"


def pack(path: Path, files: dict[str, bytes]) -> Source:
    made.write_zip(path / "OmniMedVQA.zip", files)
    return Source(path, options={"access": "open"})


def test_omnimedvqa_reads_its_archive_as_it_is(tmp_path: Path) -> None:
    made.write_json(tmp_path / "x.json", made.ROWS["omnimedvqa"])
    pictures = {f"OmniMedVQA/{name}": content for name, content in made.FILES["omnimedvqa"].items()}
    questions = {f"OmniMedVQA/{made.OPEN}": (tmp_path / "x.json").read_bytes()}
    assert (
        len(
            [item for item in omnimedvqa.read(pack(tmp_path, pictures | questions), "test") if isinstance(item, Sample)]
        )
        == 3
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[{", r"Chest CT Scan\.json in .*OmniMedVQA\.zip is not JSON"),
        (b'{"a": 1}', r"Chest CT Scan\.json in .* is not a list of objects"),
        (b'[{"question": "x"}]', r"Chest CT Scan\.json in .* has no column question_id, gt_answer.*; it has question"),
    ],
)
def test_a_wrong_file_in_the_archive_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        list(omnimedvqa.read(pack(tmp_path, {f"OmniMedVQA/{made.OPEN}": content}), "test"))


def test_an_archive_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"OmniMedVQA\.zip has no QA_information/Open-access/\*\.json; get it again"):
        list(omnimedvqa.read(pack(tmp_path, {"readme.txt": b"x"}), "test"))


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "OmniMedVQA.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"OmniMedVQA\.zip is not a readable archive"):
        list(omnimedvqa.read(Source(tmp_path, options={"access": "open"}), "test"))
    assert not zipfile.is_zipfile(tmp_path / "OmniMedVQA.zip")


def test_pubmedvision_takes_the_first_question_and_its_answer() -> None:
    first, unknown = read(pubmedvision, made.ROWS["pubmedvision"])
    assert (first.question, first.answer, first.meta["turns"]) == ("What does the figure show?", "A nodule.", 4)
    assert (first.id, first.data_source, first.modality) == ("Instruct_VQA_0", "pubmedvision/instruction", "CT_SCAN")
    assert first.meta["image_id"] == ["pmc_1_0.jpg", "pmc_1_1.jpg"] and len(first.images) == 2
    assert (unknown.modality, unknown.meta["modality_guess"], len(unknown.images)) == ("OTHER", True, 1)


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        ([], "no question"),
        (None, "no question"),
        ([{"from": "gpt", "value": "A nodule."}], "no question"),
        ([{"from": "human", "value": "What?"}], "no answer"),
        ([{"from": "human", "value": "What?"}, {"from": "human", "value": "Where?"}], "no answer"),
    ],
)
def test_half_a_conversation_is_refused(conversation: Any, reason: str) -> None:
    assert one(pubmedvision, made.pubmed_row(0, conversations=conversation)).reason == reason


def test_a_row_of_several_pictures_needs_all_of_them() -> None:
    source = made.FakeSource([made.pubmed_row(0)], {"part": "alignment"}, lost="pmc_1_1.jpg")
    (item,) = pubmedvision.read(source, "train")
    assert item == Refused("Instruct_VQA_0", "no picture", "there is no file pmc_1_1.jpg beside the rows")


def test_medxpertqa_asks_without_the_repeated_choices() -> None:
    item = one(medxpertqa, made.expert_row("MM-1"), "test")
    assert (item.question, item.answer, len(item.options)) == ("What is it?", "Ab igne", 5)
    assert (item.data_source, item.meta["body_system"]) == ("medxpertqa/mm", "Integumentary")
    assert item.meta["image_id"] == ["MM-1-a.jpeg", "MM-1-b.jpeg"]


def test_medxpertqa_text_has_no_pictures_and_listed_options_are_known() -> None:
    listed = [{"letter": letter, "content": text} for letter, text in zip("AB", ["one", "two"], strict=True)]
    item = one(medxpertqa, made.expert_row("Text-1", options=listed, label="b"), "test", subset="text")
    assert (item.answer, item.options, item.images) == ("two", ("one", "two"), ())


def test_medxpertqa_with_pictures_refuses_a_row_that_names_none() -> None:
    assert one(medxpertqa, made.expert_row("MM-1", images=[]), "test").reason == "no picture"

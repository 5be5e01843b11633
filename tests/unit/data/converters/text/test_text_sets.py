# SPDX-License-Identifier: Apache-2.0
"""What each text-only set knows: its references, choices, options on the command line, and its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers import set_layouts as made
from helpers.set_layouts import one, read
from medix_verl.data.converters.base import Refused
from medix_verl.data.converters.text import healthbench, medical_o1_verifiable, medmcqa, medqa, mmlu_medical, pubmedqa
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample


def test_medqa_reads_endings() -> None:
    item = one(medqa, made.medqa_row(0))
    assert (item.id, item.answer, item.options[3]) == ("train-00000", "Doxycycline", "None")
    assert (item.modality, item.images) == (None, ())


@pytest.mark.parametrize("right", [{"answer_idx": "B"}, {"answer": "two"}, {"answer_idx": "B", "answer": "two"}])
def test_medqa_reads_options_by_letter_and_leaves_out_the_unused(right: dict[str, str]) -> None:
    options = {"A": "one", "B": "two", "C": "three", "D": None}
    item = one(medqa, {"question": "Which?", "options": options, "meta_info": "step1", **right})
    assert (item.id, item.answer, item.options) == ("medqa-0", "two", ("one", "two", "three"))
    assert item.meta["step"] == "step1"


@pytest.mark.parametrize("label", [None, 4, -1])
def test_medqa_without_a_right_ending_is_refused(label: Any) -> None:
    assert one(medqa, made.medqa_row(0, label=label)).reason == "unknown letter"


def test_medqa_reads_the_other_file_name_of_its_validation_split(tmp_path: Path) -> None:
    made.write_lines(tmp_path / "dev.json", made.ROWS["medqa"])
    assert len(list(medqa.read(Source(tmp_path), "val"))) == 2


def test_medmcqa_counts_from_nought_and_resolves_entities() -> None:
    item = one(medmcqa, made.medmcqa_row("e9ad"))
    assert (item.answer, item.options) == ("B<sub>12</sub>", ("A", "B<sub>12</sub>", "C", "D"))
    assert item.meta["subject_name"] == "Biochemistry" and "topic_name" not in item.meta


def test_medmcqa_counts_from_one_when_told() -> None:
    assert one(medmcqa, made.medmcqa_row("e9ad"), first_option="1").answer == "A"


@pytest.mark.parametrize(("cop", "first", "other"), [(4, "0", "1"), ("4", "0", "1"), (0, "1", "0")])
def test_medmcqa_stops_when_the_numbers_count_otherwise(cop: Any, first: str, other: str) -> None:
    words = f"row 'e9ad': cop is {cop}, so opa is {other} and not {first}; type --set first_option={other}"
    with pytest.raises(DataError, match=words):
        one(medmcqa, made.medmcqa_row("e9ad", cop=cop), first_option=first)


@pytest.mark.parametrize(("cop", "reason"), [(-1, "no answer"), (None, "no answer"), (7, "unknown letter")])
def test_medmcqa_without_an_answer_is_refused(cop: Any, reason: str) -> None:
    assert one(medmcqa, made.medmcqa_row("e9ad", cop=cop)).reason == reason


def test_pubmedqa_asks_behind_the_whole_abstract() -> None:
    item = one(pubmedqa, made.pubmedqa_row(21645374), "test")
    assert item.question == "BACKGROUND: little.\nRESULTS: some.\n\nDoes it help?"
    assert (item.id, item.answer, item.options) == ("pubmedqa-21645374", "maybe", ("yes", "no", "maybe"))
    assert item.meta["long_answer"] == "It may help."


@pytest.mark.parametrize("contexts", [["One.", "Two."], "One.\nTwo."])
def test_pubmedqa_reads_the_authors_own_columns(contexts: Any) -> None:
    row = {"QUESTION": "Does it?", "CONTEXTS": contexts, "LONG_ANSWER": "No.", "final_decision": "no"}
    item = one(pubmedqa, row, "test")
    assert (item.question, item.answer, item.id) == ("One.\nTwo.\n\nDoes it?", "no", "pubmedqa-0")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"context": {"contexts": []}}, "no context"),
        ({"question": None}, "no question"),
        ({"final_decision": "perhaps"}, "answer outside options"),
        ({"final_decision": None}, "no answer"),
    ],
)
def test_pubmedqa_refuses_half_a_row(changes: dict[str, Any], reason: str) -> None:
    assert one(pubmedqa, made.pubmedqa_row(1, **changes), "test").reason == reason


def test_mmlu_names_the_subset_and_keeps_the_six_in_order(tmp_path: Path) -> None:
    made.write_mmlu(tmp_path, made.ROWS["mmlu-medical"])
    items = [
        item
        for item in mmlu_medical.read(Source(tmp_path, options={"subset": "all"}), "test")
        if isinstance(item, Sample)
    ]
    assert list(dict.fromkeys(item.data_source for item in items)) == [
        f"mmlu-medical/{name}" for name in mmlu_medical.SUBSETS
    ]
    assert (items[0].answer, items[0].options) == ("four", ("one", "two", "three", "four"))
    alone = mmlu_medical.read(Source(tmp_path, options={"subset": "medical_genetics"}), "test")
    assert [item.id for item in alone] == [item.id for item in items if item.data_source.endswith("medical_genetics")]


def test_mmlu_refuses_an_answer_that_is_no_choice() -> None:
    assert one(mmlu_medical, made.mmlu_row("Which?", answer=4), "test", subset="anatomy").reason == "unknown letter"


def test_o1_questions_are_open() -> None:
    item = one(medical_o1_verifiable, made.ROWS["medical-o1-verifiable-problem"][0])
    assert (item.question, item.answer, item.meta["answer_type"], item.options) == (
        "Which drug?",
        "Heparin",
        "open",
        None,
    )
    assert one(medical_o1_verifiable, {made.O1_QUESTION: "Which?", made.O1_ANSWER: ""}).reason == "no answer"


def test_healthbench_keeps_the_rubric_and_the_conversation() -> None:
    item, single = read(healthbench, made.ROWS["healthbench"], "test")
    assert item.question == "User: My chest hurts.\n\nAssistant: Since when?\n\nUser: An hour."
    assert item.answer == "[+8] Names an emergency number\n[-5] Gives a dose"
    assert [rubric["points"] for rubric in item.meta["rubrics"]] == [8, -5]
    assert (item.meta["answer_type"], item.meta["turns"], item.meta["tags"]) == ("open", 3, ["theme:emergency"])
    assert single.question == "Is it safe?"
    assert single.meta["conversation"] == [{"role": "user", "content": "Is it safe?"}]
    assert [turn["role"] for turn in item.meta["conversation"]] == ["user", "assistant", "user"]
    assert one(healthbench, made.health_row("a"), "test", subset="hard").data_source == "healthbench/hard"


@pytest.mark.parametrize(
    "prompt",
    [
        *([], [{"role": "user", "content": None}], [{"role": "doctor", "content": "x"}]),
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
    ],
)
def test_healthbench_without_a_conversation_is_refused(prompt: Any) -> None:
    assert one(healthbench, made.health_row("a", prompt=prompt), "test").reason == "no conversation"


@pytest.mark.parametrize(
    "rubric", [{"points": 1}, {"criterion": "x", "points": "1"}, {"criterion": "x", "points": True}, 3]
)
def test_healthbench_without_a_whole_rubric_is_refused(rubric: Any) -> None:
    good = {"criterion": "x", "points": 1, "tags": []}
    item = one(healthbench, made.health_row("a", rubrics=[good, rubric]), "test")
    assert item == Refused("a", "no rubric", "a criterion or its points are missing")
    assert one(healthbench, made.health_row("a", rubrics=[]), "test").reason == "no rubric"

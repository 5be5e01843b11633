# SPDX-License-Identifier: Apache-2.0
"""From a row's parts to a sample: what is cleaned, how the right choice is found, and each reason for a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.converters.assemble import Choices, assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.converters.pictures import Pictures
from medix_verl.data.modalities import read_modality
from medix_verl.data.schema import from_row, to_row
from medix_verl.types import ImageRef, Sample

SPEC = SetSpec("a-set", "A set", "MIT", "mixed", False, "One line.", {"train": "train"})
FOUR = {"A": "lung", "B": "liver", "C": "heart", "D": "spleen"}


def made(**parts: Any) -> Sample | Refused:
    return assemble(SPEC, "train", "r1", **{"question": "Which organ?", "answer": "liver", **parts})


def sample(**parts: Any) -> Sample:
    item = made(**parts)
    assert isinstance(item, Sample), item
    return item


def refused(**parts: Any) -> tuple[str, str]:
    item = made(**parts)
    assert isinstance(item, Refused) and item.id == "r1"
    return item.reason, item.detail


@pytest.mark.parametrize(
    ("published", "text"),
    [
        ("<image>\nWhich organ?", "Which organ?"),
        ("Which <IMAGE 1> organ?", "Which  organ?"),
        ("Which organ? [image2]", "Which organ?"),
        ("Is Ca &lt; 2 &amp; K &gt; 5?", "Is Ca < 2 & K > 5?"),
        ("  Is T &lt; 37 &deg;C?\u00a0", "Is T < 37 °C?"),
        ("Is the <imagery> a tag?", "Is the <imagery> a tag?"),
    ],
)
def test_entities_become_characters_and_placeholders_leave_the_question(published: str, text: str) -> None:
    assert sample(question=published).question == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, ""), (float("nan"), ""), (3, "3"), (0, "0"), (" a ", "a"), ("&nbsp;", "")),
        (f" &#{'1' * 5000};", f"&#{'1' * 5000};"),
        # Without a semicolon it is no entity, though HTML knows &micro, &para, &reg and &not.
        ("gross&microscopic", "gross&microscopic"),
        ("aspirin&paracetamol", "aspirin&paracetamol"),
        ("local&regional", "local&regional"),
        ("R&D, A&E, H&E", "R&D, A&E, H&E"),
        ("p &lt 0.05", "p &lt 0.05"),
        ("yes&notable; it grows", "yes&notable; it grows"),
        ("5 &micro;g &#181;g &#xB5;g &LT; &alpha;", "5 \u00b5g \u00b5g \u00b5g < \u03b1"),
        ("&amp;lt;", "&lt;"),
        ("&#0; &#xD800; &nosuch;", "&#0; &#xD800; &nosuch;"),
    ],
)
def test_a_published_value_as_text(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("answer", "choices", "kind"),
    [("yes", None, "closed"), ("No.", None, "closed"), ("liver", None, "open"), ("liver", Choices(FOUR), "closed")],
)
def test_yes_and_no_and_choices_are_closed(answer: str, choices: Choices | None, kind: str) -> None:
    item = sample(answer=answer, choices=choices)
    assert item.meta["answer_type"] == kind
    assert (item.options is None) == (choices is None)


def test_the_sets_own_answer_type_wins() -> None:
    assert sample(answer="liver", answer_type="closed").meta["answer_type"] == "closed"


def test_a_label_becomes_its_text_and_never_a_letter() -> None:
    item = sample(answer=None, choices=Choices(FOUR, "C"))
    assert (item.answer, item.options) == ("heart", ("lung", "liver", "heart", "spleen"))


def test_an_answer_text_is_found_whatever_its_case_and_full_stop() -> None:
    assert sample(answer="Liver.", choices=Choices(FOUR)).answer == "liver"


def test_the_exact_choice_comes_before_a_similar_one() -> None:
    assert sample(answer="Liver", choices=Choices({"A": "liver", "B": "Liver"})).answer == "Liver"


def test_missing_choices_do_not_count_and_double_ones_count_once() -> None:
    usmle = {**FOUR, "E": None, "F": float("nan"), "G": "", "H": "liver"}
    assert sample(choices=Choices(usmle, "H")).options == ("lung", "liver", "heart", "spleen")


@pytest.mark.parametrize(
    ("parts", "reason", "detail"),
    [
        ({"question": None}, "no question", "missing, blank or no text"),
        ({"question": "<image>"}, "no question", "missing, blank or no text"),
        ({"question": "\u200b\ufeff"}, "no question", "missing, blank or no text"),
        ({"choices": Choices({"A": "liver", "B": "\u200b"})}, "too few options", "only ['liver'] is left"),
        (
            {"choices": Choices({"A": "lung", "B": "\u200b", "C": "liver"}, "B")},
            "unknown letter",
            "'B' is none of A, C",
        ),
        ({"answer": " "}, "no answer", "missing, blank or no text"),
        ({"answer": None}, "no answer", "missing, blank or no text"),
        ({"answer": ["liver"]}, "no answer", "missing, blank or no text"),
        ({"answer": True}, "no answer", "missing, blank or no text"),
        ({"pictures": Pictures(missing="there is no file x.png")}, "no picture", "there is no file x.png"),
        ({"choices": Choices(FOUR, "E")}, "unknown letter", "'E' is none of A, B, C, D"),
        ({"choices": Choices({"A": "lung", "B": None}, "B")}, "unknown letter", "'B' is none of A"),
        ({"choices": Choices({}, "A")}, "unknown letter", "'A' is none of no choices"),
        ({"choices": Choices(FOUR, "A")}, "labels differ", "the label 'A' is 'lung', the answer 'liver'"),
        ({"answer": "kidney", "choices": Choices(FOUR)}, "answer outside options", "'kidney' is none of ['lung'"),
        ({"choices": Choices({"A": "liver", "B": "liver"}, "A")}, "too few options", "only ['liver'] is left"),
        ({"question": "\ud800"}, "broken text", "half of a surrogate pair"),
        ({"extra": {"note": "\udfff"}}, "broken text", "half of a surrogate pair"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(parts: dict[str, Any], reason: str, detail: str) -> None:
    got, said = refused(**parts)
    assert got == reason and detail in said


def test_a_text_beside_a_label_may_be_worded_otherwise() -> None:
    assert sample(answer="the liver, of course", choices=Choices(FOUR, "B")).answer == "liver"


def test_an_unknown_modality_is_noted_and_a_known_one_keeps_its_word() -> None:
    known, unknown = sample(modality=read_modality("CT")), sample(modality=read_modality("hologram"))
    assert (known.modality, known.meta["modality_word"], "modality_guess" in known.meta) == ("CT_SCAN", "CT", False)
    assert (unknown.modality, unknown.meta["modality_word"], unknown.meta["modality_guess"]) == (
        "OTHER",
        "hologram",
        True,
    )
    assert sample().modality is None and "modality_word" not in sample().meta


def test_the_parts_of_the_set_are_in_the_data_source_and_the_picture_in_the_meta() -> None:
    item = sample(subset="part", pictures=Pictures((ImageRef(bytes=b"x"),), ("a.png",)), extra={"more": 1})
    assert item.data_source == "a-set/part"
    assert item.meta == {"licence": "MIT", "image_id": ["a.png"], "answer_type": "open", "more": 1}


@pytest.mark.parametrize(
    ("value", "name"),
    [(7, "a-set-7"), ("MM-7", "MM-7"), (None, "a-set-row-3"), ("", "a-set-row-3"), ("-1", "a-set--1")],
)
def test_a_sets_own_id_is_kept_where_it_is_a_word(value: Any, name: str) -> None:
    assert own_id(SPEC, value, 3) == name


@given(st.lists(st.sampled_from(["a", "b", "a#2", "a#3", "a#2#2"]), max_size=12))
def test_ids_become_unique_and_the_same_each_time(names: list[str]) -> None:
    def items() -> list[str]:
        return [item.id for item in unique(Refused(name, "x") for name in names)]

    assert len(set(items())) == len(names) and items() == items()
    assert all(got.startswith(name) for got, name in zip(items(), names, strict=True))


texts = st.text(max_size=12) | st.none() | st.just("<image>") | st.sampled_from(["&lt;", "yes", "A", "\ud800", "liver"])


@given(
    texts,
    texts,
    st.none() | st.dictionaries(st.sampled_from("ABCDE"), texts, max_size=5),
    st.sampled_from("ABE") | st.none(),
)
def test_whatever_comes_in_a_sample_is_valid(question: Any, answer: Any, choices: Any, label: str | None) -> None:
    item = made(question=question, answer=answer, choices=None if choices is None else Choices(choices, label))
    if isinstance(item, Sample):
        assert from_row(to_row(item)) == item
    else:
        assert item.reason and item.detail

# SPDX-License-Identifier: Apache-2.0
"""choices: which option a text chooses, and which of yes and no it says; golden cases with a reason for each group."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.places import golden
from medix_verl.choices import Choices, fold, index_of_label, read_choice, read_yes_no, unwrap

GOLDEN = golden("choices")
BLIND = golden("blind_choices")
FOUR = Choices.of(GOLDEN["options"])
LUNG = Choices.of(["pneumonia", "pneumothorax", "pleural effusion", "normal"])


def texts(kind: str) -> list[str]:
    return [text for group in GOLDEN[kind] for text in group["texts"]]


@pytest.mark.parametrize("text", texts("right"))
def test_a_choice_is_read_in_its_usual_forms(text: str) -> None:
    assert read_choice(text, FOUR) == 1


@pytest.mark.parametrize("text", texts("wrong"))
def test_a_double_a_negated_and_an_unsure_choice_is_none(text: str) -> None:
    assert read_choice(text, FOUR) != 1


def test_choices_that_were_written_without_a_look_at_the_reader() -> None:
    choices, label = Choices.of(BLIND["options"]), index_of_label(BLIND["label"])
    assert [text for text in BLIND["wrong"] if read_choice(text, choices) == label] == []
    assert len([text for text in BLIND["right"] if read_choice(text, choices) == label]) >= 68


@pytest.mark.parametrize(
    ("text", "options", "index"),
    [
        ("A pneumothorax.", LUNG.texts, 1),
        ("The answer is a pneumothorax.", LUNG.texts, 1),
        ("Possibly a pneumothorax", LUNG.texts, None),
        ("B", ("Hepatitis B", "Hepatitis A", "Hepatitis C"), None),
        ("Option B", ("Hepatitis B", "Hepatitis A", "Hepatitis C"), 1),
        ("E. coli", ("S. aureus", "K. pneumoniae", "C. difficile", "P. aeruginosa", "E. coli"), 4),
        ("E. coli", ("C. difficile", "E. coli", "S. aureus", "K. pneumoniae", "P. aeruginosa"), 1),
        ("B. coli", ("S. aureus", "K. pneumoniae", "C. difficile", "P. aeruginosa", "E. coli"), None),
        ("T2 FLAIR", ("T1", "T2", "FLAIR", "DWI"), None),
        ("A", ("A fracture", "A dislocation", "Nothing"), 0),
        ("A dislocation", ("A fracture", "A dislocation", "Nothing"), 1),
        ("right middle lobe", ("right", "right middle lobe", "middle lobe", "left"), 1),
        ("A and B", ("A", "B", "AB", "O"), None),
        ("AB", ("A", "B", "AB", "O"), 2),
        ("both I and II", ("I", "II", "Both I and II", "III"), 2),
        ("x", ("x", "X", "y"), None),
        ("A. a cyst", ("A. a cyst", "B. a mass"), 0),
        ("No, there is no fracture", ("Yes", "No"), 1),
        ("No, it is a no", ("Yes", "No"), None),
        ("maybe", ("yes", "no", "maybe"), 2),
        ("B, E", ("w", "y", "z", "v"), None),
    ],
)
def test_options_that_look_like_letters_articles_or_each_other(text: str, options: list[str], index: int) -> None:
    assert read_choice(text, Choices.of(options), "Is there a fracture?") == index


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, True) for text in ("yes", "Yes.", "**Yes**", "是", "True", "Yes, there is.", "Answer: Yes.")),
        *((text, True) for text in ("yes, there is a pneumothorax", "There is a pneumothorax", "Yes, it does")),
        *((text, False) for text in ("no", "Nope", "\\boxed{No}", "没有", "No, it is not ...", "The answer is no")),
        *((text, False) for text in ("There is no evidence of pneumothorax.", "No pneumothorax", "Absent")),
        *((text, False) for text in ("Negative for pneumothorax", "No, it isn't", "Pneumothorax is not seen")),
        *((text, None) for text in ("Yes and no", "No / yes", "Yes, but small", "Probably not", "Yes, it is not")),
        *((text, None) for text in ("No, there is a pneumothorax", "Yes, no fracture is seen", "either", "")),
        *((text, None) for text in ("No. Yes would mean a fracture.", "A pneumothorax is present, no")),
    ],
)
def test_yes_and_no(text: str, said: bool | None) -> None:
    assert read_yes_no(text, "Is there a pneumothorax?") is said


@pytest.mark.parametrize("question", ["What is seen?", "How many?", "In which lobe?", "Why is there none?"])
def test_only_a_question_of_yes_and_no_is_answered_so(question: str) -> None:
    assert read_yes_no("No", question) is None


ANY = st.text(max_size=80) | st.text(st.sampled_from("AaBbCc ().,:;*\"'{}\\$xyno\n-"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(ANY, st.lists(ANY, max_size=6), ANY)
def test_it_never_raises_and_names_an_option_or_none(text: str, options: list[str], question: str) -> None:
    index = read_choice(text, Choices.of(options), question)
    assert index is None or 0 <= index < len(options)
    assert read_yes_no(text, question) in (True, False, None)


@given(st.text(max_size=60))
def test_unwrapping_and_folding_are_stable(text: str) -> None:
    assert fold(fold(text)) == fold(text) or fold(text) == ""
    unwrap(text)


def test_a_long_text_chooses_nothing() -> None:
    assert read_choice("B " * 5000, FOUR) is None

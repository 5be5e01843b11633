# SPDX-License-Identifier: Apache-2.0
"""Rationales: the row's own words where they are usable, a rule's where the row holds enough, else none; and which."""

from typing import Any

import pytest

from medix_verl.data.sft.rationale import Fault, Origin, rationale_of, shorten
from medix_verl.types import ImageRef, Sample

PICTURE = (ImageRef(bytes=b"x"),)


def row(answer: str = "a nodule", options: tuple[str, ...] | None = None, **meta: Any) -> Sample:
    return Sample("r", "s", "What is it?", answer, options=options, meta=meta)


def pictured(modality: str | None, count: int = 1, **meta: Any) -> Sample:
    return Sample("r", "s", "What is it?", "a nodule", modality, PICTURE * count, meta=meta)


def test_the_rows_own_words() -> None:
    found = rationale_of(row(rationale="  A round\n opacity.  It is\u200b small. "), 600)
    assert (found.text, found.origin, found.fault) == ("A round opacity. It is small.", Origin.ROW, None)


def test_the_conclusion_of_pubmedqa_is_its_own() -> None:
    assert rationale_of(row("yes", long_answer="It helps in most cases."), 600).text == "It helps in most cases."


@pytest.mark.parametrize(
    ("text", "most", "left"),
    [
        ("One. Two. Three.", 100, "One. Two. Three."),
        ("One. Two. Three.", 11, "One. Two."),
        ("One. Two. Three.", 9, "One. Two."),
        ("At 2.5 mg. Then more of it.", 12, "At 2.5 mg."),
        ("At 2.5 mg and then more of it.", 12, ""),
        ("He said (twice.) Then no more.", 20, "He said (twice.)"),
        ("\u597d\u3002\u4e0d\u597d\u3002", 3, "\u597d\u3002"),
    ],
)
def test_a_long_one_is_cut_behind_a_whole_sentence(text: str, most: int, left: str) -> None:
    assert shorten(text, most) == left


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("Here <think> is a tag.", Fault.TAGS),
        ("The <answer>yes</answer> is right.", Fault.TAGS),
        ("</think> closes.", Fault.TAGS),
        ("It is <CT_SCAN> in style.", Fault.TAGS),
        ("End.<|im_end|>", Fault.TAGS),
        ("See <image> here.", Fault.TAGS),
        ("Ans. is 'b' i.e., the spleen", Fault.OTHER_CHOICE),
        ("Answer: B. Because.", Fault.OTHER_CHOICE),
        ("The correct option is (b).", Fault.OTHER_CHOICE),
        ("word " * 200, Fault.NO_SENTENCE),
        ("... 12 ...", Fault.NO_WORD),
    ],
)
def test_an_explanation_that_is_not_used(said: str, fault: Fault) -> None:
    """With choices the rule stands in for it, and it is said; without anything else there is no rationale."""
    with_choices = rationale_of(row("liver", ("liver", "spleen"), label="A", rationale=said), 600)
    assert (with_choices.origin, with_choices.fault) == (Origin.RULE, fault)
    if fault is not Fault.OTHER_CHOICE:
        alone = rationale_of(row(rationale=said), 600)
        assert (alone.text, alone.origin, alone.fault) == ("", None, fault)


@pytest.mark.parametrize(
    "said",
    [
        "Ans. is 'a' i.e., the liver",
        "Answer: A. Because.",
        "The answer is a rare one.",
        "Option B is wrong, since the spleen lies left.",
        "The answer, given vitamin B, is clear.",
    ],
)
def test_an_explanation_that_names_no_other_choice(said: str) -> None:
    assert rationale_of(row("liver", ("liver", "spleen"), label="A", rationale=said), 600).origin is Origin.ROW


def test_what_the_rule_states_is_in_the_row() -> None:
    assert rationale_of(pictured("CT_SCAN"), 600).text == (
        "The modality of the picture is CT_SCAN. The answer is a nodule."
    )
    assert rationale_of(pictured("CT_SCAN", 2), 600).text.startswith("The modality of the 2 pictures is CT_SCAN.")
    assert rationale_of(row("liver", ("spleen", "liver"), label="B"), 600).text == (
        "The choices are A. spleen; B. liver. The one that fits is B, liver."
    )
    assert rationale_of(row("liver", ("spleen", "liver")), 600).text.endswith("The one that fits is liver.")


@pytest.mark.parametrize(
    "sample",
    [row(), pictured(None), pictured("OTHER"), pictured("CT_SCAN", modality_guess=True)],
    ids=["text", "no modality", "other", "a guess"],
)
def test_an_answer_alone_is_no_reasoning(sample: Sample) -> None:
    found = rationale_of(sample, 600)
    assert (found.text, found.origin, found.fault) == ("", None, Fault.NOTHING)

# SPDX-License-Identifier: Apache-2.0
"""What is judged of a model's text, and what judging takes from a sample."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import DataError
from medix_verl.evaluation.grading.subjects import (
    Criterion,
    candidate_of,
    criteria_of,
    reference_of,
)
from medix_verl.thinking import Thinking
from medix_verl.types import Reference, Sample

SAMPLE = Sample("7", "set", "What is seen?", "pneumonia", modality="X_RAY", meta={"synonyms": ["lung infection"]})


@pytest.mark.parametrize(
    ("response", "text", "block"),
    [
        ("<X_RAY><think>so</think><answer>pneumonia</answer>", "pneumonia", "pneumonia"),
        ("<think>so</think> It is pneumonia.", "It is pneumonia.", None),
        ("so</thinking>It is pneumonia.", "It is pneumonia.", None),
        ("It is pneumonia.", "It is pneumonia.", None),
        ("<X_RAY> It is pneumonia.", "It is pneumonia.", None),
        ("<think>it could be pneumonia, or", None, None),
        ("<X_RAY><thinking>it could be", None, None),
        ("<think>a</think>Pneumonia. <think>or not", "Pneumonia.", None),
        ("<think>so</think>", None, None),
        ("<think><answer>no</answer></think>yes", "yes", None),
        ("p < 0.05 <small> lesion", "p < 0.05 <small> lesion", None),
        ("", None, None),
        (" \n", None, None),
    ],
)
def test_the_reasoning_is_never_judged(response: str, text: str | None, block: str | None) -> None:
    assert candidate_of(response) == text
    assert candidate_of(response, "block") == block


@pytest.mark.parametrize(
    ("response", "text", "block"),
    [
        ("so</think><X_RAY><answer>pneumonia</answer>", "pneumonia", "pneumonia"),
        ("so</think> It is pneumonia.", "It is pneumonia.", None),
        ("so it could be pneumonia, or", None, None),
        ("so it could be <answer>pneumonia</answer>, or", None, None),
        ("<think>so</think> It is pneumonia.", "It is pneumonia.", None),
        ("so[/THINK]<X_RAY> It is pneumonia.", "It is pneumonia.", None),
        ("", None, None),
    ],
)
def test_behind_an_open_prompt_the_text_begins_as_reasoning(response: str, text: str | None, block: str | None) -> None:
    assert candidate_of(response, thinking=Thinking.OPEN) == text
    assert candidate_of(response, "block", Thinking.OPEN) == block


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("[THINK]it could be[/THINK]Pneumonia.", "Pneumonia."),
        ("[THINK]it could be", None),
        ("<unused94>thought\nit could be<unused95>Pneumonia.", "Pneumonia."),
        ("◁think▷no◁/think▷Pneumonia.", "Pneumonia."),
        ("<think>so</think>It is <|begin_of_box|>pneumonia<|end_of_box|>", "pneumonia"),
    ],
)
def test_other_marks_of_thinking_are_no_answer(response: str, text: str | None) -> None:
    assert candidate_of(response) == text


@given(st.text(), st.sampled_from(["text", "block"]))
def test_any_text_is_a_candidate_or_none(response: str, extract: str) -> None:
    found = candidate_of(response, extract)
    assert found is None or (found.strip() == found and found in response)


def test_the_reference_has_all_that_the_judge_may_know() -> None:
    sample = Sample("1", "s", "How wide?", "3 cm", options=("3 cm", "5 cm"), meta={"tolerance": 0.1})
    assert reference_of(sample) == Reference("3 cm", question="How wide?", options=("3 cm", "5 cm"), tolerance=0.1)
    assert reference_of(SAMPLE).synonyms == ("lung infection",)


def test_the_long_answer_is_part_of_the_published_reference_only() -> None:
    sample = Sample("1", "pubmedqa", "Does it help?", "yes", meta={"long_answer": "In most cases."})
    assert reference_of(sample).answer == "yes"
    assert reference_of(sample, explained=True).answer == "yes\nIn most cases."


def rubric(*items: Any) -> Sample:
    return Sample("h1", "healthbench", "q", "a", meta={"rubrics": list(items)})


def test_a_rubric_is_read() -> None:
    found = criteria_of(rubric({"criterion": "Names it", "points": 5, "tags": []}, {"criterion": "Errs", "points": -2}))
    assert found == (Criterion("Names it", 5.0), Criterion("Errs", -2.0))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (SAMPLE, "row '7' has no rubric"),
        (rubric(), "row 'h1' has no rubric"),
        (rubric("Names it"), "a criterion is 'Names it'"),
        (rubric({"criterion": " ", "points": 5}), "needs a text `criterion`"),
        (rubric({"criterion": "x", "points": True}), "a number `points`"),
        (rubric({"criterion": "x", "points": float("nan")}), "a number `points`"),
        (rubric({"criterion": "x", "points": -5}), "no criterion is worth a point"),
    ],
)
def test_a_rubric_that_cannot_be_used_is_refused(sample: Sample, message: str) -> None:
    with pytest.raises(DataError, match=message):
        criteria_of(sample)

# SPDX-License-Identifier: Apache-2.0
"""Rows for SFT: every text parses and is well formed with the reward's parser, and what would not be is left out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.prompts import template_names
from medix_verl.data.sft.rationale import Fault
from medix_verl.data.sft.rows import PLACE, PROMPTS, STAMP, Left, SftSpec, fit_of, stamp_in
from medix_verl.errors import ConfigError, DataError
from medix_verl.response import parse_response, write_response
from medix_verl.thinking import Thinking
from medix_verl.types import ImageRef, Sample

PICTURE = (ImageRef(bytes=b"x"),)
EACH = pytest.mark.parametrize("prompt", PROMPTS)


def row(**changes: Any) -> Sample:
    given: dict[str, Any] = {"modality": "X_RAY", "images": PICTURE, "meta": {"rationale": "It is round."}, **changes}
    return Sample("r", "s", given.pop("question", "What is it?"), given.pop("answer", "a nodule"), **given)


@EACH
def test_the_messages_of_a_picture(prompt: str) -> None:
    fit = fit_of(row(images=PICTURE * 2), SftSpec(prompt=prompt))
    asked, said = fit.messages
    assert asked["role"] == "user" and asked["content"].startswith(PLACE * 2) and asked["content"].count(PLACE) == 2
    read = parse_response(said["content"], PROMPTS[prompt])
    assert said["role"] == "assistant" and read.well_formed
    assert (read.modality, read.thinking, read.answer) == ("X_RAY", "It is round.", "a nodule")
    assert fit.sample is not None and fit.sample.meta == {"rationale_from": "the row's own"}


def test_the_form_is_the_one_that_the_prompt_asks_for() -> None:
    first = fit_of(row(), SftSpec()).messages[1]["content"]
    inside = fit_of(row(), SftSpec(prompt="medix_thinking")).messages[1]["content"]
    assert first == "<X_RAY>\n<think>It is round.</think>\n<answer>a nodule</answer>"
    assert inside == "It is round.\n</think>\n\n<X_RAY>\n<answer>a nodule</answer>"


@EACH
def test_a_text_only_row_has_no_tag(prompt: str) -> None:
    fit = fit_of(row(images=(), modality="X_RAY"), SftSpec(prompt=prompt))
    assert "<X_RAY>" not in fit.messages[1]["content"] and PLACE not in fit.messages[0]["content"]


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"modality": None}, Left.MODALITY),
        ({"modality": "OTHER", "meta": {"rationale": "Round.", "modality_guess": True}}, Left.MODALITY),
        ({"question": "What shows <image>?"}, Left.PLACES),
        ({"question": "What shows <video>?"}, Left.PLACES),
        ({"answer": "<answer>yes"}, Left.FORM),
        ({"answer": "a </answer> b"}, Left.FORM),
        ({"meta": {}, "images": (), "modality": None}, Fault.NOTHING),
    ],
)
def test_what_is_left_out(changes: dict[str, Any], left: Any) -> None:
    fit = fit_of(row(**changes), SftSpec())
    assert (fit.left, fit.sample, fit.messages) == (left, None, ())


@given(
    st.text(max_size=60), st.text(min_size=1, max_size=30),
    st.lists(st.text(min_size=1, max_size=9), min_size=2, max_size=4) | st.none(), st.sampled_from(list(PROMPTS)),
)  # fmt: skip
def test_no_row_is_written_that_the_parser_reads_otherwise(
    rationale: str, answer: str, others: list[str] | None, prompt: str
) -> None:
    options = None if others is None else tuple(dict.fromkeys([answer, *others]))
    fit = fit_of(row(answer=answer, options=options, meta={"rationale": rationale}), SftSpec(prompt=prompt))
    if fit.messages:
        read = parse_response(fit.messages[1]["content"], PROMPTS[prompt])
        assert read.well_formed and read.answer == answer.strip() and read.modality == "X_RAY"
        assert read.thinking == fit.rationale.text


def test_the_prompts_are_those_that_ask_for_a_form() -> None:
    assert set(template_names()) == {*PROMPTS, "published"}
    with pytest.raises(ConfigError, match=r"prompt.*accepted: medix, medix_short, medix_thinking"):
        SftSpec(prompt="published")
    with pytest.raises(ConfigError, match="max_chars"):
        SftSpec(max_chars=5)


def test_a_response_is_written_as_it_is_read() -> None:
    for thinking in Thinking:
        read = parse_response(write_response("Because.", "b", "MRI_SCAN", thinking), thinking)
        assert (read.well_formed, read.answer, read.modality) == (True, "b", "MRI_SCAN")


def test_a_stamp_of_another_prompt_text() -> None:
    stamp = SftSpec(prompt="medix_thinking").stamp()
    assert stamp_in(stamp, "f").thinking is Thinking.OPEN
    with pytest.raises(DataError, match="is not a file for supervised fine-tuning; type medix-verl prepare"):
        stamp_in({}, "f")
    changed = {STAMP: stamp[STAMP].replace(b'"prompt_sha256": "', b'"prompt_sha256": "0')}
    with pytest.raises(DataError, match="another text of the prompt 'medix_thinking'"):
        stamp_in(changed, "f")

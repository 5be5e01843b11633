# SPDX-License-Identifier: Apache-2.0
"""The parser: golden cases with a reason each, and what must hold for any string at all."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medix_verl.response import parse_response, split_tag
from medix_verl.types import MODALITIES

CASES = json.loads((Path(__file__).parents[1] / "golden" / "response.json").read_text(encoding="utf-8"))
PIECES = [
    "<think>",
    "</think>",
    "<thinking>",
    "</thinking>",
    "<answer>",
    "</answer>",
    "<X_RAY>",
    "<",
    ">",
    "/",
    " ",
    "a",
]
SOUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30).map("".join)
ANY_TEXT = st.text(st.characters(blacklist_categories=()), max_size=300) | SOUP
CONTENT = st.text(st.characters(blacklist_characters="<>"), min_size=1, max_size=40).filter(lambda text: text.strip())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["reason"])
def test_golden(case: dict) -> None:
    found = parse_response(case["text"])
    expected = (case["modality"], case["thinking"], case["answer"], case["well_formed"])
    assert (found.modality, found.thinking, found.answer, found.well_formed) == expected


@given(ANY_TEXT)
def test_never_raises_and_well_formed_means_complete(text: str) -> None:
    found = parse_response(text)
    assert found.answer is None or found.answer == found.answer.strip() != ""
    if found.well_formed:
        assert found.thinking
        assert found.answer
        assert found.modality is None or found.modality in MODALITIES


@given(st.none() | st.sampled_from(MODALITIES), st.sampled_from(["think", "thinking"]), CONTENT, CONTENT)
def test_a_rendered_response_parses_back(modality: str | None, tag: str, thinking: str, answer: str) -> None:
    text = (f"<{modality}>\n" if modality else "") + f"<{tag}>{thinking}</{tag}>\n<answer>{answer}</answer>"
    found = parse_response(text)
    assert found.well_formed
    assert (found.modality, found.thinking, found.answer) == (modality, thinking.strip(), answer.strip())


@given(SOUP)
def test_an_answer_in_closed_thinking_is_never_graded(soup: str) -> None:
    found = parse_response(f"<think>{soup.replace('/', '')}<answer>planted</answer></think>")
    assert found.answer is None


@pytest.mark.parametrize(
    "piece",
    ["<", "< ", "<think", "<think>", "</think>", "<answer>", "<answer></answer>", "<think> ", "<\t\n", "< / ", "a </"],
)
def test_time_is_linear(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    parse_response(text)
    # A quadratic parser needs minutes for this; a second of a busy machine is still ten times what is needed.
    assert time.process_time() - start < 5.0


@pytest.mark.parametrize("spaces", ["<" + " " * 500_000, "<answer" + " " * 500_000, " " * 500_000 + "<X_RAY"])
def test_time_is_linear_in_white_space(spaces: str) -> None:
    start = time.process_time()
    parse_response(spaces)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("value", [None, 3, b"<answer>a</answer>"])
def test_anything_but_a_text_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a response is a str"):
        parse_response(value)  # type: ignore[arg-type]


@settings(max_examples=50)
@given(st.sampled_from(MODALITIES), CONTENT)
def test_split_tag_gives_the_rest(tag: str, rest: str) -> None:
    text = f" <{tag.lower()}>{rest}"
    found, end = split_tag(text)
    assert (found, text[end:]) == (tag, rest)
    assert split_tag(rest) == (None, 0)

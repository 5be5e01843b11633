# SPDX-License-Identifier: Apache-2.0
"""The parser: golden cases with a reason each, and what must hold for any string at all."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.places import golden
from medix_verl.response import TAG, parse_response, split_tag
from medix_verl.thinking import MARKS, Thinking
from medix_verl.types import MODALITIES

CASES = golden("response")
PROMPT_CASES = golden("response_prompts")
PIECES = [
    "<think>",
    "</think>",
    "<thinking>",
    "</thinking>",
    "<answer>",
    "</answer>",
    "<X_RAY>",
    *(sign for mark in MARKS[1:] for sign in (mark.opener, mark.closer)),
    "<|begin_of_box|>",
    "<|end_of_box|>",
    "<",
    ">",
    "/",
    " ",
    "a",
]
SOUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30).map("".join)
ANY_TEXT = st.text(st.characters(blacklist_categories=()), max_size=300) | SOUP
# A mark of thinking inside a part is another text: hypothesis draws constants of the sources, MARKS among them.
CONTENT = st.text(st.characters(blacklist_characters="<>"), min_size=1, max_size=40).filter(
    lambda text: text.strip() and not TAG.search(text)
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["reason"])
def test_golden(case: dict) -> None:
    found = parse_response(case["text"])
    expected = (case["modality"], case["thinking"], case["answer"], case["well_formed"])
    assert (found.modality, found.thinking, found.answer, found.well_formed) == expected


@pytest.mark.parametrize("case", PROMPT_CASES, ids=lambda case: f"{case['prompt']}: {case['reason']}")
def test_golden_behind_a_prompt(case: dict) -> None:
    found = parse_response(case["text"], case["prompt"])
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


@settings(max_examples=400)
@given(ANY_TEXT, st.sampled_from(Thinking))
def test_whatever_the_prompt_says_it_never_raises_and_well_formed_means_complete(text: str, prompt: Thinking) -> None:
    found = parse_response(text, prompt)
    assert found.answer is None or found.answer == found.answer.strip() != ""
    if found.well_formed:
        assert found.answer
        assert found.thinking or (prompt is Thinking.CLOSED and found.thinking is None)
        assert found.modality is None or found.modality in MODALITIES
        # Exactly one answer block, and nothing outside the blocks: one more of anything breaks it.
        assert not parse_response(f"{text}<answer>x</answer>", prompt).well_formed
        assert not parse_response(f"{text} so", prompt).well_formed


@given(ANY_TEXT)
def test_an_open_prompt_rewards_no_form_that_the_whole_text_does_not_have(text: str) -> None:
    """The response behind `<think>` is the text `<think>` + response; only the tag may stand elsewhere."""
    found = parse_response(text, Thinking.OPEN)
    if found.well_formed and found.modality is None:
        assert parse_response(f"<think>{text}").answer == found.answer


@pytest.mark.parametrize("prompt", [Thinking.OPEN, "open"])
@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.name)
@given(modality=st.none() | st.sampled_from(MODALITIES), thinking=CONTENT, answer=CONTENT, first=st.booleans())
def test_a_rendered_response_behind_an_open_prompt_parses_back(
    prompt: str, mark: object, modality: str | None, thinking: str, answer: str, first: bool
) -> None:
    tag = f"<{modality}>\n" if modality else ""
    before, behind = (tag, "") if first else ("", tag)
    text = f"{before}{thinking}{mark.closer}\n{behind}<answer>{answer}</answer>"  # type: ignore[attr-defined]
    found = parse_response(text, prompt)
    assert found.well_formed
    assert (found.modality, found.thinking, found.answer) == (modality, thinking.strip(), answer.strip())


@pytest.mark.parametrize("mark", MARKS[1:], ids=lambda mark: mark.name)
@given(modality=st.none() | st.sampled_from(MODALITIES), thinking=CONTENT, answer=CONTENT)
def test_a_mark_of_the_models_own_is_thinking(mark: object, modality: str | None, thinking: str, answer: str) -> None:
    opener, closer = mark.opener, mark.closer  # type: ignore[attr-defined]
    tag = f"<{modality}>" if modality else ""
    found = parse_response(f"{opener}{thinking}<answer>quoted</answer>{closer}{tag}<answer>{answer}</answer>")
    assert found.well_formed
    assert (found.modality, found.answer) == (modality, answer.strip())
    assert parse_response(f"{opener}{thinking}<answer>quoted</answer>").answer is None


@pytest.mark.parametrize("prompt", ["auto", "", None, True, "opened"])
def test_what_the_prompt_says_is_one_of_three(prompt: object) -> None:
    with pytest.raises(ValueError, match="is not a valid Thinking"):
        parse_response("a", prompt)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("prompt", Thinking)
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "<",
            "< ",
            "<think",
            "<think>",
            "</think>",
            "<answer>",
            "<answer></answer>",
            "<think> ",
            "<\t\n",
            "< / ",
            "a </",
        ),
        *("[THINK]", "[/THINK]", "[", "<|", "<|end|>", "<|channel|>", "<|begin_of_box|>", "a</think><X_RAY>", "◁"),
        "<|channel|>analysis<|message|>",
    ],
)
def test_time_is_linear(piece: str, prompt: Thinking) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    parse_response(text, prompt)
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

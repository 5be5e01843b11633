# SPDX-License-Identifier: Apache-2.0
"""Prompts: what is asked for which row, that values are never rendered again, and the shape of the messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.prompts import build_messages, is_template, render_prompt, template_names
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import MODALITIES, ImageRef, Sample

TEXT = Sample("t", "src", "Which organ makes bile?", "liver")
PICTURE = replace(TEXT, modality="CT_SCAN", images=(ImageRef(bytes=b"x"),))


def test_the_templates_are_there() -> None:
    assert template_names() == ("medix", "medix_short", "medix_thinking", "published")


def test_a_picture_row_is_asked_for_a_tag_of_the_closed_list() -> None:
    prompt = render_prompt(PICTURE)
    assert all(f"<{tag}>" in prompt for tag in MODALITIES)
    assert "<think>" in prompt and "</answer>" in prompt
    assert prompt.endswith("Question: Which organ makes bile?")


def test_a_text_row_is_not_asked_for_a_tag() -> None:
    prompt = render_prompt(TEXT)
    assert not any(f"<{tag}>" in prompt for tag in MODALITIES)
    assert "<think>" in prompt and "</answer>" in prompt
    assert "<TAG>" not in render_prompt(TEXT, "medix_short")
    assert "<TAG>" in render_prompt(PICTURE, "medix_short")


def test_the_prompt_for_open_thinking_asks_for_the_tag_behind_it() -> None:
    prompt = render_prompt(PICTURE, "medix_thinking")
    assert all(f"<{tag}>" in prompt for tag in MODALITIES) and "<answer>" in prompt
    assert "think>" not in prompt  # the template has opened it, perhaps with a mark of the model's own
    assert prompt.index("close your thinking") < prompt.index("Directly behind it") < prompt.index("One tag")
    text = render_prompt(TEXT, "medix_thinking")
    assert not any(f"<{tag}>" in text for tag in MODALITIES) and "<answer>" in text


def test_options_are_lettered_in_order() -> None:
    asked = replace(TEXT, options=("lung", "liver", "heart"))
    assert "A. lung\nB. liver\nC. heart\n" in render_prompt(asked)
    assert "A. lung B. liver C. heart" in render_prompt(asked, "medix_short")
    assert "Choices" not in render_prompt(TEXT)


def test_the_short_template_is_short() -> None:
    assert len(render_prompt(PICTURE, "medix_short").split()) < 40


@pytest.mark.parametrize("template", ["medix", "medix_short", "medix_thinking"])
@given(question=st.text(min_size=1, max_size=60).filter(str.strip))
def test_any_question_ends_the_prompt_as_it_is(template: str, question: str) -> None:
    assert render_prompt(replace(PICTURE, question=question), template).endswith(question.strip())


def test_values_are_not_rendered_again() -> None:
    tricky = "{{ 7 * 7 }} {% for x in y %} <b>&amp;</b> {0} %s"
    asked = replace(TEXT, question=tricky, options=("{{ a }}", "liver"))
    assert tricky in render_prompt(asked)
    assert "A. {{ a }}" in render_prompt(asked)


def test_pictures_come_first_and_are_never_placeholders_in_the_text() -> None:
    asked = replace(PICTURE, images=(ImageRef(path="a.png"), ImageRef(path="b.png")))
    first, second = object(), object()
    (turn,) = build_messages(asked, [first, second])
    assert turn["role"] == "user"
    assert [item["type"] for item in turn["content"]] == ["image", "image", "text"]
    assert turn["content"][0]["image"] is first and turn["content"][1]["image"] is second
    assert "<image>" not in turn["content"][2]["text"]


def test_a_text_row_has_one_text_item() -> None:
    assert build_messages(TEXT, [])[0]["content"] == [{"type": "text", "text": render_prompt(TEXT)}]


def test_errors_say_what_is_accepted() -> None:
    with pytest.raises(ConfigError, match="prompt template 'medx' is not known; use one of medix, medix_short"):
        render_prompt(TEXT, "medx")
    with pytest.raises(DataError, match="row 't': got 0 pictures, the row has 1"):
        build_messages(PICTURE, [])
    with pytest.raises(DataError, match="row 't': 27 options; at most 26"):
        render_prompt(replace(TEXT, options=tuple(f"o{n}" for n in range(27))))


def test_a_template_of_ones_own_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "answer.jinja"
    path.write_text("{{ question }} {{ question.__class__.__mro__ }}", encoding="utf-8")
    assert is_template(str(path)) and not is_template(str(tmp_path / "gone.jinja")) and not is_template("gone")
    # Whoever shares a template runs no code by it.
    with pytest.raises(ConfigError, match="cannot be rendered .*unsafe"):
        render_prompt(Sample("a", "own", "What?", "this"), str(path))
    path.with_name("other.jinja").write_text("Ward: {{ question }}", encoding="utf-8")
    assert render_prompt(Sample("a", "own", "What?", "this"), str(path.with_name("other.jinja"))) == "Ward: What?"
    with pytest.raises(ConfigError, match=r"gone.jinja' cannot be read \(FileNotFoundError\); check it"):
        render_prompt(Sample("a", "own", "What?", "this"), str(tmp_path / "gone.jinja"))

# SPDX-License-Identifier: Apache-2.0
"""What the end of a prompt says of the thinking, and which tags of a response a tokenizer would take away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import fake_tokenizer as fake
from medix_verl.chat_template import (
    ReplyReader,
    load_tokenizer,
    read_prompt,
    read_reply_start,
    read_template,
    refuse_unknown,
    template_thinking,
)
from medix_verl.errors import ConfigError
from medix_verl.response import TAG, mark_of
from medix_verl.thinking import MARKS, Thinking
from medix_verl.types import MODALITIES

FakeTokenizer, template = fake.FakeTokenizer, fake.template
NONE, OPEN, CLOSED = Thinking.NONE, Thinking.OPEN, Thinking.CLOSED
TURN = "<|im_start|>user\nWhy <think>?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("prompt", "thinking"),
    [
        (TURN, NONE),
        (TURN + "<think>", OPEN),
        (TURN + "<think>\n", OPEN),
        (TURN + "<think>\n\n", OPEN),
        (TURN + "< THINK >", OPEN),
        (TURN + "<thinking>\n", OPEN),
        (TURN + "<think>\n\n</think>\n\n", CLOSED),
        (TURN + "<think></think>", CLOSED),
        (TURN + "<thinking> </think>\n", CLOSED),
        ("between <think> and </think>", NONE),
        ("reply as <think>reasoning</think>", NONE),
        ("reply as <answer>", NONE),
        ("<think>\n" + TURN, NONE),
        ("<think> " * 300, OPEN),
        ("", NONE),
    ],
)
def test_the_end_of_a_prompt(prompt: str, thinking: Thinking) -> None:
    assert read_prompt(prompt).thinking is thinking


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.name)
def test_every_mark_opens_and_closes_a_prompt(mark: object) -> None:
    opener, closer = mark.opener, mark.closer  # type: ignore[attr-defined]
    for read in (read_prompt, read_reply_start):
        assert (read(f"{TURN}{opener}").thinking, read(f"{TURN}{opener}").mark) == (OPEN, mark)
        assert read(f"{TURN}{opener}\n\n{closer}\n").thinking is CLOSED


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.name)
def test_every_mark_is_a_tag_of_the_parser(mark: object) -> None:
    for text, closes in ((mark.opener, False), (mark.closer, True)):  # type: ignore[attr-defined]
        found = TAG.search(text)
        assert found is not None
        assert mark_of(found) == (MARKS.index(mark), closes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "thinking"),
    [
        ("assistant\n<think>\nOkay, so ", OPEN),
        ("assistant\n<think>\nOkay, I have thought.\n</think>\n\n", CLOSED),
        ("assistant\n<think>a</think>\n\nThe answer", NONE),
        ("assistant\n", NONE),
        ("", NONE),
    ],
)
def test_the_start_of_a_reply_may_have_words(start: str, thinking: Thinking) -> None:
    assert read_reply_start(start).thinking is thinking


@pytest.mark.parametrize("mark", ["<reasoning>", "<|begin_of_thought|>", "[REASON]", "<|analysis|>", "</reasoning>"])
def test_a_mark_that_is_not_known_is_named(mark: str) -> None:
    for end in (read_prompt(f"{TURN}{mark}\n"), read_reply_start(f"assistant\n{mark}")):
        assert end.unknown == mark
        with pytest.raises(
            ConfigError, match="accepted: <think>, .*reward.medix.thinking=none, open or closed"
        ) as error:
            refuse_unknown(end)
        assert repr(mark) in str(error.value)


@given(st.text(max_size=60) | st.text(alphabet="<>/[]think \n", max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    assert read_prompt(text).thinking in Thinking
    # A turn's end behind it, and it says nothing.
    assert read_prompt(f"{text}<|im_end|>\n<|im_start|>assistant\n").thinking is NONE


@pytest.mark.parametrize(
    ("start", "thinking"), [("", NONE), ("<think>\n", OPEN), ("<think>\nOkay", OPEN), ("<think>\n\n</think>\n", CLOSED)]
)
def test_the_tokens_of_a_prompt(start: str, thinking: Thinking) -> None:
    tokenizer = FakeTokenizer(start)
    reader = ReplyReader(tokenizer)
    ids = tokenizer.encode(TURN + start)
    assert reader.prompt_end(ids).thinking is thinking
    assert reader.prompt_end(tokenizer.encode("x" * 5000) + ids).thinking is thinking
    assert read_template(tokenizer, {})[1].thinking is thinking
    # Without any token of turns, only the very end counts.
    assert reader.prompt_end(tokenizer.encode("Why <think>? Assistant:")).thinking is NONE
    assert reader.prompt_end(tokenizer.encode("Why <think>? Assistant: <think>")).thinking is OPEN


def test_the_template_gets_its_settings() -> None:
    tokenizer = FakeTokenizer(chat_template=template().replace("{{ '' }}", "{{ start }}"))
    assert read_template(tokenizer, {"start": "<think>"})[1].thinking is OPEN
    assert read_template(tokenizer, {"start": "Yes. "})[0] == "<|im_start|>assistant\nYes. "


@pytest.mark.parametrize(
    ("chat_template", "message"),
    [("", "has no chat template; set"), ("{{ 1 / 0 }}", r"cannot be rendered \(ZeroDivisionError")],
)
def test_a_template_that_cannot_be_used(chat_template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_template(FakeTokenizer(chat_template=chat_template), {})


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<thinking>", "<answer>", "</answer>", "<X_RAY>", "<SPECT>"])
def test_a_tag_that_is_special_is_refused_or_kept(tag: str) -> None:
    tokenizer = FakeTokenizer(special=[tag])
    with pytest.raises(ConfigError, match="as special tokens.*type reward.medix.special_tokens=keep") as error:
        ReplyReader(tokenizer)
    assert f"has {tag} as" in str(error.value)
    text = f"a{tag}b<|im_end|>"
    assert ReplyReader(tokenizer, "keep").text(tokenizer.encode(text)) == f"a{tag}b"
    assert ReplyReader(FakeTokenizer()).text(tokenizer.encode("ab<|im_end|>")) == "ab"


def test_many_special_tags_are_one_line() -> None:
    tags = ["<think>", "</think>", "<answer>", "</answer>", "<thinking>", *(f"<{tag}>" for tag in MODALITIES)]
    with pytest.raises(
        ConfigError, match="has <think>, </think>, <thinking>, <answer>, </answer>, <X_RAY> and 15 more as"
    ):
        ReplyReader(FakeTokenizer(special=tags))


def test_a_special_mark_counts_where_the_template_shows_it() -> None:
    special = ["[THINK]", "[/THINK]"]
    ReplyReader(FakeTokenizer(special=special))
    shown = FakeTokenizer(special=special, chat_template=template() + "{# [THINK] #}")
    with pytest.raises(ConfigError, match=r"with \[THINK\] \(Magistral.* has \[THINK\], \[/THINK\] as special tokens"):
        ReplyReader(shown)
    assert ReplyReader(shown, "keep").text(shown.encode("[THINK]a[/THINK]b<|im_end|>")) == "[THINK]a[/THINK]b"
    # As a token of the prompt's end it is no end of a turn.
    open_prompt = FakeTokenizer("[THINK]", special=special)
    assert ReplyReader(open_prompt, "keep").prompt_end(open_prompt.encode(TURN + "[THINK]")).thinking is OPEN


def test_a_model_that_is_not_here(tmp_path: object) -> None:
    pytest.importorskip("transformers")
    assert template_thinking(str(tmp_path)) is None
    assert template_thinking("nobody/has-this-model") is None
    assert template_thinking("no such name") is None
    with pytest.raises(ConfigError, match="no tokenizer of .* could be loaded on this machine"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_without_a_list_of_its_added_tokens() -> None:
    """Mistral's own (transformers' MistralCommonBackend) raises NotImplementedError."""

    class Bare(FakeTokenizer):
        def __init__(self) -> None:
            super().__init__()
            self.known = self.added_tokens_decoder

        def __getattribute__(self, name: str) -> object:
            if name == "added_tokens_decoder" and "known" in object.__getattribute__(self, "__dict__"):
                raise NotImplementedError
            return object.__getattribute__(self, name)

        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return FakeTokenizer().encode(text)

        def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
            return FakeTokenizer().decode(ids, skip_special_tokens)

    reader = ReplyReader(Bare())
    assert reader.prompt_end(FakeTokenizer().encode(TURN + "<think>\nOkay")).thinking is OPEN

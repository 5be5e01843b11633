# SPDX-License-Identifier: Apache-2.0
"""What the parser must know of a tokenizer and its chat template: special tokens, and how a prompt ends.

verl decodes responses without special tokens, so a tag that is registered as special is lost: such a tokenizer is
refused, or decoded with these tags kept (`reward.medix.special_tokens`). The end of the prompt is read from the tokens
of the rollout; before there are any, from the template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.response import TAG, mark_of
from medix_verl.thinking import MARKS, NATIVE, Mark, Thinking
from medix_verl.types import MODALITIES

__all__ = [
    "LAST_TOKENS",
    "SPECIAL_TOKENS",
    "PromptEnd",
    "ReplyReader",
    "contradiction",
    "load_tokenizer",
    "own_marks",
    "read_prompt",
    "read_reply_start",
    "read_template",
    "refuse_unknown",
    "reply_start",
    "template_thinking",
]

SPECIAL_TOKENS = ("refuse", "keep")
"""Values of `reward.medix.special_tokens`."""
GRAMMAR = (
    *("<think>", "</think>", "<thinking>", "</thinking>", "<answer>", "</answer>"),
    *(f"<{tag}>" for tag in MODALITIES),
)
MARK_TOKENS = frozenset(token for mark in MARKS for token in mark.tokens)
LAST_TOKENS = 96
"""Number of tokens read at a prompt's end."""
KNOWN_PROMPTS = 4096
TAIL = 400
"""Number of characters read at a prompt's end."""
_UNKNOWN = re.compile(
    r"(?P<mark>[<\[◁][^\s<>\[\]◁▷]{0,24}(?:think|thought|reason|analysis)[^\s<>\[\]◁▷]{0,24}[>\]▷])\s{0,8}\Z",
    re.IGNORECASE,
)
SHOWN = 6
NEEDED = "tokenizer_config.json"


@dataclass(frozen=True, slots=True)
class PromptEnd:
    """The thinking state at the end of a prompt."""

    thinking: Thinking = Thinking.NONE
    mark: Mark | None = None
    """The mark whose opener or closer ends the prompt."""
    unknown: str = ""
    """A mark at the end that looks like a thinking mark but is not in MARKS; then `thinking` is not known."""


def read_prompt(prompt: str) -> PromptEnd:
    """The thinking state at the end of a whole prompt, as the model gets it.

    Only the very end counts: a question may quote any mark, and an end-of-turn token follows it.

    Args:
        prompt: The text with the chat template applied, with or without its special tokens.
    """
    tail, tags = _tags(prompt)
    if not tags:
        return _unknown(tail)
    last = tags[-1]
    number, closes = mark_of(last)
    if not _is_end(tail, last, closes) or number is None:
        return _unknown(tail)
    mark = MARKS[number]
    if not closes:
        return PromptEnd(Thinking.OPEN, mark)
    if len(tags) > 1 and mark_of(tags[-2]) == (number, False):
        between = tail[tags[-2].end() : last.start()].strip()
        if between.removeprefix(mark.label).strip() == "":
            return PromptEnd(Thinking.CLOSED, mark)
    return PromptEnd()


def read_reply_start(start: str) -> PromptEnd:
    """The same for the part of a prompt that begins the reply; no user wrote it, so it may also begin the reasoning.

    Args:
        start: What the template appends to the last turn, such as `assistant\\n<think>\\nOkay, `.
    """
    tail, tags = _tags(start)
    found = [(mark_of(tag), tag) for tag in tags]
    thinking = [(number, closes, tag) for (number, closes), tag in found if number is not None]
    if not thinking:
        return _unknown(tail)
    number, closes, tag = thinking[-1]
    if not closes:
        return PromptEnd(Thinking.OPEN, MARKS[number])
    return PromptEnd(Thinking.CLOSED, MARKS[number]) if not tail[tag.end() :].strip() else PromptEnd()


def _tags(prompt: str) -> tuple[str, list[re.Match[str]]]:
    tail = prompt[-TAIL:]
    return tail, list(TAG.finditer(tail))


def _is_end(tail: str, tag: re.Match[str], closes: bool) -> bool:
    """Whether only white space and the opener's label follow a tag."""
    rest = tail[tag.end() :].strip()
    number, _ = mark_of(tag)
    return not rest or (not closes and number is not None and rest == MARKS[number].label)


def _unknown(tail: str) -> PromptEnd:
    found = _UNKNOWN.search(tail)
    return PromptEnd(unknown=found["mark"]) if found else PromptEnd()


class ReplyReader:
    """Decodes a model's responses, and reads the end of their prompts."""

    def __init__(self, tokenizer: Any, special_tokens: str = "refuse") -> None:
        """Check the tokenizer's special tokens.

        Args:
            tokenizer: A tokenizer of transformers.
            special_tokens: One of SPECIAL_TOKENS: how tags that are special tokens are handled.

        Raises:
            ConfigError: Tags of the response are special tokens, and `special_tokens` is `refuse`.
        """
        self.tokenizer = tokenizer
        special = special_tokens_of(tokenizer)
        tags = MARK_TOKENS.union(GRAMMAR)
        self.turn_tokens = frozenset(i for i, token in special.items() if token not in tags)
        """Special tokens that are not tags: ends of turns, pictures, padding."""
        self.keep = special_tokens == "keep" and len(self.turn_tokens) < len(special)
        self.end_of = lru_cache(KNOWN_PROMPTS)(self.read_end)
        if lost := lost_tags(tokenizer) if special_tokens == "refuse" else []:
            shown = ", ".join(lost[:SHOWN]) + (f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else "")
            marks = [mark for mark in own_marks(tokenizer) if set(mark.tokens) & set(lost)]
            whose = "".join(f"the model marks its thinking with {mark.name} ({mark.who}), and " for mark in marks)
            raise ConfigError(
                f"{whose}the tokenizer has {shown} as special tokens, and verl decodes responses without these: no "
                "response could be read rightly; type reward.medix.special_tokens=keep, or register them with "
                "special=False in tokenizer.json"
            )

    def text(self, ids: Sequence[int]) -> str:
        """A response's text for the parser.

        Args:
            ids: The response's tokens, without padding.
        """
        if not self.keep:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return str(self.tokenizer.decode([int(i) for i in ids if int(i) not in self.turn_tokens]))

    def prompt_end(self, ids: Sequence[int]) -> PromptEnd:
        """The thinking state at the end of a prompt.

        Args:
            ids: The prompt's tokens, or the last of them, without padding.
        """
        return self.end_of(tuple(int(i) for i in ids[-LAST_TOKENS:]))

    def read_end(self, ids: tuple[int, ...]) -> PromptEnd:
        """`prompt_end` of the last tokens; cached, since all answers of a group have the same prompt."""
        for place in range(len(ids) - 1, -1, -1):
            if ids[place] in self.turn_tokens:
                return read_reply_start(self.tokenizer.decode(ids[place + 1 :]))
        return read_prompt(self.tokenizer.decode(ids))


def special_tokens_of(tokenizer: Any) -> dict[int, str]:
    """Id -> text of the tokens that decoding may skip."""
    special = {
        int(i): str(token) for i, token in zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=False)
    }
    try:
        added = tokenizer.added_tokens_decoder
    except NotImplementedError:  # Mistral's own tokenizer has no such list
        return special
    return special | {int(i): str(token) for i, token in added.items() if token.special}


def own_marks(tokenizer: Any) -> list[Mark]:
    """The marks other than <think> that appear in the tokenizer's chat template."""
    shown = str(tokenizer.chat_template or "")
    return [mark for mark in MARKS if mark is not NATIVE and any(token in shown for token in mark.tokens)]


def lost_tags(tokenizer: Any) -> list[str]:
    """Tags of the response, and tokens of the model's own marks, that are lost in decoding."""
    used = [token for mark in own_marks(tokenizer) for token in mark.tokens]
    return [tag for tag in dict.fromkeys([*GRAMMAR, *used]) if is_lost(tokenizer, tag)]


def is_lost(tokenizer: Any, tag: str) -> bool:
    """Whether a tag is lost after encoding and verl's decoding; spaces are ignored, as the parser ignores them."""
    ids = tokenizer.encode(f"a {tag} b", add_special_tokens=False)
    return tag not in "".join(str(tokenizer.decode(ids, skip_special_tokens=True)).split())


def reply_start(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[str, bool]:
    """How the chat template begins the reply to one turn of a user.

    Args:
        tokenizer: A tokenizer with its chat template.
        settings: Further arguments of the template (`data.apply_chat_template_kwargs`).

    Returns:
        The text appended to the turn, and True; or the whole prompt, and False, if that text cannot be separated.

    Raises:
        ConfigError: There is no template, or it cannot be rendered.
    """
    fault: Exception | None = None
    for content in ("x", [{"type": "text", "text": "x"}]):
        turns = [{"role": "user", "content": content}]
        try:
            bare, whole = (
                tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=added, **settings)
                for added in (False, True)
            )
        except Exception as error:  # noqa: BLE001 - templates raise any exception, and may accept only one of the forms
            fault = fault or error
            continue
        return (whole[len(bare) :], True) if whole.startswith(bare) else (whole, False)
    if not (settings.get("chat_template") or tokenizer.chat_template):
        raise ConfigError(
            "the tokenizer has no chat template; set actor_rollout_ref.model.custom_chat_template"
        ) from fault
    raise ConfigError(
        f"the chat template cannot be rendered ({type(fault).__name__}: {' '.join(str(fault).split())[:200]}); fix "
        "data.apply_chat_template_kwargs or the template"
    ) from fault


def read_template(tokenizer: Any, settings: Mapping[str, Any]) -> tuple[str, PromptEnd]:
    """How the chat template begins the reply, and the thinking state at its end; see `reply_start`."""
    start, alone = reply_start(tokenizer, settings)
    return (start, read_reply_start(start)) if alone else (start[-LAST_TOKENS:], read_prompt(start))


def refuse_unknown(end: PromptEnd, typed: str = "reward.medix.thinking=") -> Thinking:
    """The thinking state at a prompt's end, which must be known.

    Args:
        end: From `read_prompt` or `read_reply_start`.
        typed: The flag or key with which the user can set it instead, for the message.

    Raises:
        ConfigError: The prompt ends with an unknown mark.
    """
    if end.unknown:
        known = ", ".join(mark.name for mark in MARKS)
        raise ConfigError(
            f"the prompt ends with {end.unknown!r}, which looks like a mark of thinking and is none that is read; "
            f"accepted: {known}; type {typed}none, open or closed to say what it does, or give the "
            "model another chat template (actor_rollout_ref.model.custom_chat_template)"
        )
    return end.thinking


def contradiction(setting: str, end: PromptEnd) -> str:
    """Why `reward.medix.thinking` contradicts the chat template; empty if it does not."""
    if setting in ("auto", end.thinking.value) or end.unknown:
        return ""
    return (
        f"reward.medix.thinking={setting}, and by the chat template it is {end.thinking.value}: responses are read as "
        "if they began elsewhere; type reward.medix.thinking=auto"
    )


def load_tokenizer(path: str, trust_remote_code: bool = False, chat_template: str | None = None) -> Any:
    """The tokenizer of a model on this machine, with the chat template of the rollout.

    Args:
        path: A folder or a hub id.
        trust_remote_code: As `actor_rollout_ref.model.trust_remote_code`.
        chat_template: Replaces the model's own.

    Raises:
        ConfigError: It is not on this machine, or cannot be loaded.
    """
    from transformers import AutoTokenizer
    from transformers.utils import cached_file

    place = str(Path(path).expanduser())
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:
        first = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise ConfigError(f"no tokenizer of {path} could be loaded on this machine: {first}") from error
    if chat_template:
        tokenizer.chat_template = chat_template
    elif not tokenizer.chat_template:
        # Older processors store the template in a separate file.
        found = cached_file(
            place, "chat_template.json", local_files_only=True, _raise_exceptions_for_missing_entries=False
        )
        if found is not None:
            tokenizer.chat_template = json.loads(Path(found).read_text(encoding="utf-8")).get("chat_template")
    return tokenizer


def template_thinking(path: str, settings: Mapping[str, Any] | None = None) -> Thinking | None:
    """The thinking state that a model's chat template sets.

    Args:
        path: A folder or a hub id.
        settings: Further arguments of the template, as the server gets them.

    Returns:
        None if the tokenizer is not on this machine, or has no template that can be rendered.

    Raises:
        ConfigError: The template ends with an unknown mark.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    folder = Path(path).expanduser()
    try:
        found = try_to_load_from_cache(path, NEEDED) if not folder.is_dir() else str(folder / NEEDED)
    except HFValidationError:
        return None
    if not isinstance(found, str) or not Path(found).is_file():
        return None  # before transformers is imported, which takes seconds
    try:
        _, end = read_template(load_tokenizer(path), settings or {})
    except ConfigError:
        return None
    return refuse_unknown(end, "--thinking ")

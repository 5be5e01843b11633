# SPDX-License-Identifier: Apache-2.0
"""A tokenizer of a few lines with a chat template: tags are tokens, everything else is characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

TURNS = ("<|im_start|>", "<|im_end|>")
PLAIN = (
    "{%- for message in messages -%}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}REPLY{%- endif -%}"
)


def template(start: str = "") -> str:
    """A chat template that begins the reply with `start`."""
    return PLAIN.replace("REPLY", "{{ " + repr(start) + " }}")


class Token:
    """A token that was added to the vocabulary."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.special = True

    def __str__(self) -> str:
        return self.content


class FakeTokenizer:
    """What medix_verl.chat_template asks of a tokenizer of transformers."""

    def __init__(self, start: str = "", special: Sequence[str] = (), chat_template: str | None = None) -> None:
        self.chat_template = template(start) if chat_template is None else chat_template
        self.added_tokens_decoder = {i + 1: Token(text) for i, text in enumerate([*TURNS, *special])}
        self.all_special_ids = list(self.added_tokens_decoder)
        self.all_special_tokens = [token.content for token in self.added_tokens_decoder.values()]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        known = {token.content: i for i, token in self.added_tokens_decoder.items()}
        pieces = re.split("(" + "|".join(map(re.escape, known)) + ")", text)
        return [i for piece in pieces for i in ([known[piece]] if piece in known else [ord(c) + 1000 for c in piece])]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        known = self.added_tokens_decoder
        return "".join(
            chr(i - 1000) if i not in known else "" if skip_special_tokens else known[i].content for i in map(int, ids)
        )

    def apply_chat_template(
        self, messages: list[dict[str, Any]], tokenize: bool, add_generation_prompt: bool, **settings: Any
    ) -> str:
        from jinja2 import Environment

        assert not tokenize
        if not (settings.get("chat_template") or self.chat_template):
            raise ValueError("Cannot use chat template functions because tokenizer.chat_template is not set")
        return (
            Environment()
            .from_string(self.chat_template)
            .render(messages=messages, add_generation_prompt=add_generation_prompt, **settings)
        )

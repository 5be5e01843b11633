# SPDX-License-Identifier: Apache-2.0
"""The marks with which models open and close their thinking, and the thinking state at a prompt's end.

A chat template may open the thinking at the end of the prompt (Qwen3-VL-Thinking, Qwen3.5): the response then begins
inside it and has a closer without an opener. Another template closes an empty block there (Qwen3 with
`enable_thinking=false`): the response needs no block. The response's text alone does not distinguish these cases from
a missing opener, so the parser takes the state as an argument (medix_verl.response); medix_verl.chat_template reads it
from the prompt.

`<think>` and `<thinking>` are the same mark, and the one that our prompts ask for. The others are native marks of some
model families; the text between them is thinking, and is never graded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["BOX", "MARKS", "NATIVE", "Mark", "Thinking"]


class Thinking(str, Enum):
    """The thinking state at the prompt's end, which decides where a response begins."""

    NONE = "none"
    """No thinking block: the response has its own."""
    OPEN = "open"
    """The prompt opened it: the response begins inside the thinking."""
    CLOSED = "closed"
    """The prompt opened and closed it: the response may leave out the thinking block."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The thinking marks of a model family."""

    name: str
    """Its name in messages."""
    opener: str
    """The opener as the model or its template writes it."""
    closer: str
    who: str
    """Some of the models that write it."""
    tokens: tuple[str, ...]
    """Parts that a tokenizer may have as single tokens; if decoding skips them, the mark is lost."""
    label: str = ""
    """A word that the model writes after the opener; not part of the thinking."""


NATIVE = Mark("<think>", "<think>", "</think>", "Qwen3, DeepSeek-R1, GLM and most others", ("<think>", "</think>"))
HARMONY = "<|start|>assistant<|channel|>final<|message|>"
MARKS = (
    NATIVE,
    Mark("[THINK]", "[THINK]", "[/THINK]", "Magistral and other models of Mistral", ("[THINK]", "[/THINK]")),
    Mark("◁think▷", "◁think▷", "◁/think▷", "Kimi-VL-Thinking", ("◁think▷", "◁/think▷")),
    Mark("<unused94>", "<unused94>thought\n", "<unused95>", "MedGemma", ("<unused94>", "<unused95>"), "thought"),
    Mark("<seed:think>", "<seed:think>", "</seed:think>", "Seed-OSS", ("<seed:think>", "</seed:think>")),
    Mark("<mm:think>", "<mm:think>", "</mm:think>", "MiniMax-M3", ("<mm:think>", "</mm:think>")),
    Mark(
        "<|START_THINKING|>",
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        "Command A Reasoning",
        ("<|START_THINKING|>", "<|END_THINKING|>"),
    ),
    Mark("<|channel>", "<|channel>thought\n", "<channel|>", "Gemma 4", ("<|channel>", "<channel|>"), "thought"),
    Mark(
        "<|channel|>analysis",
        "<|channel|>analysis<|message|>",
        f"<|end|>{HARMONY}",
        "gpt-oss (harmony)",
        ("<|channel|>", "<|message|>"),
    ),
)
"""Every mark that is parsed, `<think>` first."""

BOX = ("<|begin_of_box|>", "<|end_of_box|>")
"""GLM's answer marks. They are not thinking marks; the parser skips them."""

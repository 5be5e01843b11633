# SPDX-License-Identifier: Apache-2.0
"""The only parser of a model's text: training, evaluation and the command line all call `parse_response`.

Any string comes in, a `Response` comes out; it never raises on a string and takes time linear in its length. One pass
over the tags drives a machine of three states (top, think, answer). What it refuses: to grade an `<answer>` that is
quoted inside the thinking, or one that was never closed. `<think>` and `<thinking>` are the same tag, and either
closer closes either opener. A closer without an opener means that the chat template had opened the thinking, so all
the text before it, with any answers in it, was thinking.
"""

from __future__ import annotations

import re

from medix_verl.types import MODALITIES, Response

__all__ = ["parse_response", "split_tag"]

# "/" and the space behind it are one optional group: two adjacent `\s*` would backtrack quadratically on "<" + spaces.
TAG = re.compile(r"<\s*(?P<close>/\s*)?(?P<name>think(?:ing)?|answer)\s*>", re.IGNORECASE | re.ASCII)
LEADING_TAG = re.compile(r"\s*<(?P<name>[A-Za-z0-9_\- ]{1,64})>")
RESERVED = frozenset({"THINK", "THINKING", "ANSWER"})


def split_tag(text: str) -> tuple[str | None, int]:
    """Read the modality tag that opens a text.

    Returns:
        The tag in upper case with `_` for spaces and hyphens, and the index where the text behind it begins;
        (None, 0) where the text opens with anything else.
    """
    found = LEADING_TAG.match(text)
    if found is None:
        return None, 0
    name = re.sub(r"[ \-]+", "_", found["name"].strip()).upper()
    if name in RESERVED or not name.strip("_"):
        return None, 0
    return name, found.end()


def parse_response(text: str) -> Response:
    """Parse a model's whole text.

    Args:
        text: What the model generated; any string, of any length.

    Returns:
        The parts. `answer` is the last closed top-level answer block, None where there is none or it is empty.

    Raises:
        TypeError: `text` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a response is a str, got {type(text).__name__}; pass the decoded text of the model")
    modality, start = split_tag(text)
    scan = Scan(text, start)
    for tag in TAG.finditer(text, start):
        scan.feed("answer" if tag["name"].lower() == "answer" else "think", tag["close"] is not None, tag)
    scan.finish()
    thinking = scan.content("think")
    answer = scan.content("answer") or None
    known = modality is None or modality in MODALITIES
    well_formed = known and scan.clean and scan.closed == ["think", "answer"] and bool(thinking) and bool(answer)
    return Response(modality=modality, thinking=thinking, answer=answer, well_formed=well_formed)


class Scan:
    """The machine's state while it walks over the tags; it keeps places, and cuts text only once, at the end."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.first = start
        self.state = "top"
        self.block_start = start
        self.gap_start = start
        self.spans: dict[str, tuple[int, int] | None] = {"think": None, "answer": None}
        self.closed: list[str] = []
        self.think_opened = False
        self.clean = True

    def feed(self, name: str, closes: bool, tag: re.Match[str]) -> None:
        """Take the next tag."""
        if name == "think" and closes and self.state != "think" and self.is_template_closer():
            self.close_template_thinking(tag)
        elif self.state == "top":
            self.at_top(name, closes, tag)
        elif name == self.state and closes:
            self.close_block(name, tag)
        elif self.state == "answer":
            self.clean = False
            if name == "answer":
                self.block_start = tag.end()

    def is_template_closer(self) -> bool:
        """Whether a thinking closer here has no opener of its own (inside an answer it may just be quoted)."""
        return self.state == "top" or not self.think_opened

    def at_top(self, name: str, closes: bool, tag: re.Match[str]) -> None:
        """Open a block, or note a closer that closes nothing."""
        self.check_gap(tag.start())
        if closes:
            self.clean = False
            self.gap_start = tag.end()
            return
        self.state = name
        self.block_start = tag.end()
        self.think_opened = self.think_opened or name == "think"

    def close_block(self, name: str, tag: re.Match[str]) -> None:
        """End the open block; the last one of each kind wins."""
        self.spans[name] = (self.block_start, tag.start())
        self.closed.append(name)
        self.state = "top"
        self.gap_start = tag.end()

    def close_template_thinking(self, tag: re.Match[str]) -> None:
        """All text so far was thinking that the chat template had opened."""
        self.spans = {"think": (self.first, tag.start()), "answer": None}
        self.think_opened = True
        self.clean = False
        self.state = "top"
        self.gap_start = tag.end()

    def check_gap(self, end: int) -> None:
        """Only white space may stand outside the blocks of a well-formed text."""
        if self.clean and self.text[self.gap_start : end].strip():
            self.clean = False

    def finish(self) -> None:
        """The text has ended: an open thinking swallows the rest, an open answer does not count."""
        if self.state == "top":
            self.check_gap(len(self.text))
            return
        self.clean = False
        if self.state == "think":
            self.spans["think"] = (self.block_start, len(self.text))

    def content(self, name: str) -> str | None:
        """The stripped text of the block that counts, or None."""
        span = self.spans[name]
        return None if span is None else self.text[span[0] : span[1]].strip()

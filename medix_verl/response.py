# SPDX-License-Identifier: Apache-2.0
"""The only parser of a model's text: training, evaluation and the command line call `parse_response`.
`write_response` writes the form that it reads.

It accepts any string and returns a `Response`; it never raises on a string and takes time linear in its length. One
pass over the tags drives a state machine with three states (top, think, answer). An `<answer>` that is quoted inside
the thinking, or never closed, is not graded. `<think>` and `<thinking>` are the same tag, and either closer closes
either opener. A closer without an opener means that the chat template opened the thinking, so all the text before it,
including any answers, is thinking.

Such a text is well formed only if the caller knows that the prompt opened the thinking (`thinking`); otherwise a policy
would be rewarded for leaving out an opener that was asked for. Then the modality tag is at the very beginning, or
directly after the closer. See "Where the modality tag stands" in medix_verl/rewards/README.md.
"""

from __future__ import annotations

import re

from medix_verl.thinking import BOX, MARKS, NATIVE, Mark, Thinking
from medix_verl.types import MODALITIES, Response

__all__ = ["TAG", "mark_of", "parse_response", "split_tag", "write_response"]

# Each alternative begins with a literal character, so that the regex engine skips to the next one of the three; groups
# there make it a hundred times slower. "/" and the space after it are one optional group: two adjacent `\s*` would
# backtrack quadratically on "<" + spaces. The group numbers are indices in MARKS.
_ANGLE = (
    r"\s*(?P<close>/\s*)?(?P<name>(?i:think(?:ing)?|answer))\s*>",
    r"(?P<open3>unused94>)|(?P<close3>unused95>)",
    r"(?P<open4>seed:think>)|(?P<close4>/seed:think>)",
    r"(?P<open5>mm:think>)|(?P<close5>/mm:think>)",
    r"(?P<open6>\|START_THINKING\|>)|(?P<close6>\|END_THINKING\|>)",
    r"(?P<open7>\|channel>(?=thought))|(?P<close7>channel\|>)",
    r"(?P<open8>\|channel\|>analysis<\|message\|>)",
    r"(?P<close8>(?:\|end\|><)?(?:\|start\|>assistant<)?\|channel\|>final<\|message\|>)",
)
_SQUARE = r"(?P<open1>THINK\])|(?P<close1>/THINK\])"
_TRIANGLE = r"(?P<open2>think▷)|(?P<close2>/think▷)"
TAG = re.compile(rf"<(?:{'|'.join(_ANGLE)})|\[(?:{_SQUARE})|◁(?:{_TRIANGLE})", re.ASCII)
"""Matches every tag that the parser handles; `mark_of` reads a match."""

LEADING_TAG = re.compile(r"\s*<(?P<name>[A-Za-z0-9_\- ]{1,64})>")
RESERVED = frozenset({"THINK", "THINKING", "ANSWER", "UNUSED94", "UNUSED95"})
"""Names in angle brackets that are thinking or answer marks, not modalities."""
OPEN_BOX = re.compile(r"\s*" + re.escape(BOX[0]))
ANSWER = "answer"
BLOCKS = (["think", ANSWER],)
BLOCKS_CLOSED = (["think", ANSWER], [ANSWER])
"""Blocks of a well-formed response; the second if the prompt contains a closed thinking block."""


def mark_of(tag: re.Match[str]) -> tuple[int | None, bool]:
    """The mark of a match of TAG.

    Returns:
        Its index in MARKS, None for a tag of the answer block; and whether it is a closer.
    """
    if tag["name"] is not None:
        return (None if tag["name"].lower() == "answer" else 0), tag["close"] is not None
    group = tag.lastgroup or ""
    return int(group.removeprefix("open").removeprefix("close")), group.startswith("close")


def split_tag(text: str, start: int = 0) -> tuple[str | None, int]:
    """Read the modality tag at the beginning of a text.

    Args:
        text: The text.
        start: Index at which to look.

    Returns:
        The tag in upper case with `_` for spaces and hyphens, and the index of the text after it; (None, `start`) if
        there is no tag.
    """
    found = LEADING_TAG.match(text, start)
    if found is None:
        return None, start
    name = re.sub(r"[ \-]+", "_", found["name"].strip()).upper()
    if name in RESERVED or not name.strip("_"):
        return None, start
    return name, found.end()


def write_response(
    thought: str, answer: str, modality: str | None, thinking: Thinking = Thinking.NONE, mark: Mark = NATIVE
) -> str:
    """The well-formed text from which `parse_response` reads these parts.

    Args:
        thought: The reasoning; left out if the prompt contains a closed thinking block.
        answer: The final answer.
        modality: The picture's tag without brackets; None for a text-only question.
        thinking: The thinking state at the prompt's end.
        mark: The mark whose closer ends a thinking that the prompt opened.
    """
    tag, block = f"<{modality}>\n" if modality else "", f"<answer>{answer}</answer>"
    if thinking is Thinking.NONE:
        return f"{tag}<think>{thought}</think>\n{block}"
    if thinking is Thinking.CLOSED:
        return f"{tag}{block}"
    return f"{thought}\n{mark.closer}\n\n{tag}{block}"


def parse_response(text: str, thinking: Thinking | str = Thinking.NONE) -> Response:
    """Parse a model's whole text.

    Args:
        text: What the model generated; any string, of any length.
        thinking: The thinking state at the prompt's end (medix_verl.chat_template.read_prompt): `none`, the response
            has its own block; `open`, it begins inside the thinking; `closed`, it may leave the block out.

    Returns:
        The parts. `answer` is the last closed top-level answer block; None if there is none or it is empty.

    Raises:
        TypeError: `text` is not a string.
        ValueError: `thinking` is not one of the three.
    """
    if not isinstance(text, str):
        raise TypeError(f"a response is a str, got {type(text).__name__}; pass the decoded text of the model")
    prompt = Thinking(thinking)
    front, start = split_tag(text)
    if prompt is Thinking.OPEN and front not in MODALITIES:
        front, start = None, 0  # reasoning may begin with any word in brackets
    scan = Scan(text, start, prompt)
    for tag in TAG.finditer(text, start):
        scan.feed(tag)
    scan.finish()
    thought, answer = scan.content("think"), scan.answer()
    tags = [*([front] if front else []), *scan.tags_behind]
    modality = tags[0] if len(tags) == 1 else None  # several tags are a guess, not an answer
    known = modality in MODALITIES or not tags
    blocks = scan.closed in (BLOCKS_CLOSED if prompt is Thinking.CLOSED else BLOCKS)
    has_thought = bool(thought) or "think" not in scan.closed
    well_formed = known and scan.clean and blocks and has_thought and bool(answer)
    return Response(modality=modality, thinking=thought, answer=answer, well_formed=well_formed)


class Scan:
    """The parser's state while it reads the tags; it stores positions, and slices the text only at the end."""

    def __init__(self, text: str, start: int, prompt: Thinking) -> None:
        self.text = text
        self.first = start
        self.prompt = prompt
        self.state = "think" if prompt is Thinking.OPEN else "top"
        self.mark: int | None = None
        """The mark that opened the thinking; None if its opener is not in the text."""
        self.block_start = start
        self.gap_start = start
        self.spans: dict[str, tuple[int, int] | None] = {"think": None, ANSWER: None}
        self.closed: list[str] = []
        self.think_opened = prompt is Thinking.OPEN
        self.tags_behind: list[str] = []
        """Modality tags directly after a closed thinking, where they are allowed."""
        self.clean = True

    def feed(self, tag: re.Match[str]) -> None:
        """Process the next tag."""
        mark, closes = mark_of(tag)
        name = ANSWER if mark is None else "think"
        if name == "think" and closes and self.state != "think" and self.is_template_closer():
            self.close_template_thinking(tag)
        elif self.state == "top":
            self.at_top(name, mark, closes, tag)
        elif self.state == "think" and name == "think":
            self.in_thinking(mark, closes, tag)
        elif name == self.state and closes:
            self.close_block(name, tag)
        elif self.state == ANSWER:
            self.clean = False
            if name == ANSWER:
                self.block_start = tag.end()

    def is_template_closer(self) -> bool:
        """Whether a thinking closer here has no opener in the text (inside an answer it may be quoted)."""
        return self.state == "top" or not self.think_opened

    def at_top(self, name: str, mark: int | None, closes: bool, tag: re.Match[str]) -> None:
        """Open a block, or handle a closer without an opener."""
        self.check_gap(tag.start())
        if closes:
            self.clean = False
            self.gap_start = tag.end()
            return
        self.state = name
        self.open_block(mark, tag)
        self.think_opened = self.think_opened or name == "think"

    def open_block(self, mark: int | None, tag: re.Match[str]) -> None:
        """Begin a block after its opener and the opener's label."""
        self.mark = mark
        label = MARKS[mark].label if mark is not None else ""
        self.block_start = tag.end() + (len(label) if self.text.startswith(label, tag.end()) else 0)

    def in_thinking(self, mark: int | None, closes: bool, tag: re.Match[str]) -> None:
        """A thinking mark inside the thinking: its own closer ends it, any other mark is quoted."""
        if closes and self.mark in (None, mark):
            self.close_block("think", tag)
            self.read_tag_behind(mark, tag)
        elif not closes and self.mark is None and not self.text[self.block_start : tag.start()].strip():
            self.open_block(mark, tag)  # the model repeats the opener of the prompt

    def close_block(self, name: str, tag: re.Match[str]) -> None:
        """End the open block; the last of each kind counts."""
        self.spans[name] = (self.block_start, tag.start())
        self.closed.append(name)
        self.state = "top"
        self.gap_start = tag.end()

    def close_template_thinking(self, tag: re.Match[str]) -> None:
        """All text so far is thinking that the chat template opened."""
        self.spans = {"think": (self.first, tag.start()), ANSWER: None}
        self.think_opened = True
        self.clean = False
        self.state = "top"
        self.gap_start = tag.end()
        self.tags_behind = []
        self.read_tag_behind(mark_of(tag)[0], tag)

    def read_tag_behind(self, mark: int | None, closer: re.Match[str]) -> None:
        """Read a modality tag directly after the thinking, if the response cannot begin with one: the prompt opened the
        thinking, or the model opens it by itself with a mark that our prompts do not ask for."""
        if self.prompt is Thinking.OPEN or mark:
            found, end = split_tag(self.text, self.through_box(closer.end()))
            if found is not None:
                self.tags_behind.append(found)
                self.gap_start = end

    def through_box(self, place: int) -> int:
        """The position after a GLM answer mark at `place`, or `place`."""
        found = OPEN_BOX.match(self.text, place)
        return found.end() if found else place

    def check_gap(self, end: int) -> None:
        """A text with more than white space and GLM's answer marks outside its blocks is not well formed."""
        if self.clean:
            gap = self.text[self.gap_start : end].strip()
            self.clean = not gap or not gap.replace(BOX[0], "").replace(BOX[1], "").strip()

    def finish(self) -> None:
        """At the end of the text: an open thinking extends to the end, an open answer does not count."""
        if self.state == "top":
            self.check_gap(len(self.text))
            return
        self.clean = False
        if self.state == "think":
            self.spans["think"] = (self.block_start, len(self.text))

    def content(self, name: str) -> str | None:
        """The stripped text of the last block of a kind, or None."""
        span = self.spans[name]
        return None if span is None else self.text[span[0] : span[1]].strip()

    def answer(self) -> str | None:
        """The text of the answer block without GLM's marks; without a block, the text between GLM's marks."""
        found = self.content(ANSWER)
        if found is not None:
            return unboxed(found) or None
        if self.state != "top" or ANSWER in self.closed:
            return None
        rest = self.text[self.gap_start :]
        return (unboxed(rest) or None) if BOX[0] in rest and BOX[1] in rest else None


def unboxed(text: str) -> str:
    """The text between GLM's answer marks if there is exactly one pair; otherwise the whole text."""
    before, opener, rest = text.partition(BOX[0])
    inside, closer, behind = rest.partition(BOX[1])
    if opener and closer and BOX[0] not in inside + behind and BOX[1] not in before + behind:
        return inside.strip()
    return text

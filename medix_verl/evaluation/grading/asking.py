# SPDX-License-Identifier: Apache-2.0
"""Asks a judge model for votes: one vote, several in one conversation, or several independent ones.

An unreadable reply is requested again a bounded number of times; after that the vote is None. A failed request was
already retried (medix_verl.runtime.dispatch), so it ends the conversation. Every candidate is fenced in the prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.errors import JudgeError
from medix_verl.evaluation.grading.votes import read_binary, read_met, read_report, without_reasoning
from medix_verl.judge.judge import GuardedJudge
from medix_verl.judge.prompt import ChatRequest, Turn, fill, load_prompt
from medix_verl.openai_client import RequestError
from medix_verl.types import ImageRef, Reference

if TYPE_CHECKING:
    from medix_verl.evaluation.grading.spec import ProtocolSpec

__all__ = ["BINARY", "MET", "REPORT", "Asked", "Scale", "Vote", "Voter", "ask_all", "ask_once", "converse", "write"]

FOLDER = Path(__file__).parent / "prompts"
MAX_REPLY = 4000
"""Maximum number of characters of a judge's reply that are kept in a conversation."""


@dataclass(frozen=True, slots=True)
class Voter:
    """A judge, and how its votes are sampled."""

    name: str
    judge: GuardedJudge
    """It must support chat, except for yes/no verdicts."""
    temperature: float = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """The result of one request: a value in [0, 1], or None and the reason."""

    value: float | None
    reason: str = ""
    unreadable: bool = False
    """Whether the judge replied, but none of its replies was readable."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A kind of question: its prompt file, the JSON schema of the reply, and the function that reads the reply."""

    prompt: str
    schema: Mapping[str, Any]
    read: Callable[[str], float | None]
    max_tokens: int = 512
    """Limit of a reply."""
    rereads: int = 0
    """Minimum number of further requests after an unreadable reply; the protocol may set more."""
    chars: int = 0
    """Minimum of the limit on an answer's characters in the prompt; the protocol may set more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The first message to a judge, with the fenced candidate, and the settings of the request."""

    text: str
    scale: Scale
    rereads: int
    restricted: bool
    """Whether the row is credentialed and may only be sent to local addresses."""
    images: tuple[ImageRef, ...]
    """The row's pictures, for a judge that takes pictures."""


def closed(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object with one key."""
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


BINARY = Scale("binary", closed("score", {"type": "integer", "enum": [0, 1]}), read_binary)
REPORT = Scale("report", closed("score", {"type": "number", "minimum": 0, "maximum": 5}), read_report)
MET = Scale(
    "rubric",
    {
        "type": "object",
        # The explanation comes first, as in the published grader: the judge reasons before it decides.
        "properties": {"explanation": {"type": "string"}, "criteria_met": {"type": "boolean"}},
        "required": ["explanation", "criteria_met"],
        "additionalProperties": False,
    },
    read_met,
    max_tokens=2048,
    rereads=4,  # simple-evals asks until a reply can be read
    chars=60_000,  # a criterion may concern the end of an answer
)


@cache
def text_of(name: str) -> str:
    """The text of a prompt file; prompts with a candidate are checked for their placeholders."""
    path = FOLDER / f"{name}.txt"
    return (
        load_prompt(str(path)) if name in ("binary", "report", "rubric") else path.read_text(encoding="utf-8").strip()
    )


def write(spec: ProtocolSpec, scale: Scale, candidate: str, reference: Reference) -> Asked:
    """Write the message to the judges about a candidate; it has the reference's pictures and restriction."""
    text = fill(text_of(scale.prompt), candidate, reference, max(spec.max_chars, scale.chars)).rstrip()
    text = f"{text}\n{spec.suffix}" if spec.suffix else text
    is_restricted = reference.credentialed_row is not None
    return Asked(text, scale, max(spec.rereads, scale.rereads), is_restricted, reference.images)


async def converse(voter: Voter, asked: Asked, rounds: int = 1) -> list[Vote]:
    """Ask `rounds` times in one conversation, in which the judge sees its earlier replies.

    Returns:
        One vote for each round; after a failed request nothing more is asked, and the remaining votes are None with
        its error as the reason.
    """
    turns: tuple[Turn, ...] = (Turn("user", asked.text),)
    votes: list[Vote] = []
    while len(votes) < rounds:
        try:
            vote, reply = await ask_once(voter, asked, turns)
        except (JudgeError, RequestError) as error:
            return votes + [Vote(None, str(error))] * (rounds - len(votes))
        votes.append(vote)
        turns = (*turns, said(reply), Turn("user", text_of("again")))
    return votes


async def ask_all(voters: Sequence[Voter], asked: Asked) -> list[Vote]:
    """Ask each voter once, in parallel; no voter sees another one's vote."""
    return [vote for votes in await asyncio.gather(*(converse(voter, asked) for voter in voters)) for vote in votes]


async def ask_once(voter: Voter, asked: Asked, turns: tuple[Turn, ...] = ()) -> tuple[Vote, str]:
    """Ask for one vote, again after an unreadable reply; without `turns`, the first message is the conversation.

    Returns:
        The vote, and the reply that it was read from.

    Raises:
        RequestError: The request failed.
        JudgeError: The judge does not support chat.
    """
    scale, turns = asked.scale, turns or (Turn("user", asked.text),)
    talk, reply = turns, ""
    for attempt in range(asked.rereads + 1):
        seed = voter.seed if voter.seed is None or not attempt else voter.seed + 7919 * attempt
        settings = (voter.temperature, seed, scale.max_tokens)
        request = ChatRequest(talk, scale.schema, *settings, restricted=asked.restricted, images=asked.images)
        reply = await voter.judge.chat(request)
        value = scale.read(reply)
        if value is not None:
            return Vote(value), reply
        talk = (*turns, said(reply), Turn("user", text_of("form")))
    reason = f"no readable score in {asked.rereads + 1} replies, the last: {reply.strip()[:60]!r}"
    return Vote(None, reason, unreadable=True), reply


def said(reply: str) -> Turn:
    """A judge's reply as a turn, without its reasoning; never empty, because chat templates reject empty turns."""
    return Turn("assistant", without_reasoning(reply)[:MAX_REPLY] or "(nothing)")

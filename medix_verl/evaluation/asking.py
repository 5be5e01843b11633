# SPDX-License-Identifier: Apache-2.0
"""Asks a judge model for votes: one vote, several in one conversation, or several that know nothing of each other.

What cannot be read is asked again, a bounded number of times, and then is no vote. A judge that cannot be asked has
retried already (medix_verl.runtime.dispatch), so its conversation ends there. Here is no candidate that is not fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medix_verl.errors import JudgeError
from medix_verl.evaluation.votes import read_binary, read_met, read_report, without_reasoning
from medix_verl.judge.judge import GuardedJudge
from medix_verl.judge.prompt import ChatRequest, Turn, fill, load_prompt
from medix_verl.openai_client import RequestError
from medix_verl.types import Reference

__all__ = ["BINARY", "MET", "REPORT", "Scale", "Vote", "Voter", "ask_all", "converse", "write"]

FOLDER = Path(__file__).parent / "prompts"
MAX_REPLY = 4000
"""Characters of a judge's reply that stay in a conversation."""


@dataclass(frozen=True, slots=True)
class Voter:
    """A judge, and how its votes are sampled."""

    name: str
    judge: GuardedJudge
    """One that can be talked to, for all but the closed question."""
    temperature: float = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """What one asking gave: a value in [0, 1], or None and why."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """A question's form: its prompt file, the schema of the reply, and how it is read."""

    prompt: str
    schema: Mapping[str, Any]
    read: Callable[[str], float | None]


def closed(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with one key."""
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


BINARY = Scale("binary", closed("score", {"type": "integer", "enum": [0, 1]}), read_binary)
REPORT = Scale("report", closed("score", {"type": "number", "minimum": 0, "maximum": 5}), read_report)
MET = Scale("rubric", closed("criteria_met", {"type": "boolean"}), read_met)


@cache
def text_of(name: str) -> str:
    """A prompt file; those with a candidate are checked for their placeholders."""
    path = FOLDER / f"{name}.txt"
    return (
        load_prompt(str(path)) if name in ("binary", "report", "rubric") else path.read_text(encoding="utf-8").strip()
    )


def write(scale: Scale, candidate: str, reference: Reference, max_chars: int, suffix: str = "") -> str:
    """The first message to a judge, with the candidate fenced; `suffix` is a line for the model, such as /no_think."""
    text = fill(text_of(scale.prompt), candidate, reference, max_chars).rstrip()
    return f"{text}\n{suffix}" if suffix else text


async def converse(
    voter: Voter, first: str, scale: Scale, rounds: int, rereads: int, restricted: bool = False
) -> list[Vote]:
    """Ask `rounds` times in one conversation, in which the judge sees what it said before.

    Args:
        voter: Who is asked.
        first: The first message.
        scale: How replies are read.
        rounds: Number of votes.
        rereads: Further askings of each, after a reply that cannot be read.
        restricted: Whether a credentialed row is shown, which may only go to local addresses.

    Returns:
        One vote a round; after a round that could not be asked there are no more questions, and its reason stands.
    """
    turns: tuple[Turn, ...] = (Turn("user", first),)
    votes: list[Vote] = []
    while len(votes) < rounds:
        try:
            vote, reply = await ask_once(voter, turns, scale, rereads, restricted)
        except (JudgeError, RequestError) as error:
            return votes + [Vote(None, str(error))] * (rounds - len(votes))
        votes.append(vote)
        turns = (*turns, said(reply), Turn("user", text_of("again")))
    return votes


async def ask_all(
    voters: Sequence[Voter], first: str, scale: Scale, rereads: int, restricted: bool = False
) -> list[Vote]:
    """Ask each voter once, none of which sees another one's vote."""
    asked = (converse(voter, first, scale, 1, rereads, restricted) for voter in voters)
    return [vote for votes in await asyncio.gather(*asked) for vote in votes]


async def ask_once(
    voter: Voter, turns: tuple[Turn, ...], scale: Scale, rereads: int, restricted: bool = False
) -> tuple[Vote, str]:
    """Ask for one vote, again where the reply cannot be read.

    Returns:
        The vote, and the reply that it was read from.

    Raises:
        RequestError: The judge cannot be asked.
        JudgeError: It cannot be talked to.
    """
    asked, reply = turns, ""
    for attempt in range(rereads + 1):
        seed = voter.seed if voter.seed is None or not attempt else voter.seed + 7919 * attempt
        request = ChatRequest(asked, scale.schema, voter.temperature, seed, restricted=restricted)
        reply = await voter.judge.chat(request)
        value = scale.read(reply)
        if value is not None:
            return Vote(value), reply
        asked = (*turns, said(reply), Turn("user", text_of("form")))
    return Vote(None, f"no readable score in {rereads + 1} replies, the last: {reply.strip()[:60]!r}"), reply


def said(reply: str) -> Turn:
    """A judge's reply as a turn, without its reasoning; chat templates refuse an empty one."""
    return Turn("assistant", without_reasoning(reply)[:MAX_REPLY] or "(nothing)")

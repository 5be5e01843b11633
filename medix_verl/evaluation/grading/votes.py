# SPDX-License-Identifier: Apache-2.0
"""Parses the votes of a judge model from its replies, and combines several votes into one value.

After any reasoning, a valid reply has one of three forms: a JSON object, an object in a code fence and nothing else, or
text without braces followed by an object. Without constrained decoding, a judge may quote the candidate, so no other
form is accepted: an object followed by text, a truncated object, several objects, or a code fence with text around it.
Lines marked as the candidate's, with "> " or by the prompt's fences, are ignored.

The functions accept any text and return a vote in [0, 1] or None; they do not raise. An unreadable reply is None, not a
vote for "wrong".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["OPENER", "majority", "mean", "read_binary", "read_met", "read_report", "without_reasoning"]

MAX_CHARS = 20_000
"""Maximum length of a reply without its reasoning; a longer one is unreadable."""
CLOSER = re.compile(r"<\s*/\s*think(?:ing)?\s*>", re.IGNORECASE)
OPENER = re.compile(r"<\s*think(?:ing)?\s*>", re.IGNORECASE)
"""An opening tag that remains after the reasoning was removed: what follows it is unfinished reasoning."""
OPENED = re.compile(r"```(?:json)?", re.IGNORECASE)
"""The beginning of a code fence."""
FENCE = re.compile(r"={5}[0-9a-f]{16}={5}")
"""The line before and after the candidate in a prompt (medix_verl.judge.prompt)."""
QUOTED = ">"
"""Prefix of the candidate's lines in a prompt."""
NUMBER = re.compile(r"[0-9](?:\.[0-9]{1,6})?")
REPORT_TOP = 5


def read_binary(reply: str) -> float | None:
    """The vote of `{"score": 0}` or `{"score": 1}`; None for other values."""
    score = number_of(verdict(reply).get("score"))
    return score if score in (0.0, 1.0) else None


def read_report(reply: str) -> float | None:
    """The vote of `{"score": 0 to 5}`, divided by 5."""
    score = number_of(verdict(reply).get("score"))
    return score / REPORT_TOP if score is not None and 0 <= score <= REPORT_TOP else None


def read_met(reply: str) -> float | None:
    """The vote of `{"criteria_met": true}` or false, as 1 or 0."""
    return flag_of(verdict(reply).get("criteria_met"))


def majority(votes: Sequence[float | None]) -> float | None:
    """1 or 0 if more than half of all votes, including unreadable ones, have that value; else None."""
    if votes.count(1.0) * 2 > len(votes):
        return 1.0
    return 0.0 if votes.count(0.0) * 2 > len(votes) else None


def mean(votes: Sequence[float | None]) -> float | None:
    """The mean of the readable votes if they are more than half of all; else None."""
    read = [vote for vote in votes if vote is not None]
    # Exact sum and an upper bound, so that rounding cannot give more than 1.
    return min(1.0, math.fsum(read) / len(read)) if len(read) * 2 > len(votes) else None


def without_reasoning(reply: str) -> str:
    """The text after the last closed thinking block."""
    ends = [found.end() for found in CLOSER.finditer(reply)]
    return reply[ends[-1] :].strip() if ends else reply.strip()


def verdict(reply: str) -> dict[str, Any]:
    """The only JSON object of a reply, at its end; empty if there is none or more than one."""
    said = without_reasoning(reply)
    if len(said) > MAX_CHARS or OPENER.search(said):
        return {}
    text = own_words(said)
    whole = parse(unfenced(text))
    if whole is not None:
        return whole
    start = text.rfind("{")
    alone = start >= 0 and "{" not in text[:start] and "}" not in text[:start]
    return (parse(text[start:]) if alone else None) or {}


def own_words(said: str) -> str:
    """A reply without quoted lines of the candidate."""
    kept, is_candidate = [], False
    for line in said.splitlines():
        mark = line.strip()
        if FENCE.fullmatch(mark):
            is_candidate = not is_candidate
        elif not is_candidate and not mark.startswith(QUOTED):
            kept.append(line)
    return "\n".join(kept).strip()


def unfenced(text: str) -> str:
    """The content of a code fence that spans the whole text; any other text unchanged."""
    found = OPENED.match(text)
    return text[found.end() : -3] if found and text.endswith("```") and len(text) >= found.end() + 3 else text


def parse(text: str) -> dict[str, Any] | None:
    """The whole text as a JSON object with unique keys; else None."""
    try:
        pairs = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None
    return pairs if isinstance(pairs, dict) else None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject an object with a duplicate key, because its value would be ambiguous."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def number_of(value: Any) -> float | None:
    """A number from 0 to 5, or a string with a one-digit number ("1", "4.5"); None for anything else, also booleans."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= REPORT_TOP else None


def flag_of(value: Any) -> float | None:
    """1 or 0 for a boolean, or for a string "true" or "false"; else None."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    return float(value) if isinstance(value, bool) else None

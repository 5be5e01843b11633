# SPDX-License-Identifier: Apache-2.0
"""Reads what a judge model voted, and makes one value of several votes.

A reply is a JSON object with one closed key, perhaps behind reasoning, in a code fence or after a sentence. Any text
comes in; a vote in [0, 1] or None comes out, never an exception and never a value outside the scale: a reply that
cannot be read is no vote for "wrong". Where a reply holds several objects they must say the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["OPENER", "majority", "mean", "read_binary", "read_met", "read_report", "without_reasoning"]

MAX_CHARS = 20_000
"""Only the end of a longer reply is read; reasoning comes first."""
CLOSER = re.compile(r"<\s*/\s*think(?:ing)?\s*>", re.IGNORECASE)
OPENER = re.compile(r"<\s*think(?:ing)?\s*>", re.IGNORECASE)
"""One that is never closed: what stands behind it was thought and not said."""
FLAT_OBJECT = re.compile(r"\{[^{}]*\}")
CODE_FENCE = re.compile(r"```(?:json)?", re.IGNORECASE)
NUMBER = re.compile(r"[0-9](?:\.[0-9]{1,6})?")
REPORT_TOP = 5


def read_binary(reply: str) -> float | None:
    """The vote of `{"score": 0}` or `{"score": 1}`; nothing between them is one."""
    score = agreed([number_of(found.get("score")) for found in objects(reply, "score")])
    return score if score in (0.0, 1.0) else None


def read_report(reply: str) -> float | None:
    """The vote of `{"score": 0 to 5}`, divided by 5."""
    score = agreed([number_of(found.get("score")) for found in objects(reply, "score")])
    return score / REPORT_TOP if score is not None and 0 <= score <= REPORT_TOP else None


def read_met(reply: str) -> float | None:
    """The vote of `{"criteria_met": true}` or false, as 1 or 0."""
    return agreed([flag_of(found.get("criteria_met")) for found in objects(reply, "criteria_met")])


def majority(votes: Sequence[float | None]) -> float | None:
    """1 or 0 where more than half of all votes say so, those that could not be read among them; else None."""
    if votes.count(1.0) * 2 > len(votes):
        return 1.0
    return 0.0 if votes.count(0.0) * 2 > len(votes) else None


def mean(votes: Sequence[float | None]) -> float | None:
    """The mean of the votes that could be read, where they are more than half of all; else None."""
    read = [vote for vote in votes if vote is not None]
    # Summed exactly and kept inside: three times 1/3 must not become more than 1.
    return min(1.0, math.fsum(read) / len(read)) if len(read) * 2 > len(votes) else None


def without_reasoning(reply: str) -> str:
    """What stands behind the last closed thinking block."""
    ends = [found.end() for found in CLOSER.finditer(reply)]
    return reply[ends[-1] :].strip() if ends else reply.strip()


def objects(reply: str, key: str) -> list[dict[str, Any]]:
    """The JSON objects of a reply that have the key: the whole text, or the flat objects in it."""
    said = OPENER.split(without_reasoning(reply[-MAX_CHARS:]), maxsplit=1)[0]
    text = CODE_FENCE.sub("", said).strip()
    whole = parse(text)
    found = [whole] if whole is not None else [parse(match[0]) for match in FLAT_OBJECT.finditer(text)]
    return [item for item in found if item is not None and key in item]


def parse(text: str) -> dict[str, Any] | None:
    """The JSON object that is the whole text, each key given once; else None."""
    try:
        pairs = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None
    return pairs if isinstance(pairs, dict) else None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object with a key that is there twice: which one counts is anybody's guess."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def number_of(value: Any) -> float | None:
    """A finite number, or a text that is a plain one digit number ("1", "4.5"); a boolean is none."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= REPORT_TOP else None


def flag_of(value: Any) -> float | None:
    """A boolean, or one as a text."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    return float(value) if isinstance(value, bool) else None


def agreed(values: list[float | None]) -> float | None:
    """The one value that all of them are; None where there is none, or they differ."""
    return values[0] if values and len(set(values)) == 1 else None

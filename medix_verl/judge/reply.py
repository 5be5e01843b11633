# SPDX-License-Identifier: Apache-2.0
"""Reads a judge model's reply: exactly one verdict of the closed set {YES, NO}, and P(YES) of its log-probabilities.

White space, case, bold marks and one final full stop are forgiven; a sentence that contains a verdict is not one. What
cannot be read is a failure of the judge, never a NO.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medix_verl.errors import JudgeError

__all__ = ["TOP_LOGPROBS", "VERDICTS", "Reply", "probability_of_yes", "read_verdict"]

VERDICTS = {"YES": True, "NO": False}
PLAIN = re.compile(r"\*\*(yes|no)(?:\.\*\*|\*\*\.?)|(yes|no)\.?", re.IGNORECASE | re.ASCII)
MAX_CHARS = 200
TOP_LOGPROBS = 20
"""Alternatives to ask for, the most that vLLM and OpenAI give by default; spellings share the mass."""
AROUND = " \t\r\n*\"'.\u2581\u0120\u010a"
"""What may stand around the word in a token; the last three are how tokenizers write a space or a line's end."""
WHOLE = {"YES": "YES", "NO": "NO"}
PIECES = {"Y": "YES", "YE": "YES", "N": "NO"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge model said."""

    text: str
    probability: float | None = None
    """P(YES), where log-probabilities were asked for and came."""


def read_verdict(reply: str, structured: str = "none") -> bool:
    """Read one reply.

    Args:
        reply: The text of the judge model's message.
        structured: `json_schema` where the reply must be {"verdict": "YES"}; otherwise it is the bare word.

    Returns:
        True for YES, False for NO.

    Raises:
        JudgeError: The reply is anything else.
    """
    text = reply.strip()
    if len(text) <= MAX_CHARS:
        word = json_word(text) if structured == "json_schema" else plain_word(text)
        if word in VERDICTS:
            return VERDICTS[word]
    raise JudgeError(f"the judge's reply is no verdict: {text[:60]!r}; accepted: exactly YES or NO")


def plain_word(text: str) -> str:
    """The verdict that is the whole text, or ""."""
    found = PLAIN.fullmatch(text)
    return (found[1] or found[2]).upper() if found else ""


def json_word(text: str) -> str:
    """The verdict in an object with that one key, given once, or ""."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(pairs, list) or len(pairs) != 1 or not isinstance(pairs[0], tuple):
        return ""
    key, value = pairs[0]
    return value.strip().upper() if key == "verdict" and isinstance(value, str) else ""


def probability_of_yes(logprobs: Any) -> float | None:
    """P(YES) in the `logprobs` of a chat completion's choice: the mass on YES over the mass on YES and NO.

    Only the first token that says something is read, over all its spellings ("YES", " Yes", "yes"). A server whose
    tokenizer cuts the word ("Y" + "ES") is read by the pieces, but only then: a "N" among whole words may begin
    anything.

    Args:
        logprobs: What the server sent, of any shape.

    Returns:
        A number in [0, 1], or None where there is no readable YES or NO.
    """
    position = first_word(logprobs)
    if position is None:
        return None
    words = {**WHOLE, **PIECES} if word_of(position["token"]) in PIECES else WHOLE
    mass = {"YES": 0.0, "NO": 0.0}
    for token, share in alternatives(position):
        verdict = words.get(word_of(token))
        if verdict is not None:
            mass[verdict] += share
    both = mass["YES"] + mass["NO"]
    return mass["YES"] / both if both > 0 else None


def first_word(logprobs: Any) -> Mapping[str, Any] | None:
    """The first position whose token is more than white space and marks."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    for position in content if isinstance(content, list) else []:
        if not isinstance(position, Mapping) or not isinstance(position.get("token"), str):
            return None
        if word_of(position["token"]):
            return position
    return None


def alternatives(position: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Token and probability of each alternative at a position, each token once; what makes no sense is left out."""
    top = position.get("top_logprobs")
    seen = set()
    for entry in [*(top if isinstance(top, list) else []), position]:
        if not isinstance(entry, Mapping):
            continue
        token, value = entry.get("token"), entry.get("logprob")
        if (
            not isinstance(token, str)
            or token in seen
            or isinstance(value, bool)
            or not isinstance(value, (int, float))
        ):
            continue
        seen.add(token)
        if not math.isnan(value):
            yield token, math.exp(min(float(value), 0.0))


def word_of(token: str) -> str:
    """The token without what may stand around it, in capitals."""
    return token.strip(AROUND).upper()

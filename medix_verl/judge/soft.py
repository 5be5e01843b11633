# SPDX-License-Identifier: Apache-2.0
"""Reads P(YES) from the log-probabilities of a reply: the mass on YES over the mass on YES and NO.

Only the first token that says something is read, over all its spellings ("YES", " Yes", "yes"). A server whose
tokenizer cuts the word ("Y" + "ES") is read by the pieces, but only then: a "N" among whole words may begin anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["TOP_LOGPROBS", "probability_of_yes"]

TOP_LOGPROBS = 20
"""Alternatives to ask for, the most that vLLM and OpenAI give by default; spellings share the mass."""
AROUND = " \t\r\n*\"'.\u2581\u0120\u010a"
"""What may stand around the word in a token; the last three are how tokenizers write a space or a line's end."""
WHOLE = {"YES": "YES", "NO": "NO"}
PIECES = {"Y": "YES", "YE": "YES", "N": "NO"}


def probability_of_yes(logprobs: Any) -> float | None:
    """Read the `logprobs` of a chat completion's choice.

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

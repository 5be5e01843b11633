# SPDX-License-Identifier: Apache-2.0
"""Reads a judge model's reply: exactly one verdict of the closed set {YES, NO}, or a JudgeError.

White space, case, bold marks and one final full stop are forgiven; a sentence that contains a verdict is not one. What
cannot be read is a failure of the judge, never a NO.
"""

from __future__ import annotations

import json
import re

from medix_verl.errors import JudgeError

__all__ = ["VERDICTS", "read_verdict"]

VERDICTS = {"YES": True, "NO": False}
PLAIN = re.compile(r"\*\*(yes|no)(?:\.\*\*|\*\*\.?)|(yes|no)\.?", re.IGNORECASE | re.ASCII)
MAX_CHARS = 200


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

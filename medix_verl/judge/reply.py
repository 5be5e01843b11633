# SPDX-License-Identifier: Apache-2.0
"""Parses a judge model's reply: exactly one verdict of the closed set {YES, NO}, and P(YES) from its log-probabilities.

Accepted around the word: white space, any case, quotes, brackets, bold marks, a box, a code fence, one punctuation mark
at the end, a label (`Verdict: YES`), a trailing special token, JSON with the key `verdict`. All forms are accepted
whatever form was requested, because a server may not enforce it. A sentence that contains a verdict is refused, and so
is a reply with both verdicts. An unreadable reply is a failure of the judge, never a NO.
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
MAX_CHARS = 4000
"""Maximum length of a reply; JSON may contain a reason in addition to the verdict."""
MAX_LAYERS = 8
"""Maximum number of layers around a word."""
PAIRS = (
    *(("```json", "```"), ("```", "```"), ("**", "**"), ("__", "__"), ("*", "*"), ("`", "`"), ('"', '"'), ("'", "'")),
    *(("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u201e", "\u201c"), ("\u00ab", "\u00bb"), ("[", "]"), ("(", ")")),
    *(("\\boxed{", "}"), ("\\text{", "}"), ("\\textbf{", "}"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")),
    *(("<answer>", "</answer>"), ("<verdict>", "</verdict>"), ("<|begin_of_box|>", "<|end_of_box|>")),
)
"""Pairs accepted around a word; half of a pair is not accepted."""
ENDS = (".", ",", "!", ";", "\u3002", "\uff0c", "\uff01")
"""Punctuation of which one mark is accepted after the word."""
LABELS = frozenset({"verdict", "final verdict", "answer", "final answer", "judgment", "judgement", "decision"})
"""Labels accepted before the word, with a colon."""
TOKEN = re.compile(r"(?:<\|[a-z_]{1,30}\|>|</s>|<eos>|<end_of_turn>)\Z", re.ASCII)
"""A special token at the end that the server did not remove."""
SHOWN = 100
"""Characters of a reply that an error shows."""
TOP_LOGPROBS = 20
"""Number of alternatives to request, the most that vLLM and OpenAI give by default; spellings share the mass."""
AROUND = " \t\r\n*\"'.\u2581\u0120\u010a"
"""Characters stripped from a token; the last three are how tokenizers write a space or a newline."""
WHOLE = {"YES": "YES", "NO": "NO"}
PIECES = {"Y": "YES", "YE": "YES", "N": "NO"}


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of a judge model's reply."""

    text: str
    probability: float | None = None
    """P(YES), if log-probabilities were requested and received."""


def read_verdict(reply: str) -> bool:
    """Read one reply.

    Args:
        reply: The text of the judge model's message, without its reasoning.

    Returns:
        True for YES, False for NO.

    Raises:
        JudgeError: The reply is anything else.
    """
    text = reply.strip()
    if len(text) <= MAX_CHARS:
        word = plain_word(text)
        if word in VERDICTS:
            return VERDICTS[word]
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    raise JudgeError(f"the judge's reply is not a verdict: {shown!r}; accepted: exactly YES or NO")


def plain_word(text: str) -> str:
    """The verdict if it is the whole text apart from accepted forms, otherwise ""."""
    ended = labelled = False
    takes_json = True
    for _ in range(MAX_LAYERS):
        text = text.strip()
        if text.isascii() and text.upper() in VERDICTS:
            return text.upper()
        if takes_json and text.startswith("{"):
            return json_word(text)
        opening, inner = without_pair(text)
        label, colon, rest = text.partition(":")
        if opening:
            text, takes_json = inner, takes_json and len(opening) > 1
        elif found := TOKEN.search(text[-40:]):
            text = text[: -len(found[0])]
        elif not ended and text.endswith(ENDS):
            text, ended = text[:-1], True
        elif colon and not labelled and label.strip("*_ ").lower() in LABELS:
            # Both `**Verdict:** YES` and `**Verdict: YES**`.
            opened = label[: len(label) - len(label.lstrip("*_"))]
            rest = rest.strip()
            text, labelled = rest.removeprefix(opened) if rest.startswith(opened) else rest, True
            if opened and not rest.startswith(opened):
                return ""
        else:
            return ""
    return ""


def without_pair(text: str) -> tuple[str, str]:
    """The opening half of the pair around a text, and the text without the pair; "" and the text without one."""
    for opening, closing in PAIRS:
        if len(text) >= len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            return opening, text[len(opening) : len(text) - len(closing)]
    return "", text


def json_word(text: str) -> str:
    """The verdict in an object with one key `verdict`, or ""; other values must not be another verdict."""
    try:
        pairs = json.loads(text, object_pairs_hook=Pairs)
        found = [value for _, value in verdicts_in(pairs)]
    except (ValueError, RecursionError):
        return ""
    if len(found) != 1 or not isinstance(pairs, Pairs) or found[0] not in [value for _, value in pairs]:
        return ""
    word = found[0].strip().upper() if isinstance(found[0], str) and found[0].isascii() else ""
    others = {value.strip().upper() for _, value in pairs if isinstance(value, str)} & set(VERDICTS)
    return word if others == {word} else ""


class Pairs(list[tuple[str, Any]]):
    """A JSON object as its key-value pairs, because a key may occur twice."""


def verdicts_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Every entry whose key contains `verdict`, at any depth."""
    for item in value if isinstance(value, list) else ():
        if isinstance(value, Pairs):
            if "verdict" in item[0].lower():
                yield item
            yield from verdicts_in(item[1])
        else:
            yield from verdicts_in(item)


def probability_of_yes(logprobs: Any) -> float | None:
    """P(YES) in the `logprobs` of a chat completion's choice: the mass on YES over the mass on YES and NO.

    Only the first token with a word is read, over all its spellings ("YES", " Yes", "yes"). If the tokenizer splits the
    word ("Y" + "ES"), its first piece is read; pieces are ignored otherwise, because an "N" among whole words may begin
    any word.

    Args:
        logprobs: The server's value, of any shape.

    Returns:
        A number in [0, 1], or None if there is no readable YES or NO.
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
    """The first position whose token is more than white space and punctuation."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    for position in content if isinstance(content, list) else []:
        if not isinstance(position, Mapping) or not isinstance(position.get("token"), str):
            return None
        if word_of(position["token"]):
            return position
    return None


def alternatives(position: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Token and probability of each alternative at a position, each token once; invalid entries are left out."""
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
    """The token without the characters of AROUND, in capitals."""
    return token.strip(AROUND).upper()

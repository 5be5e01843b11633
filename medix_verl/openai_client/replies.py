# SPDX-License-Identifier: Apache-2.0
"""Parses a server's answer: a completion, a list of models, or an error and its kind, without the key.

The kind of an error is read from its status and from the codes in its body, never from its text. Parameters that the
server reports as unsupported are found here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any

from medix_verl.errors import MedixError
from medix_verl.types import Failure

__all__ = [
    "CONCERNS_PROMPT",
    "MAX_DETAIL",
    "NOTHING",
    "STRUCTURES",
    "Completion",
    "RequestError",
    "Said",
    "adapt",
    "detail_of",
    "failure_of",
    "hide_key",
    "malformed",
    "read_completion",
    "read_error",
    "read_milliseconds",
    "read_models",
    "read_retry_after",
    "split_reasoning",
    "unsupported",
]

MAX_RETRY_AFTER_S = 60.0
MAX_DETAIL = 300
"""Maximum characters of a server's message in an error; servers may return whole pages."""
MISCONFIGURED_STATUS = frozenset({401, 402, 403, 404, 405})
"""HTTP statuses that the next request would get too: the key, the address or the name of the model is wrong."""
UNCLEAR_STATUS = frozenset({403, 404})
"""MISCONFIGURED statuses that some servers also send for a single prompt; without a code, other requests decide."""
CONCERNS_ALL = frozenset({
    *("model_not_found", "invalid_model", "unknown_model", "deploymentnotfound", "not_found_error"),
    *("invalid_api_key", "invalid_authentication", "authentication_error", "api_key_invalid", "unauthenticated"),
    *("insufficient_quota", "exceeded_current_quota_error", "insufficient_balance", "billing_not_active"),
    *("billing_hard_limit_reached", "account_deactivated", "invalid_organization", "ip_not_authorized"),
    *("unsupported_country_region_territory",),
})  # fmt: skip
"""Error codes that every request would get, and that waiting does not fix."""
CONCERNS_PROMPT = frozenset({
    *("content_filter", "content_policy_violation", "responsibleaipolicyviolation", "content_moderation"),
    *("moderation", "moderation_blocked", "data_inspection_failed", "invalid_prompt", "prompt_blocked"),
    *("context_length_exceeded", "string_above_max_length"),
})  # fmt: skip
"""Error codes that concern one prompt."""
CONCERNS_RATE = frozenset({
    *("rate_limit_exceeded", "rate_limit_error", "rate_limit_reached_error", "too_many_requests", "resource_exhausted"),
})  # fmt: skip
"""Error codes of a rate limit, whatever the status."""
TEMPORARY_STATUS = frozenset({408, 409, 425})
"""HTTP statuses under 500 after which the same request may succeed."""


class RequestError(MedixError, RuntimeError):
    """A request got no usable answer; the message never contains the key."""

    def __init__(
        self,
        message: str,
        failure: Failure,
        status: int | None = None,
        retry_after_s: float = 0.0,
        is_unclear: bool = False,
    ) -> None:
        """Store the details of the failure.

        Args:
            message: What was received, in one line.
            failure: Its kind.
            status: The HTTP status, None without an answer.
            retry_after_s: Seconds that the server asks to wait, 0 if it does not.
            is_unclear: Whether a refusal (MISCONFIGURED) may concern this request only: the answer does not say.
        """
        super().__init__(message)
        self.failure = failure
        self.status = status
        self.retry_after_s = retry_after_s
        self.is_unclear = is_unclear

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.failure, self.status, self.retry_after_s, self.is_unclear)


def read_retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for: a number or a date; 0 if missing, invalid or in the past."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return 0.0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    # Comparisons with NaN are False, so "nan" gives 0 too.
    return min(seconds, MAX_RETRY_AFTER_S) if seconds > 0 else 0.0


def read_milliseconds(value: str | None) -> float:
    """Seconds that a header in milliseconds asks for, 0 if missing or invalid."""
    plain = (value or "").strip()
    return min(int(plain) / 1000, MAX_RETRY_AFTER_S) if re.fullmatch(r"[0-9]{1,9}", plain) else 0.0


# Keys in messages ----------------------------------------------------------------------------------------------------

_UNIT = re.compile(r"%[0-9a-f]{2}|\\u00[0-9a-f]{2}|\\x[0-9a-f]{2}|\\.|&#?\w{1,8};|\s+|.", re.IGNORECASE | re.DOTALL)
"""One character of a text, plain or escaped for a URL, JSON, Python or HTML."""
_PIECE = 8
"""Consecutive characters of a key that are masked at any position: a server may repeat a part of the key."""
_TAIL = 4
"""The same for the beginning of a key at the end of a text, which may be truncated."""


def _plain(unit: str) -> str:
    """The character that a match of _UNIT represents."""
    if len(unit) == 1 or unit.isspace():
        return " " if unit.isspace() else unit
    if unit[0] == "%":
        return chr(int(unit[1:], 16))
    if unit[0] == "\\":
        return unit[1] if len(unit) == 2 else chr(int(unit[2:], 16))
    return unescape(unit)[0]


def hide_key(text: str, key: str | None) -> str:
    """A text without the key, whole or in part, plain or escaped."""
    if not key:
        return text
    spans = [(found.start(), found.end()) for found in _UNIT.finditer(text)]
    plain = "".join(_plain(text[start:end]) for start, end in spans)
    key = " ".join(key.split())
    size = min(_PIECE, len(key))
    pieces = {key[start : start + size] for start in range(len(key) - size + 1)}
    hidden = bytearray(len(plain))
    for start in range(len(plain) - size + 1):
        if plain[start : start + size] in pieces:
            hidden[start : start + size] = b"\1" * size
    for left in range(min(size, len(plain)), min(_TAIL, len(key)) - 1, -1):
        if plain.endswith(key[:left]):
            hidden[len(plain) - left :] = b"\1" * left
            break
    if not any(hidden):
        return text
    shown: list[str] = []
    for (start, end), is_hidden, follows in zip(spans, hidden, b"\0" + hidden, strict=False):
        if not is_hidden:
            shown.append(text[start:end])
        elif not follows:
            shown.append("***")
    return "".join(shown)


def detail_of(raw: bytes, key: str | None) -> str:
    """A server's message in an error body, in one line: masked first, then truncated."""
    return hide_key(" ".join(raw.decode("utf-8", "replace").split()), key)[:MAX_DETAIL]


# Replies -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Completion:
    """The first choice of a chat completion."""

    text: str
    """The message; empty if the server sends none (null)."""
    reasoning: str | None = None
    """The model's reasoning, if the server returns it separately."""
    finish_reason: str | None = None
    """`stop`, `length` (cut at the limit), `content_filter` or another value of the server."""
    logprobs: Any = None
    """Log-probabilities as the server sends them; None if there are none."""
    usage: Mapping[str, int] = field(default_factory=dict)
    """Token counts: `prompt_tokens`, `completion_tokens`."""


def read_completion(raw: bytes) -> Completion:
    """Parse a chat completion.

    Args:
        raw: The body of an answer, as returned by OpenAIClient.post.

    Raises:
        RequestError: It is not a chat completion (Failure.MALFORMED).
    """
    try:
        # Decoded here, because json would detect other encodings of bytes.
        reply = json.loads(raw.decode())
        choice = reply["choices"][0]
        message = choice["message"]
        text, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        finish, logprobs, usage = choice.get("finish_reason"), choice.get("logprobs"), reply.get("usage")
        refusal = message.get("refusal")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise malformed(f"the server's answer has no message ({type(error).__name__})") from None
    if isinstance(text, list) and text:
        text, thought = _joined(text)
        reasoning = reasoning or thought
    if text is not None and not isinstance(text, str):
        raise malformed(f"the message in the server's answer is {type(text).__name__}, not text")
    if not text and (refusal or finish == "content_filter"):
        said = f": {' '.join(refusal.split())[:MAX_DETAIL]}" if isinstance(refusal, str) else " (content filter)"
        raise RequestError(f"the model refuses to answer{said}", Failure.REFUSED, 200)
    counts = {name: value for name, value in usage.items() if type(value) is int} if isinstance(usage, dict) else {}
    return Completion(text or "", str(reasoning) if reasoning else None, finish, logprobs, counts)


def _joined(parts: list[Any]) -> tuple[Any, str]:
    """Text and reasoning of a message in parts, such as [{"type": "thinking", ...}, {"type": "text", "text": ...}].

    If a part has another type, the list itself is returned as the text.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        kind, inner = (part.get("type"), part) if isinstance(part, dict) else (None, {})
        if kind in ("text", "output_text") and isinstance(inner.get("text"), str):
            texts.append(inner["text"])
        elif kind in ("thinking", "reasoning"):
            thoughts.append(str(inner.get("thinking") or inner.get("text") or ""))
        else:
            return parts, ""
    return "".join(texts), "\n".join(thoughts)


THINKING = (
    *(("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"), ("<unused94>", "<unused95>")),
    *(("\u25c1think\u25b7", "\u25c1/think\u25b7"), ("<seed:think>", "</seed:think>"), ("<thought>", "</thought>")),
)
"""Delimiters of a model's reasoning: DeepSeek's and Qwen's, Magistral's, MedGemma's, Kimi's, Seed's."""
CHANNEL = "<|channel|>final<|message|>"
"""Precedes the final answer of a model in harmony format, if the server does not split it."""


def split_reasoning(completion: Completion) -> Completion:
    """Move a `<think>...</think>` block at the beginning of a completion's text to its reasoning.

    For callers that need the answer only. The opening tag may be missing, because many chat templates write it into the
    prompt. If the block does not end, the text is empty: the reply was truncated during the reasoning.
    """
    text = completion.text.lstrip()
    thought, mark, rest = text.rpartition(CHANNEL)
    if not mark:
        for opening, closing in THINKING:
            if text.startswith(opening):
                thought, mark, rest = text[len(opening) :].partition(closing)
                mark = opening
                break
            before, closed, behind = text.partition(closing)
            if closed and opening not in before:
                thought, mark, rest = before, closed, behind
                break
    if not mark:
        return completion
    known = [completion.reasoning] if completion.reasoning else []
    return replace(completion, text=rest.lstrip(), reasoning="\n".join([*known, thought.strip()]))


def read_models(raw: bytes) -> list[str]:
    """The names in a list of models."""
    try:
        return [str(item["id"]) for item in json.loads(raw)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise malformed(f"the server's answer lists no models ({type(error).__name__})") from None


def malformed(message: str, status: int | None = 200) -> RequestError:
    """The error of an answer that cannot be parsed."""
    return RequestError(message, Failure.MALFORMED, status)


@dataclass(frozen=True, slots=True)
class Said:
    """The content of an error body: its message, and its machine-readable codes."""

    message: str
    codes: frozenset[str]
    """Its codes and types, in lower case with `_`."""
    number: int | None = None
    """A numeric code, such as an HTTP status."""
    about_model: bool = False
    """Whether it names the parameter `model`."""


NOTHING = Said("", frozenset())


def read_error(raw: bytes) -> Said | None:
    """The error object in a body (OpenAI, vLLM, Azure, Google, FastAPI); None if the body has none."""
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if isinstance(reply, list) and len(reply) == 1:
        reply = reply[0]
    if not isinstance(reply, dict) or reply.get("choices"):
        return None
    error = reply.get("error") or (reply if reply.get("object") == "error" else None)
    if error is None:
        return None
    if not isinstance(error, dict):
        return Said(str(error), _codes_in(reply))
    inner = error.get("innererror") or error.get("inner_error")
    codes = _codes_in(error) | (_codes_in(inner) if isinstance(inner, dict) else frozenset())
    number = error.get("code") if type(error.get("code")) is int else None
    return Said(str(error.get("message") or json.dumps(error)), codes, number, error.get("param") == "model")


def _codes_in(error: Mapping[str, Any]) -> frozenset[str]:
    """The codes in an error object; each is a word of a closed set of its server, never a sentence."""
    found = (error.get(name) for name in ("code", "type", "status", "reason"))
    return frozenset(code.lower().replace("-", "_") for code in found if isinstance(code, str))


def failure_of(status: int, said: Said = NOTHING) -> tuple[Failure, bool]:
    """Classify an HTTP status other than 200 and redirects, together with the body's error.

    Returns:
        The failure, and whether it may concern this request only (unclear) rather than every request.
    """
    if said.codes & CONCERNS_PROMPT and 400 <= status < 500:
        return Failure.REFUSED, False
    if 400 <= status < 500 and (said.codes & CONCERNS_ALL or (status == 404 and said.about_model)):
        return Failure.MISCONFIGURED, False
    if status == 429 or (400 <= status < 500 and said.codes & CONCERNS_RATE):
        return Failure.RATE_LIMITED, False
    if status >= 500 or status in TEMPORARY_STATUS:
        return Failure.SERVER_ERROR, False
    if status in MISCONFIGURED_STATUS:
        return Failure.MISCONFIGURED, status in UNCLEAR_STATUS
    return (Failure.REFUSED if status >= 400 else Failure.MALFORMED), False


# Parameters that a server does not take ------------------------------------------------------------------------------

STRUCTURES = ("structured_outputs", "response_format")
"""Parameters that restrict a reply to a form."""
_ADAPTABLE = ("max_tokens", "temperature", "logprobs", "seed", "encoding_format", *STRUCTURES)
"""Parameters that can be removed or renamed so that a server still answers the request."""
_NOT_TAKEN = re.compile(
    r"unsupported|not (?:support|allowed|permitted|available)|unrecogni[sz]ed|unknown|unexpected|unavailable"
    r"|extra_forbidden",
    re.IGNORECASE,
)


def unsupported(raw: bytes, sent: bytes) -> str | None:
    """The parameter of a request that an error body reports as unsupported; None if it names none."""
    try:
        body = json.loads(sent)
    except (ValueError, RecursionError):
        return None
    for text in _complaints(raw) if isinstance(body, dict) else ():
        if _NOT_TAKEN.search(text):
            for name in _ADAPTABLE:
                if name in body and re.search(rf"\b(?:top_)?{name.replace('_', '[_ ]')}\b", text):
                    return name
    return None


def adapt(body: bytes, names: Iterable[str]) -> bytes:
    """A request without the parameters that a server does not support."""
    changed = json.loads(body)
    for name in names:
        value = changed.pop(name, None)
        if name == "max_tokens" and value is not None:
            changed["max_completion_tokens"] = value
        if name == "logprobs":
            changed.pop("top_logprobs", None)
    return json.dumps(changed).encode("ascii")


def _complaints(raw: bytes) -> list[str]:
    """The messages of an error body, each with the parameter's name; without the parts that repeat the request."""
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    if not isinstance(reply, dict):
        return []
    error = reply.get("error") or reply.get("detail") or reply
    # OpenAI's object, FastAPI's list, or a text.
    items = error if isinstance(error, list) else [error]
    names = ("param", "code", "loc", "type", "msg", "message")
    return [
        " ".join(str(item[name]) for name in names if item.get(name)) if isinstance(item, dict) else str(item)
        for item in items
    ]

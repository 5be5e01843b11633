# SPDX-License-Identifier: Apache-2.0
"""What goes over the wire: the bytes of one chat completion request, and what a server's answer means.

The part of a request that never changes is encoded once. An answer is a Reply, a TemporaryError for what may pass (an
overloaded or broken server, half a body), or a JudgeError for what stays. The API key is read here, and is in no
message, log or repr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.judge.retry import PASSING_STATUS, TemporaryError
from medix_verl.judge.soft import TOP_LOGPROBS, probability_of_yes
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.verdict import VERDICTS

__all__ = ["EndpointError", "Reply", "fixed_part", "read_key", "read_reply", "request_body"]

MAX_TOKENS = {"choice": 4, "json_schema": 32, "none": 8}
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": list(VERDICTS)}},
    "required": ["verdict"],
    "additionalProperties": False,
}
STRUCTURE_WORDS = ("structured_outputs", "response_format")
"""What a server names that does not take the way in which a reply is held to a verdict."""
STRUCTURE: dict[str, dict[str, Any]] = {
    # vLLM's name since 0.12 (before: guided_choice); see its ChatCompletionRequest.structured_outputs.
    "choice": {"structured_outputs": {"choice": list(VERDICTS)}},
    "json_schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
        }
    },
    "none": {},
}
ENDPOINT_STATUS = frozenset({401, 403, 404})
"""Statuses that speak of the server, not of the question: another server may do better."""
MAX_DETAIL = 20_000
"""Bytes of an error page that are read; servers answer with whole pages."""


class EndpointError(JudgeError):
    """A refusal that lies with this server (no such model, no access); asking it again is useless."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge model said."""

    text: str
    probability: float | None = None
    """P(YES), where log-probabilities were asked for and came."""


def fixed_part(spec: JudgeSpec, model: str) -> bytes:
    """Everything of a request before the prompt; it ends where the prompt's JSON string goes."""
    body: dict[str, Any] = {
        "model": model,
        # 0.0 is 0: a cache's key is made of these bytes.
        "temperature": spec.temperature or 0,
        # Not 1 for a soft verdict: a tokenizer that cuts the word would give no readable verdict.
        "max_tokens": MAX_TOKENS[spec.structured],
        **STRUCTURE[spec.structured],
    }
    if spec.seed is not None:
        body["seed"] = spec.seed
    if spec.soft:
        body.update(logprobs=True, top_logprobs=TOP_LOGPROBS)
    return json.dumps(body)[:-1].encode() + b', "messages": [{"role": "user", "content": '


def request_body(fixed: bytes, prompt: str) -> bytes:
    """The request's JSON; what UTF-8 cannot hold is escaped."""
    return b"".join((fixed, json.dumps(prompt).encode("ascii"), b"}]}"))


def read_key(variable: str | None) -> str | None:
    """The API key in an environment variable.

    Raises:
        ConfigError: The variable is not set, or holds what cannot be a key; the message never has the value.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"judge.api_key_env names {variable}, which is not set; type: export {variable}=...{_where_to_set()}"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the environment variable {variable} holds characters that no API key has; set it again")
    return key


def _where_to_set() -> str:
    """A worker has the environment of the node that it runs on, and nothing of the shell that started the run."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return ""
    return (
        " before `ray start` on every node, or give it to the job: ray job submit --runtime-env FILE, as "
        "examples/cluster/ray.sh does (not as an override: verl prints its configuration)"
    )


def read_reply(status: int, headers: Mapping[str, str], raw: bytes, soft: bool = False) -> Reply:
    """The message in a server's answer.

    Args:
        status: HTTP status.
        headers: HTTP headers.
        raw: The body.
        soft: Whether log-probabilities were asked for.

    Raises:
        TemporaryError: A status that may pass, or a body that is no chat completion.
        EndpointError: A refusal that lies with this server.
        JudgeError: Any other status, or a completion without text.
    """
    if status != 200:
        raise refusal(status, headers, raw)
    try:
        choice = json.loads(raw)["choices"][0]
        content = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise TemporaryError(f"the server's answer has no message ({type(error).__name__})", kind="garbage") from error
    if not isinstance(content, str):
        raise JudgeError(f"the judge's message is {type(content).__name__}, not text")
    return Reply(content, probability_of_yes(choice.get("logprobs")) if soft else None)


def refusal(status: int, headers: Mapping[str, str], raw: bytes) -> JudgeError:
    """The error that an HTTP status is."""
    detail = " ".join(raw[:MAX_DETAIL].decode("utf-8", "replace").split())
    message = f"HTTP {status}" + (f": {detail}" if detail else "")
    if status in PASSING_STATUS or status >= 500:
        return TemporaryError(message, headers.get("Retry-After"), kind="busy" if status == 429 else "status")
    if status in (400, 422) and any(word in detail for word in STRUCTURE_WORDS):
        message += "; a server that does not know this needs judge.structured=json_schema (OpenAI's), or none"
    return EndpointError(message) if status in ENDPOINT_STATUS else JudgeError(message)

# SPDX-License-Identifier: Apache-2.0
"""A free conversation with a judge model: what an evaluation asks that is no yes or no.

Training asks one closed question and never uses this. The reply's form is a JSON schema where the server is asked to
keep to one; reading the reply, and refusing what it must not be, is the asker's business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ChatRequest", "Turn", "chat_body"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation so far, and how its next message is to be made."""

    turns: tuple[Turn, ...]
    schema: Mapping[str, Any] | None = None
    """JSON schema of the reply; None leaves it free."""
    temperature: float = 0
    seed: int | None = None
    max_tokens: int = 512


def chat_body(request: ChatRequest, model: str, structured: str) -> bytes:
    """The JSON of one chat completion request; what UTF-8 cannot hold is escaped.

    Args:
        request: What to ask.
        model: Name of the model.
        structured: JudgeSpec.structured; `none` sends no schema. vLLM takes OpenAI's `response_format` as well, so the
            other two are the same here.
    """
    body: dict[str, Any] = {
        "model": model,
        "temperature": request.temperature or 0,
        "max_tokens": request.max_tokens,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.turns],
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.schema is not None and structured != "none":
        schema = {"name": "reply", "strict": True, "schema": dict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return json.dumps(body).encode("ascii")

# SPDX-License-Identifier: Apache-2.0
"""inspect_ai provider `medix/NAME` for a model behind an OpenAI-compatible server, given by base_url.

inspect_ai's own provider removes `<think>` blocks from the text and loses their position. This one keeps the text
unchanged, because training and evaluation parse it with the same parser. Requests use medix_verl.openai_client, which
follows no redirects and ignores proxies from the environment.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from inspect_ai.model import ChatMessage, ContentImage, ContentText, GenerateConfig, ModelAPI, ModelOutput, ModelUsage
from inspect_ai.model import ContentReasoning as Reasoning
from inspect_ai.tool import ToolChoice, ToolInfo

from medix_verl.openai_client import Completion, OpenAIClient, RequestError, read_completion
from medix_verl.response import split_tag

__all__ = ["FINISH", "PER_QUESTION", "ServedModel", "request_error", "tokens_of", "usage_of", "whole_text"]

NO_KEY = "none"
"""API key passed to inspect_ai for a server without a key; inspect_ai requires a string."""
MAX_REPLY_BYTES = 16 << 20
PARAMETERS = ("max_tokens", "temperature", "top_p", "top_k", "seed")
PER_QUESTION = frozenset({400, 413, 422})
"""HTTP statuses that concern a single question: it is too long, for example, or has too many pictures."""
FINISHED = {"length": "max_tokens", "content_filter": "content_filter"}
FINISH = "finish"
"""Key of an output's metadata for how the answer ended (medix_verl.evaluation.store.records.FINISHES)."""


class ServedModel(ModelAPI):
    """One model at one server; connections are bound to the event loop that opened them."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        """Store the settings; no request is made."""
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self.timeout_s = timeout_s
        self._client: tuple[asyncio.AbstractEventLoop, OpenAIClient] | None = None

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Send one request; retries are done by inspect_ai, within the limits of its configuration.

        Raises:
            RequestError: The request failed.
        """
        body: dict[str, Any] = {"model": self.model_name, "messages": [wire(message) for message in input]}
        body |= {name: value for name in PARAMETERS if (value := getattr(config, name)) is not None}
        body |= {"stop": config.stop_seqs} if config.stop_seqs else {}
        body |= config.extra_body or {}
        raw = await self.client().post("/chat/completions", json.dumps(body).encode("ascii"))
        return output_of(self.model_name, read_completion(raw))

    def client(self) -> OpenAIClient:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            key = None if self.api_key == NO_KEY else self.api_key
            made = OpenAIClient(
                self.base_url or "", key, timeout_s=self.timeout_s, max_reply_bytes=MAX_REPLY_BYTES, setting="MODEL"
            )
            self._client = (loop, made)
        return self._client[1]

    @property
    def adapted(self) -> frozenset[str]:
        """Request parameters that the server rejected and that are left out."""
        return frozenset() if self._client is None else self._client[1].adapted

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client[1].close()

    def should_retry(self, ex: BaseException) -> bool:
        """Whether the same request may succeed later."""
        return isinstance(ex, RequestError) and ex.failure.is_temporary

    def retry_wait(self) -> Any:
        """Waiting times between retries; inspect_ai's default starts at three seconds and grows to half an hour."""
        from tenacity import wait_exponential, wait_random

        return wait_exponential(multiplier=0.5, max=15) + wait_random(0, 0.5)


def wire(message: ChatMessage) -> dict[str, Any]:
    """A message in the server's format; a message with plain text content keeps it as a string."""
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, ContentImage):
            parts.append({"type": "image_url", "image_url": {"url": part.image}})
        elif isinstance(part, ContentText):
            parts.append({"type": "text", "text": part.text})
    return {"role": message.role, "content": parts}


def output_of(model: str, answer: Completion) -> ModelOutput:
    """A chat completion as an inspect_ai ModelOutput."""
    # A server that parses reasoning removes the tags; the parser of training expects them in the text.
    text = in_place(answer.reasoning, answer.text) if answer.reasoning else answer.text
    stop: Any = FINISHED.get(answer.finish_reason or "", "stop")
    output = ModelOutput.from_content(model, text, stop_reason=stop)
    output.metadata = {FINISH: finish_of(answer)}
    counts = [answer.usage.get(name) for name in COUNTS]
    output.usage = usage_of(counts)
    return output


def usage_of(tokens: Sequence[int | None] | None) -> ModelUsage | None:
    """Token counts of prompt and answer as an inspect_ai ModelUsage; None if a count is missing."""
    given, said = tokens or (None, None)
    if given is None or said is None:
        return None
    return ModelUsage(input_tokens=given, output_tokens=said, total_tokens=given + said)


def tokens_of(output: ModelOutput) -> tuple[int, int] | None:
    """Tokens of the prompt and of the answer; None if the server did not report them."""
    return None if output.usage is None else (output.usage.input_tokens, output.usage.output_tokens)


def finish_of(answer: Completion) -> str:
    """How an answer ended: truncated, filtered, `stop`, or `empty` for an answer without text."""
    if answer.finish_reason in FINISHED:
        return answer.finish_reason
    return "stop" if answer.text.strip() else "empty"


COUNTS = ("prompt_tokens", "completion_tokens")


def request_error(error: BaseException | None) -> RequestError | None:
    """The RequestError in the chain of causes of an error that inspect_ai may have wrapped; None if there is none."""
    while error is not None and not isinstance(error, RequestError):
        error = error.__cause__
    return error


def whole_text(output: ModelOutput) -> str:
    """The model's whole text, with reasoning restored that an inspect_ai provider removed; empty without an answer."""
    if not output.choices:
        return ""
    message = output.message
    if isinstance(message.content, str):
        return message.content
    thoughts = [part.reasoning for part in message.content if isinstance(part, Reasoning)]
    text = "".join(part.text for part in message.content if isinstance(part, ContentText))
    return in_place("\n".join(thoughts), text) if any(thoughts) else text


def in_place(reasoning: str, text: str) -> str:
    """Insert the reasoning into a text: after the modality tag if there is one, else at the start."""
    _, start = split_tag(text)
    return f"{text[:start]}<think>{reasoning}</think>{text[start:]}"

# SPDX-License-Identifier: Apache-2.0
"""The evaluated model behind an OpenAI-compatible server, as inspect_ai calls it: `medix/NAME` with a base_url.

inspect_ai's own provider lifts `<think>` blocks out of the text and forgets where they stood; here the text stays as
the model wrote it, because the one parser of training and evaluation reads it. Requests go through the package's one
client, which follows no redirect and uses no proxy of the environment.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from inspect_ai.model import ChatMessage, ContentImage, ContentText, GenerateConfig, ModelAPI, ModelOutput, ModelUsage
from inspect_ai.model import ContentReasoning as Reasoning
from inspect_ai.tool import ToolChoice, ToolInfo

from medix_verl.openai_client import Completion, OpenAIClient, RequestError, read_completion
from medix_verl.response import split_tag

__all__ = ["PER_QUESTION", "ServedModel", "request_error", "whole_text"]

NO_KEY = "none"
"""What inspect_ai is given as the key of a server without one; it insists on a text."""
MAX_REPLY_BYTES = 16 << 20
PARAMETERS = ("max_tokens", "temperature", "top_p", "top_k", "seed")
PER_QUESTION = frozenset({400, 413, 422})
"""HTTP statuses that speak of one question: it is too long, say, or has too many pictures."""
FINISHED = {"length": "max_tokens", "content_filter": "content_filter"}


class ServedModel(ModelAPI):
    """One model at one server; connections belong to the event loop that opened them."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        """Keep the settings; nothing is asked yet."""
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self.timeout_s = timeout_s
        self._client: tuple[asyncio.AbstractEventLoop, OpenAIClient] | None = None

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Ask once; whether to ask again is inspect_ai's business, within the limits of its configuration.

        Raises:
            RequestError: The server gave no answer.
        """
        body: dict[str, Any] = {"model": self.model_name, "messages": [wire(message) for message in input]}
        body |= {name: value for name in PARAMETERS if (value := getattr(config, name)) is not None}
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

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client[1].close()

    def should_retry(self, ex: BaseException) -> bool:
        """Whether the same request may succeed later."""
        return isinstance(ex, RequestError) and ex.failure.is_temporary

    def retry_wait(self) -> Any:
        """The library's own first wait is three seconds, and grows to half an hour."""
        from tenacity import wait_exponential, wait_random

        return wait_exponential(multiplier=0.5, max=15) + wait_random(0, 0.5)


def wire(message: ChatMessage) -> dict[str, Any]:
    """A message as the server takes it; a message without pictures is a plain text."""
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
    """A chat completion as inspect_ai keeps it."""
    # A server that parses reasoning has taken the tags away; the parser of training knows the text with them.
    text = in_place(answer.reasoning, answer.text) if answer.reasoning else answer.text
    stop: Any = FINISHED.get(answer.finish_reason or "", "stop")
    output = ModelOutput.from_content(model, text, stop_reason=stop)
    numbers = {name: answer.usage.get(key, 0) for name, key in COUNTS.items()}
    output.usage = ModelUsage(**numbers, total_tokens=sum(numbers.values()))
    return output


COUNTS = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}


def request_error(error: BaseException | None) -> RequestError | None:
    """The client's error behind one that inspect_ai may have wrapped; None where it is another failure."""
    while error is not None and not isinstance(error, RequestError):
        error = error.__cause__
    return error


def whole_text(output: ModelOutput) -> str:
    """The model's whole text, with the reasoning that a provider of inspect_ai has taken out put back in its place."""
    message = output.message
    if isinstance(message.content, str):
        return message.content
    thoughts = [part.reasoning for part in message.content if isinstance(part, Reasoning)]
    text = "".join(part.text for part in message.content if isinstance(part, ContentText))
    return in_place("\n".join(thoughts), text) if any(thoughts) else text


def in_place(reasoning: str, text: str) -> str:
    """A text with its reasoning: behind the modality tag where there is one, else at its beginning."""
    _, start = split_tag(text)
    return f"{text[:start]}<think>{reasoning}</think>{text[start:]}"

# SPDX-License-Identifier: Apache-2.0
"""The evaluated model behind an OpenAI-compatible server, as inspect_ai calls it: `medix/NAME` with a base_url.

inspect_ai's own provider lifts `<think>` blocks out of the text and forgets where they stood; here the text stays as
the model wrote it, because the one parser of training and evaluation reads it. Two more things are refused that the
other one does: to follow a redirect, and to go through the environment's proxy, to an address that nobody named.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from inspect_ai.model import ChatMessage, ContentImage, ContentText, GenerateConfig, ModelAPI, ModelOutput, ModelUsage
from inspect_ai.model import ContentReasoning as Reasoning
from inspect_ai.tool import ToolChoice, ToolInfo

from medix_verl.openai_client import RequestError
from medix_verl.response import split_tag
from medix_verl.types import Failure

if TYPE_CHECKING:
    import aiohttp

__all__ = ["PER_QUESTION", "REFUSES_ALL", "RefusedError", "ServedModel", "refused", "whole_text"]

SHOWN = 300
"""Characters of a server's message that an error shows; servers answer with whole pages."""
KEEP_ALIVE_S = 4.0
PARAMETERS = ("max_tokens", "temperature", "top_p", "top_k", "seed")
PASSING_STATUS = frozenset({408, 409, 425, 429})
"""HTTP statuses under 500 after which the same request may succeed."""
PER_QUESTION = frozenset({400, 413, 422})
"""HTTP statuses that speak of one question: it is too long, say, or has too many pictures."""
REFUSES_ALL = frozenset({401, 402, 403, 404, 405})
"""HTTP statuses that the next question would get too: the key, the address or the model's name is wrong."""
FINISHED = {"length": "max_tokens", "content_filter": "content_filter"}


class RefusedError(RuntimeError):
    """The server answered that it will not answer; asking again would not help."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


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
        self.url = f"{(base_url or '').rstrip('/')}/chat/completions"
        self.timeout_s = timeout_s
        self._session: tuple[asyncio.AbstractEventLoop, aiohttp.ClientSession] | None = None

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Ask once; whether to ask again is inspect_ai's business, within the limits of its configuration.

        Raises:
            RequestError: What may pass.
            RefusedError: What may not.
        """
        body: dict[str, Any] = {"model": self.model_name, "messages": [wire(message) for message in input]}
        body |= {name: value for name in PARAMETERS if (value := getattr(config, name)) is not None}
        body |= config.extra_body or {}
        return read_answer(self.model_name, await self.post(body))

    async def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Post once, and read the answer's JSON."""
        import aiohttp

        try:
            async with self.session().post(self.url, json=body, allow_redirects=False) as answer:
                raw = await answer.text(errors="replace")
                if answer.status != 200:
                    raise refusal(answer.status, raw)
                reply = await answer.json(content_type=None)
        except asyncio.TimeoutError as error:
            raise RequestError(f"no answer within {self.timeout_s:g} s", Failure.TIMEOUT) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RequestError(f"connection failed ({type(error).__name__})", Failure.UNREACHABLE) from error
        if not isinstance(reply, dict):
            raise RequestError("the server's answer is no JSON object", Failure.MALFORMED)
        return reply

    def session(self) -> aiohttp.ClientSession:
        """The connections of the running event loop."""
        import aiohttp

        loop = asyncio.get_running_loop()
        if self._session is None or self._session[0] is not loop:
            session = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {self.api_key}"} if self.api_key else None,
                timeout=aiohttp.ClientTimeout(total=self.timeout_s),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
                trust_env=False,
            )
            self._session = (loop, session)
        return self._session[1]

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session[1].close()

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


def read_answer(model: str, reply: dict[str, Any]) -> ModelOutput:
    """The answer in a chat completion.

    Raises:
        RequestError: There is none.
    """
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        text, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise RequestError(f"the server's answer has no message ({type(error).__name__})", Failure.MALFORMED) from error
    if reasoning:
        # A server that parses reasoning has taken the tags away; the parser of training knows the text with them.
        text = in_place(str(reasoning), text or "")
    stop: Any = FINISHED.get(choice.get("finish_reason"), "stop")
    output = ModelOutput.from_content(model, text or "", stop_reason=stop)
    usage = reply.get("usage") or {}
    numbers = {name: usage.get(key) or 0 for name, key in COUNTS.items()}
    output.usage = ModelUsage(**numbers, total_tokens=sum(numbers.values()))
    return output


COUNTS = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}


def refusal(status: int, raw: str) -> Exception:
    """The error that an HTTP status is."""
    message = f"HTTP {status}: {' '.join(raw.split())[:SHOWN]}"
    if status in PASSING_STATUS or status >= 500:
        return RequestError(message, Failure.SERVER_ERROR, status)
    return RefusedError(message, status)


def refused(error: BaseException | None) -> RefusedError | None:
    """The server's refusal behind an error that inspect_ai may have wrapped; None where it is another failure."""
    while error is not None and not isinstance(error, RefusedError):
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

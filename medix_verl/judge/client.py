# SPDX-License-Identifier: Apache-2.0
"""Asks a judge model behind an OpenAI-compatible server (vLLM, SGLang, verl's own router, a hosted one).

Here and nowhere else live the retry layer, the time limit of one attempt and the limit on requests under way. An
answer that plainly equals its reference is right without a call. Whatever goes wrong becomes a Verdict without
`correct` and with a reason; `ask` raises nothing but a cancellation. The API key is in no message, log or repr.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.judge.equality import equal
from medix_verl.judge.prompt import fill, load_prompt
from medix_verl.judge.retry import PASSING_STATUS, TemporaryError, wait_before
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.verdict import VERDICTS, read_verdict
from medix_verl.types import Reference, Verdict

if TYPE_CHECKING:
    import aiohttp

__all__ = ["OpenAIJudge"]

MAX_TOKENS = {"choice": 4, "json_schema": 32, "none": 8}
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": list(VERDICTS)}},
    "required": ["verdict"],
    "additionalProperties": False,
}
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
MAX_REASON = 300
"""Characters of a reason; servers answer with whole pages."""


@dataclass(slots=True)
class Channel:
    """What belongs to one event loop and cannot be shared with another."""

    session: aiohttp.ClientSession
    limit: asyncio.Semaphore


class OpenAIJudge:
    """Satisfies medix_verl.judge.base.Judge; may be asked from several event loops, each with its own connections."""

    def __init__(self, spec: JudgeSpec, url: str | None = None, model: str | None = None, backoff_s: float = 0.5):
        """Check the settings and read the API key.

        Args:
            spec: Limits, prompt and structure of the reply.
            url: Base address with its version; None takes the spec's.
            model: Name of the model; None takes the spec's.
            backoff_s: Seconds before the first retry; doubles with each.

        Raises:
            ConfigError: No address, no model, no such prompt, or the key's variable is not set.
        """
        address, name = url or spec.url, model or spec.model
        if not address:
            raise ConfigError("the openai judge has no address; set judge.url to http://host:port/v1")
        if not name:
            raise ConfigError("the openai judge has no model; set judge.model to the name that the server lists")
        self.spec = spec
        self.model = name
        self.address = address.rstrip("/") + "/chat/completions"
        self.backoff_s = backoff_s
        self.template = load_prompt(spec.prompt)
        self.channels: WeakKeyDictionary[asyncio.AbstractEventLoop, Channel] = WeakKeyDictionary()
        self._key = read_key(spec.api_key_env)

    def __repr__(self) -> str:
        return f"OpenAIJudge(model={self.model!r}, address={self.address!r})"

    async def ask(self, candidate: str, reference: Reference) -> Verdict:
        """Judge one candidate answer; a failure of the service is a verdict without `correct`."""
        if equal(candidate, reference):
            return Verdict(True, "equality")
        try:
            reply = await self.send(fill(self.template, candidate, reference, self.spec.max_candidate_chars))
            return Verdict(read_verdict(reply, self.spec.structured), self.model)
        except JudgeError as error:
            return Verdict(None, self.model, self.hide_key(str(error))[:MAX_REASON])

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        channel = self.channels.pop(asyncio.get_running_loop(), None)
        if channel is not None:
            await channel.session.close()

    async def send(self, prompt: str) -> str:
        """Post one prompt, again after failures that may pass.

        Raises:
            JudgeError: The server refused, or failed on every attempt.
        """
        attempts = self.spec.max_retries + 1
        for attempt in range(attempts):
            try:
                return await self.attempt(prompt)
            except TemporaryError as error:
                if attempt + 1 == attempts:
                    raise JudgeError(f"no verdict after {attempts} attempts, the last: {error}") from error
                pause = wait_before(attempt, self.backoff_s, error.retry_after, random.random())
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def attempt(self, prompt: str) -> str:
        """Post once, within the limits."""
        import aiohttp

        channel = self.channel()
        async with channel.limit:
            try:
                # A redirect would carry the prompt, and perhaps the key, to an address that nobody set.
                async with channel.session.post(self.address, json=self.body(prompt), allow_redirects=False) as answer:
                    return read_reply(answer.status, answer.headers, await answer.read())
            except asyncio.TimeoutError as error:
                raise TemporaryError(f"no answer within {self.spec.timeout_s:g} s") from error
            except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
                raise JudgeError(f"judge.url is not an address: {self.address!r}") from error
            except (aiohttp.ClientError, OSError) as error:
                raise TemporaryError(f"connection failed ({type(error).__name__})") from error

    def body(self, prompt: str) -> dict[str, Any]:
        """The request's JSON."""
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": MAX_TOKENS[self.spec.structured],
            **STRUCTURE[self.spec.structured],
        }

    def channel(self) -> Channel:
        """The running event loop's session and limit, made when they are first needed."""
        import aiohttp

        loop = asyncio.get_running_loop()
        found = self.channels.get(loop)
        if found is None:
            session = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
                timeout=aiohttp.ClientTimeout(total=self.spec.timeout_s),
                # The semaphore is the one limit; a second one in the connector would count waiting as time out.
                connector=aiohttp.TCPConnector(limit=0),
            )
            found = self.channels[loop] = Channel(session, asyncio.Semaphore(self.spec.max_concurrent))
        return found

    def hide_key(self, text: str) -> str:
        """A server may echo the key in its message."""
        return text.replace(self._key, "***") if self._key else text


def read_key(variable: str | None) -> str | None:
    """The API key in an environment variable.

    Raises:
        ConfigError: The variable is not set, or holds what cannot be a key; the message never has the value.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"judge.api_key_env names {variable}, which is not set; type: export {variable}=...")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the environment variable {variable} holds characters that no API key has; set it again")
    return key


def read_reply(status: int, headers: Mapping[str, str], raw: bytes) -> str:
    """The message in a server's answer.

    Raises:
        TemporaryError: A status that may pass.
        JudgeError: Any other status, or a body without a message.
    """
    if status != 200:
        detail = " ".join(raw[:20_000].decode("utf-8", "replace").split())
        message = f"HTTP {status}" + (f": {detail}" if detail else "")
        if status in PASSING_STATUS or status >= 500:
            raise TemporaryError(message, headers.get("Retry-After"))
        raise JudgeError(message)
    try:
        content = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise JudgeError(f"the server's answer has no message ({type(error).__name__})") from error
    if not isinstance(content, str):
        raise JudgeError(f"the judge's message is {type(content).__name__}, not text")
    return content

# SPDX-License-Identifier: Apache-2.0
"""Servers that answer as real ones document it: what they refuse, and in which words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from medix_verl.judge.judge import Question
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference, Verdict

Handle = Callable[[dict[str, Any]], web.Response | Awaitable[web.Response]]


def says(text: Any, finish: str = "stop", **message: Any) -> web.Response:
    """A completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return web.json_response({"object": "chat.completion", "choices": [choice]})


def error(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    """An error as OpenAI sends it; `more` has its code, its type and its param."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}
    return web.json_response(body, status=status, headers=headers)


class Hosted:
    """A server whose reply is made by a function of the request's body."""

    def __init__(self, handle: Handle, path: str = "/v1") -> None:
        self.handle, self.path = handle, path
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.models = ["m"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.requests.append((str(request.rel_url), dict(request.headers)))
        found = self.handle(body)
        return found if isinstance(found, web.Response) else await found

    async def list(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name} for name in self.models]})

    async def __aenter__(self) -> Hosted:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post(f"{self.path}/chat/completions", self.answer)
        app.router.add_get(f"{self.path}/models", self.list)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, backlog=1024).start()
        self.port: int = self.runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


def prompt_of(body: dict[str, Any]) -> str:
    """What the judge model is shown."""
    return str(body["messages"][-1]["content"])


async def ask_all(spec: JudgeSpec, candidates: Sequence[str]) -> tuple[list[Verdict], JudgePool]:
    """The verdicts on some candidates, asked at once."""
    pool = JudgePool(spec, backoff_s=0.01)
    try:
        reference = Reference("pneumonia", question="What is seen?")
        return await asyncio.gather(*(pool.ask(Question(text, reference)) for text in candidates)), pool
    finally:
        await pool.close()


def judged(handle: Handle, candidates: Sequence[str] = ("a cyst",), **settings: Any) -> tuple[list[Verdict], Hosted]:
    """The verdicts of a judge behind such a server."""

    async def main() -> tuple[list[Verdict], Hosted]:
        async with Hosted(handle) as server:
            given = {"kind": "openai", "model": "m", "url": server.url, "timeout_s": 5.0, **settings}
            return (await ask_all(JudgeSpec(**given), candidates))[0], server

    return asyncio.run(main())


def dumped(value: Any) -> str:
    """JSON."""
    return json.dumps(value)

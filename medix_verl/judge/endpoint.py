# SPDX-License-Identifier: Apache-2.0
"""One judge server: its connections, how many requests it has under way, and whether it is well.

An endpoint belongs to one event loop. It posts once; when to post again, and where, is the dispatcher's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medix_verl.errors import JudgeError
from medix_verl.judge.breaker import Breaker
from medix_verl.judge.retry import TemporaryError
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.wire import EndpointError, Reply, read_reply

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Endpoint", "pick"]

KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s of uvicorn, under vLLM and SGLang, so that we never write to a connection it is closing."""
HEADERS = {"Content-Type": "application/json"}


class Endpoint:
    """One server, within one event loop."""

    def __init__(self, url: str, spec: JudgeSpec, key: str | None) -> None:
        self.url = url.rstrip("/") + "/chat/completions"
        self.spec = spec
        self.active = 0
        self.sent = 0
        self.breaker = Breaker(spec.breaker_failures, spec.breaker_seconds)
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, active={self.active})"

    async def post(self, body: bytes) -> Reply:
        """Send one request, and note what it says of the server's health.

        Raises:
            TemporaryError: What may pass.
            JudgeError: What stays; an EndpointError where another server may do better.
        """
        probe = self.breaker.enter()
        self.active += 1
        self.sent += 1
        try:
            reply = await self.exchange(body)
        except TemporaryError as error:
            # A server that says "too many requests" is well.
            if error.kind != "busy":
                self.breaker.fail(now(), str(error), probe)
            elif probe:
                self.breaker.succeed()
            raise
        except EndpointError as error:
            self.breaker.fail(now(), str(error), probe, refuses=True)
            raise
        except JudgeError:
            self.breaker.succeed()
            raise
        finally:
            self.active -= 1
            self.breaker.leave(probe)
        self.breaker.succeed()
        return reply

    async def exchange(self, body: bytes) -> Reply:
        """Post, and read the answer."""
        import aiohttp

        session = self._session or self.open()
        try:
            # A redirect would carry the prompt, and perhaps the key, to an address that nobody set.
            async with session.post(self.url, data=body, headers=HEADERS, allow_redirects=False) as answer:
                raw = await answer.read()
                return read_reply(answer.status, answer.headers, raw, self.spec.soft)
        except asyncio.TimeoutError as error:
            raise TemporaryError(f"no answer within {self.spec.timeout_s:g} s", kind="timeout") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise JudgeError(f"judge.url is not an address: {self.url!r}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TemporaryError(f"connection failed ({type(error).__name__})", kind="connection") from error

    def open(self) -> aiohttp.ClientSession:
        """The connections, opened when they are first needed."""
        import aiohttp

        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
            timeout=aiohttp.ClientTimeout(total=self.spec.timeout_s),
            # The dispatcher's slots are the one limit; a second one here would count waiting as time out.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def pick(endpoints: Sequence[Endpoint], avoid: Endpoint | None, now_s: float) -> Endpoint | None:
    """The least loaded endpoint that may be sent to, another than `avoid` where there is one; None where all are down.

    A half-open endpoint is chosen before a closed one: its one probe is how it comes back.
    """
    open_ones = [endpoint for endpoint in endpoints if endpoint.breaker.allows(now_s)]
    others = [endpoint for endpoint in open_ones if endpoint is not avoid] or open_ones
    return min(others, key=load, default=None)


def load(endpoint: Endpoint) -> tuple[bool, int, int]:
    """The order of choice; requests sent so far tell apart the idle ones."""
    return endpoint.breaker.opened_at is None, endpoint.active, endpoint.sent


def now() -> float:
    """The running event loop's clock."""
    return asyncio.get_running_loop().time()

# SPDX-License-Identifier: Apache-2.0
"""The one client of OpenAI-compatible servers, against servers that misbehave: real ones, on the loopback address."""

from __future__ import annotations

import asyncio
import gzip
import json
import pickle
import socket
import sys
import time
import traceback
import tracemalloc
import types
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import ConfigError
from medix_verl.openai_client import (
    AddressBook,
    Completion,
    OpenAIClient,
    RequestError,
    check_url,
    http_transport,
    list_models,
    read_completion,
    read_key,
    read_retry_after,
    split_reasoning,
)
from medix_verl.types import Failure

KEY = "sk-Quite/Private+Key=42"
MIB = 1 << 20
Reply = Callable[[asyncio.StreamWriter, str, bytes], Awaitable[None]]


class Server:
    """A server that reads requests, and leaves it to `reply` what to write."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lengths = [
                    line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")
                ]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                self.heads.append(head)
                self.bodies.append(body)
                await self.reply(writer, head, body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def end(connections: list[asyncio.StreamWriter]) -> None:
    """Cut connections, and wait until they are gone."""
    for writer in connections:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for writer in connections), return_exceptions=True)


@asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[Server]:
    server = Server(reply)
    listener = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await end(server.connections)


def answer(body: bytes, status: int = 200, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(raw: bytes) -> Reply:
    """A server that writes these bytes to each request."""

    async def reply(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        writer.write(raw)

    return reply


def closes(raw: bytes) -> Reply:
    """A server that writes these bytes and cuts the connection."""

    async def reply(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    return reply


def completion(text: Any, **message: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text, **message}, "finish_reason": "stop"}]}).encode()


def ask(reply: Reply, body: bytes = b"{}", restricted: bool = False, **settings: Any) -> bytes:
    """What one question to such a server gives."""

    async def main() -> bytes:
        async with serving(reply) as server, OpenAIClient(server.url, KEY, **settings) as client:
            return await client.post("/chat/completions", body, restricted)

    return asyncio.run(main())


def failed(reply: Reply, **settings: Any) -> RequestError:
    """The error of one question to such a server; it never shows the key, wherever one looks."""
    with pytest.raises(RequestError) as caught:
        ask(reply, **settings)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in shown
    return caught.value


# Connections


def test_a_stray_second_reply_is_nobodys_answer() -> None:
    """3,000 questions; each reply is followed by a stray one, at once or up to 2 ms later."""

    async def reply(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        number = int(json.loads(body)["n"])
        stray = answer(completion("stray"))
        if number % 4 == 0:
            writer.write(answer(completion(str(number))) + stray)
            return
        writer.write(answer(completion(str(number))))
        if number % 4 < 3:
            asyncio.get_running_loop().call_later((number % 3) / 1000, writer.write, stray)

    async def main() -> list[str]:
        async with serving(reply) as server:
            client = OpenAIClient(server.url)
            texts: list[str] = []
            for start in range(0, 3000, 60):
                bodies = [json.dumps({"n": number}).encode() for number in range(start, start + 60)]
                raws = await asyncio.gather(*(client.post("/chat/completions", body) for body in bodies))
                texts += [read_completion(raw).text for raw in raws]
                await asyncio.sleep(0.004)
            # Connections without a stray reply are used again.
            assert len(server.connections) < 2400
            await client.close()
            return texts

    assert asyncio.run(main()) == [str(number) for number in range(3000)]


def test_a_stray_reply_that_nobody_has_read_yet_is_seen_in_the_socket() -> None:
    async def main() -> None:
        async with serving(says(answer(completion("right")))) as server:
            client = OpenAIClient(server.url)
            for _ in range(5):
                await client.post("/chat/completions", b"{}")
                # No await from here to the next question: the event loop has not seen it.
                server.connections[-1].write(answer(completion("stray")))
                assert read_completion(await client.post("/chat/completions", b"{}")).text == "right"
            assert len(server.connections) == 6
            await client.close()

    asyncio.run(main())


def test_a_connection_is_used_again_where_nothing_waits_in_it() -> None:
    async def main() -> None:
        async with serving(says(answer(completion("right")))) as server:
            client = OpenAIClient(server.url)
            for _ in range(20):
                await client.post("/chat/completions", b"{}")
            assert len(server.connections) == 1
            await client.close()
            await client.post("/chat/completions", b"{}")  # opens them again
            assert len(server.connections) == 2
            await client.close()

    asyncio.run(main())


def test_a_server_that_speaks_first_is_given_up() -> None:
    async def main() -> RequestError:
        writers: list[asyncio.StreamWriter] = []

        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            writer.write(answer(completion("stray")))
            await reader.read(1)

        listener = await asyncio.start_server(speak, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        try:
            async with OpenAIClient(url, timeout_s=0.5) as client:
                # What arrives on a new connection after the question was sent cannot be told from its answer.
                for _ in range(50):
                    await client.post("/chat/completions", b"{}")
        except RequestError as error:
            return error
        finally:
            listener.close()
            await end(writers)
        raise AssertionError("a server that speaks first was never given up")

    assert asyncio.run(main()).failure.is_temporary


# Replies


def grown(work: Callable[[], Any]) -> int:
    """The most bytes that some work held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@cache
def bomb(size: int) -> bytes:
    """Zeros, compressed."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size // MIB)), packer.flush()])


@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_compressed_bomb_stays_small(status: int) -> None:
    packed = answer(bomb(256 * MIB), status, Content_Encoding="gzip")
    errors: list[RequestError] = []
    assert grown(lambda: errors.append(failed(says(packed)))) < 12 * MIB
    if status == 200:
        assert errors[0].failure is Failure.MALFORMED and "larger than 1048576 bytes" in str(errors[0])
    else:
        assert (errors[0].status, len(str(errors[0])) < 400) == (status, True)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_without_end_stays_small(status: int, chunked: bool) -> None:
    async def reply(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        kind = "Transfer-Encoding: chunked" if chunked else "Connection: close"
        writer.write(f"HTTP/1.1 {status} Said\r\n{kind}\r\n\r\n".encode())
        piece = b"x" * 65536
        while True:
            writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
            await writer.drain()

    errors: list[RequestError] = []
    assert grown(lambda: errors.append(failed(reply, timeout_s=10))) < 12 * MIB
    assert errors[0].failure is (Failure.MALFORMED if status == 200 else Failure.SERVER_ERROR)


def test_a_reply_that_says_that_it_is_large_is_not_read() -> None:
    error = failed(says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 2 * MIB))
    assert error.failure is Failure.MALFORMED and "larger than" in str(error)
    assert len(ask(says(answer(b"x" * MIB)))) == MIB


@pytest.mark.parametrize("where", ["line", "headers", "body", "error"])
def test_slow_bytes_end_in_time(where: str) -> None:
    async def reply(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        fast = {
            "line": b"",
            "headers": b"HTTP/1.1 200 OK\r\n",
            "error": b"HTTP/1.1 503 No\r\nContent-Length: 99\r\n\r\n",
        }
        writer.write(fast.get(where, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"))
        rest = b"HTTP/1.1 200 OK\r\n" if where == "line" else b"X-Header: slow\r\n" * 20
        for place in range(len(rest)):
            writer.write(rest[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0.05)

    start = time.monotonic()
    error = failed(reply, timeout_s=0.3)
    assert time.monotonic() - start < 2
    # A server that says 503 and then stops has said 503.
    expected = (Failure.SERVER_ERROR, 503) if where == "error" else (Failure.TIMEOUT, None)
    assert (error.failure, error.status) == expected


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (says(b"220 smtp.example.org ESMTP\r\n\r\n"), Failure.MALFORMED),
        (says(bytes(range(256)) * 40), Failure.MALFORMED),
        (says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), Failure.MALFORMED),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n"), Failure.MALFORMED),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n"), Failure.MALFORMED),
        (closes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), Failure.MALFORMED),
        (closes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"), Failure.MALFORMED),
        (closes(b""), Failure.UNREACHABLE),
        (closes(b"HTTP/1.1 2"), Failure.UNREACHABLE),
        (says(answer(b"{}", Content_Encoding="br")), Failure.MALFORMED),
        (says(answer(b"{}", Content_Encoding="gzip")), Failure.MALFORMED),
        (says(answer(gzip.compress(b"{}" * 99)[:-9], Content_Encoding="gzip")), Failure.MALFORMED),
        (says(b"HTTP/1.1 204 No\r\n\r\n"), Failure.MALFORMED),
        (says(answer(b"{}", 206)), Failure.MALFORMED),
    ],
)
def test_what_is_no_answer(reply: Reply, failure: Failure) -> None:
    error = failed(reply, timeout_s=5)
    assert error.failure is failure and error.failure.is_temporary
    assert "\n" not in str(error) and len(str(error)) < 400


def failed_at(url: str, restricted: bool = False, **settings: Any) -> RequestError:
    """The error of one question to an address."""

    async def main() -> None:
        async with OpenAIClient(url, **settings) as client:
            await client.post("/chat/completions", b"{}", restricted)

    with pytest.raises(RequestError) as caught:
        asyncio.run(main())
    return caught.value


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = failed_at(f"http://127.0.0.1:{free.getsockname()[1]}/v1")
    assert str(error) == "connection failed (ClientConnectorError): Connection refused"
    assert error.failure is Failure.UNREACHABLE
    assert "h has no address" in str(failed_at("http://h/v1", book=AddressBook(lambda host: [])))


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "identity"])
def test_a_server_that_compresses_all_the_same_is_read(encoding: str) -> None:
    raw = completion("YES" * 1000)
    window = {"gzip": 31, "x-gzip": 31, "deflate": 15}.get(encoding)
    if window is not None:
        packer = zlib.compressobj(9, zlib.DEFLATED, window)
        packed = packer.compress(raw) + packer.flush()
    else:
        packed = raw
    assert ask(says(answer(packed, Content_Encoding=encoding))) == raw


def test_it_asks_for_no_compression_and_sends_json() -> None:
    async def main() -> str:
        async with serving(says(answer(b"{}"))) as server:
            client = OpenAIClient(server.url, KEY)
            await client.post("/chat/completions", b'{"a": 1}')
            await client.close()
            assert server.bodies == [b'{"a": 1}']
            return server.heads[0]

    head = asyncio.run(main())
    assert head.startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert "Accept-Encoding: identity\r\n" in head and "Content-Type: application/json\r\n" in head
    assert f"Authorization: Bearer {KEY}\r\n" in head


# Statuses


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (301, Failure.MISCONFIGURED),
        (401, Failure.MISCONFIGURED),
        (402, Failure.MISCONFIGURED),
        (403, Failure.MISCONFIGURED),
        (404, Failure.MISCONFIGURED),
        (405, Failure.MISCONFIGURED),
        (408, Failure.SERVER_ERROR),
        (409, Failure.SERVER_ERROR),
        (425, Failure.SERVER_ERROR),
        (500, Failure.SERVER_ERROR),
        (503, Failure.SERVER_ERROR),
        (429, Failure.RATE_LIMITED),
        (400, Failure.REFUSED),
        (413, Failure.REFUSED),
        (422, Failure.REFUSED),
        (418, Failure.REFUSED),
    ],
)
def test_statuses(status: int, failure: Failure) -> None:
    error = failed(says(answer(b"out\n of  memory", status, Retry_After="7")))
    assert (error.failure, error.status) == (failure, status)
    if status != 301:
        assert (str(error), error.retry_after_s) == (f"HTTP {status}: out of memory", 7.0)


def test_an_error_with_status_200_is_an_error() -> None:
    for body in (
        b'{"error": {"message": "the engine\\nis dead", "code": 500}}',
        b'{"object": "error", "message": "the engine is dead", "code": 500}',
        b'{"error": "the engine is dead", "choices": []}',
        b'{"error": {"message": "the engine is dead"}, "choices": null}',
    ):
        error = failed(says(answer(body)))
        assert (error.failure, error.status) == (Failure.MALFORMED, 200)
        assert str(error) == "the server answers with an error: the engine is dead"
    fine = json.dumps({"error": None, "choices": [{"message": {"content": '"error" is a word'}}]}).encode()
    assert ask(says(answer(fine))) == fine
    assert failed(says(answer(json.dumps({"error": {"message": f"Bearer {KEY}"}}).encode()))).failure


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("2", 2), ("0.5", 0.5), ("-3", 0), ("nan", 0), ("inf", 60), ("99999", 60), ("soon", 0), ("", 0)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float) -> None:
    assert read_retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=20)
    assert 10 < read_retry_after(format_datetime(soon, usegmt=True)) <= 20
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 -0000") == 0
    assert read_retry_after(f"Wed, 21 Oct {'9' * 20} 07:28:00 GMT") == 0
    assert read_retry_after(f"Wed, 21 Oct 2015 07:28:00 +{'9' * 20}") == 0


CODES = [
    (404, {"error": {"code": "model_not_found"}}, Failure.MISCONFIGURED, False, "OpenAI"),
    (404, {"error": {"param": "model", "code": 404, "type": "NotFoundError"}}, Failure.MISCONFIGURED, False, "vLLM"),
    (404, {"error": {"code": "DeploymentNotFound"}}, Failure.MISCONFIGURED, False, "Azure"),
    (404, {"detail": "Not Found"}, Failure.MISCONFIGURED, True, "a path that is not there, or a prompt that is hidden"),
    (403, {"error": {"message": "model_not_found"}}, Failure.MISCONFIGURED, True, "a sentence is no code"),
    (403, {"error": {"code": "content_policy_violation"}}, Failure.REFUSED, False, "a prompt"),
    (403, ["a", "list"], Failure.MISCONFIGURED, True, "no object"),
    (400, {"error": {"code": "invalid_api_key"}}, Failure.MISCONFIGURED, False, "a key, with another status"),
    (400, [{"error": {"status": "UNAUTHENTICATED"}}], Failure.MISCONFIGURED, False, "Google, in a list"),
    (400, {"error": {"code": "content_filter"}}, Failure.REFUSED, False, "Azure's filter"),
    (
        400,
        {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        Failure.REFUSED,
        False,
        "the same, within",
    ),
    (429, {"error": {"code": "rate_limit_exceeded", "type": "tokens"}}, Failure.RATE_LIMITED, False, "a limit"),
    (429, {"error": {"type": "insufficient_quota"}}, Failure.MISCONFIGURED, False, "a quota that is spent"),
    (429, {"error": {"message": "insufficient_quota"}}, Failure.RATE_LIMITED, False, "a sentence is no code"),
    (403, {"error": {"code": "rate_limit_exceeded"}}, Failure.RATE_LIMITED, False, "a limit, with another status"),
    (500, {"error": {"code": "invalid_api_key"}}, Failure.SERVER_ERROR, False, "it says itself that it failed"),
]
"""Status, body, what it means, whether it is unclear whom it concerns, and whose it is."""


@pytest.mark.parametrize(("status", "body", "failure", "is_unclear", "why"), CODES, ids=[case[4] for case in CODES])
def test_machine_readable_codes(status: int, body: Any, failure: Failure, is_unclear: bool, why: str) -> None:
    error = failed(says(answer(json.dumps(body).encode(), status)))
    assert (error.failure, error.is_unclear, error.status) == (failure, is_unclear, status), why


def test_a_pause_in_milliseconds() -> None:
    assert failed(says(answer(b"{}", 429, retry_after_ms="1500"))).retry_after_s == 1.5
    assert failed(says(answer(b"{}", 429, retry_after_ms="soon"))).retry_after_s == 0
    assert failed(says(answer(b"{}", 429, retry_after_ms="99999999"))).retry_after_s <= 60


def test_an_error_travels_between_processes() -> None:
    unclear = pickle.loads(pickle.dumps(RequestError("HTTP 403", Failure.MISCONFIGURED, 403, is_unclear=True)))
    assert (unclear.status, unclear.is_unclear) == (403, True)
    error = pickle.loads(pickle.dumps(RequestError("HTTP 429", Failure.RATE_LIMITED, 429, 2.5)))
    assert (str(error), error.failure, error.status, error.retry_after_s) == ("HTTP 429", "rate_limited", 429, 2.5)


# The key


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_key_stays(status: int) -> None:
    async def main() -> str:
        async with serving(says(answer(completion("evil")))) as second:
            target = f"http://user:hidden@127.0.0.1:{second.port}/v1/chat/completions?token=hidden#hidden"
            async with serving(says(answer(b"", status, Location=target))) as first:
                client = OpenAIClient(first.url, KEY)
                for call in (
                    client.post("/chat/completions", b"{}"),
                    client.post("/embeddings", b"{}"),
                    client.models(),
                ):
                    with pytest.raises(RequestError) as caught:
                        await call
                    assert caught.value.failure is Failure.MISCONFIGURED
                    assert f"http://127.0.0.1:{second.port}/v1/chat/completions, and no" in str(caught.value)
                assert second.heads == [] and second.connections == []
                await client.close()
                return str(caught.value)

    assert "hidden" not in asyncio.run(main())


@pytest.mark.parametrize("location", [None, "", "/v1/other", "http://[bad", "//other/v1", "x" * 5000])
def test_a_redirect_to_anywhere_is_one_line(location: str | None) -> None:
    headers = {} if location is None else {"Location": location}
    error = failed(says(answer(b"", 302, **headers)))
    assert error.failure is Failure.MISCONFIGURED and len(str(error)) < 700 and "\n" not in str(error)


PIECES = [KEY[start : start + 10] for start in range(len(KEY) - 9)]


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        KEY[:14],
        KEY[:9] + "...",
        "..." + KEY[-12:],
        quote(KEY, safe=""),
        quote_plus(KEY).replace("%2F", "%2f").replace("%2B", "%2b"),
        json.dumps(KEY).replace("/", "\\/"),
        "".join(f"\\u00{ord(char):02x}" for char in KEY),
        KEY.replace("+", "&#43;").replace("/", "&#x2f;"),
        f"{KEY}{KEY}",
    ],
)
@pytest.mark.parametrize("before", [0, 100, 273, 285, 295, 4070, 4085])
@pytest.mark.parametrize("behind", ["", " is not a key"])
def test_a_400_that_repeats_the_key_is_masked(echo: str, before: int, behind: str) -> None:
    """Whole, cut by the server, by what we read of the page (4,096 bytes), or by what we show of it (300)."""
    client = OpenAIClient("http://h/v1", KEY)
    text = "y" * before + f"Authorization: Bearer {echo}{behind}"
    with pytest.raises(RequestError) as caught:
        client._read_status(400, {}, text.encode()[:4096])
    shown = str(caught.value)
    assert not any(piece in shown for piece in PIECES)
    assert not any(quote(KEY, safe="")[start : start + 14] in shown for start in range(20))
    assert not shown.endswith(tuple(KEY[:size] for size in range(4, len(KEY) + 1)))
    if before == 0:
        assert "Authorization: Bearer" in shown and "***" in shown and shown.endswith(behind)


def test_a_400_that_repeats_the_header_over_the_wire_is_masked() -> None:
    async def reply(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        writer.write(answer(head.encode() * 30, 400))

    assert "Bearer ***" in str(failed(reply))

    async def cut(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        place = head.index(KEY)
        writer.write(answer(head[: place + 11].encode(), 400))

    assert str(failed(cut)).endswith("Bearer ***")


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60),
    st.text(max_size=30),
    st.text(max_size=30),
    st.data(),
)
def test_no_piece_of_a_key_is_left(key: str, before: str, behind: str, data: st.DataObject) -> None:
    client = OpenAIClient("http://h/v1", key)
    start = data.draw(st.integers(0, len(key) - 8))
    end = data.draw(st.integers(start + 8, len(key)))
    hidden = client.hide_key(f"{before} {key[start:end]}{behind}")
    escaped = any(char in key for char in "\\%&")
    if not escaped and "\\" not in before + behind and "%" not in before and "&" not in before:
        assert key[start:end] not in hidden
    assert key not in client.hide_key(f"{before} {key}{behind}") or escaped


def test_a_long_page_is_masked_in_linear_time() -> None:
    client = OpenAIClient("http://h/v1", "sk-" + "ab" * 2000)
    start = time.monotonic()
    assert "abab" not in client.hide_key("ab" * 50_000)
    client.hide_key("%" * 100_000)
    client.hide_key("&#" * 50_000)
    client.hide_key("\\" * 100_000)
    client.hide_key(" " * 100_000)
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("written", [KEY, KEY.replace("/", "\\/")])
def test_an_answer_that_repeats_the_key_is_masked_and_one_with_a_word_for_none_is_not(written: str) -> None:
    raw = completion("KEY, EMPTY").replace(b"KEY", written.encode())
    assert read_completion(ask(says(answer(raw)))).text == "***, EMPTY"

    async def of(key: str) -> bytes:
        async with serving(says(answer(completion("EMPTY")))) as server, OpenAIClient(server.url, key) as client:
            return await client.post("/chat/completions", b"{}")

    assert read_completion(asyncio.run(of("EMPTY"))).text == "EMPTY"


def test_without_a_key_nothing_is_masked() -> None:
    assert OpenAIClient("http://h/v1").hide_key("any text") == "any text"
    assert OpenAIClient("http://h/v1", "EMPTY").hide_key("it is EMPTY") == "it is ***"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hidden@h/v1",
        "https://hidden@h/v1",
        "http://h:1@hidden:2/v1",
        "ftp://user:hidden@h/v1",
        "user:hidden@h/v1",
        "http://u:hid/den@h/v1",
        "http://h/v1?key=hidden",
        "http://h/v1#hidden",
    ],
)
def test_an_address_with_credentials_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigError, match=r"judge.url .*write it as http://host:port/v1") as caught:
        OpenAIClient(url)
    assert "hidden" not in str(caught.value) and "den" not in str(caught.value).replace("credentials", "")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "h",
            "h/v1",
            "ftp://h/v1",
            "http://",
            "http:///v1",
            "http://h:x/v1",
            "http://h:99999/v1",
            "http://[::1/v1",
        ),
        *("http://h\\@evil/v1", "http://h /v1", "http://h\n/v1", "http://h\u00e9/v1", "http://h\x00/v1", "file:///etc"),
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^MODEL .*write it as http://host:port/v1"):
        check_url(url, "MODEL")


@pytest.mark.parametrize(
    "url", ["http://h/v1", "https://h:8/v1", "http://[::1]:8/v1", "http://H.example.:80/v1", "http://h"]
)
def test_an_address_is_kept_without_its_slash(url: str) -> None:
    assert check_url(f"{url}/", "x") == check_url(url, "x") == url


def test_the_key_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_key(None) is None
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    assert read_key("JUDGE_KEY") == KEY
    monkeypatch.setenv("JUDGE_KEY", "sk\n\nhidden")
    with pytest.raises(ConfigError, match="JUDGE_KEY holds characters that no API key has") as caught:
        read_key("JUDGE_KEY")
    assert "hidden" not in str(caught.value)
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(ConfigError, match=r"--api-key-env names JUDGE_KEY, which is not set; type: export JUDGE_KEY="):
        read_key("JUDGE_KEY", "--api-key-env")
    with pytest.raises(ConfigError, match="characters that no API key has"):
        OpenAIClient("http://h/v1", "sk\nX: hidden")


@pytest.mark.parametrize("connected", [True, False])
def test_a_worker_without_the_key_says_where_a_cluster_wants_it(
    monkeypatch: pytest.MonkeyPatch, connected: bool
) -> None:
    """On another node there is nothing of the shell that started the run."""
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: connected))  # type: ignore[arg-type]
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ConfigError) as caught:
        read_key("JUDGE_KEY")
    said = str(caught.value)
    assert "type: export JUDGE_KEY=..." in said
    assert ("before `ray start` on every node" in said and "ray job submit --runtime-env" in said) is connected


# Proxies, and addresses


def proxied(monkeypatch: pytest.MonkeyPatch, no_proxy: str = "", **settings: Any) -> tuple[list[str], Any]:
    """What a proxy of the environment sees of one question, and what came of it."""

    async def main() -> tuple[list[str], Any]:
        async with serving(says(answer(b'{"data": []}'))) as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://user:word@127.0.0.1:{proxy.port}")
            monkeypatch.setenv("no_proxy", no_proxy)
            client = OpenAIClient("http://judge.invalid/v1", KEY, **settings)
            restricted = settings.get("use_proxies", False)
            try:
                if restricted:
                    with pytest.raises(RequestError, match="a proxy stands between") as caught:
                        await client.post("/chat/completions", b"{}", restricted=True)
                    assert caught.value.failure is Failure.REFUSED and proxy.heads == []
                found: Any = await client.models()
            except RequestError as error:
                found = error
            finally:
                await client.close()
            return proxy.heads, found

    return asyncio.run(main())


def test_a_proxy_of_the_environment_is_used_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    heads, found = proxied(monkeypatch)
    assert heads == [] and found.failure is Failure.UNREACHABLE
    heads, found = proxied(monkeypatch, use_proxies=True)
    assert found == [] and heads[0].startswith("GET http://judge.invalid/v1/models HTTP/1.1")
    assert "word" not in heads[0]


def test_no_proxy_is_respected_and_socks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "judge.invalid")
    client = OpenAIClient("http://judge.invalid/v1", use_proxies=True)
    assert client._proxy() is None
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "socks5://user:hidden@127.0.0.1:9")
    with pytest.raises(RequestError, match="proxy of the kind 'socks5'") as caught:
        asyncio.run(client.models())
    assert caught.value.failure is Failure.MISCONFIGURED and "hidden" not in str(caught.value)


@pytest.mark.parametrize("use_proxies", [True, False])
def test_netrc_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, use_proxies: bool) -> None:
    (tmp_path / "netrc").write_text(
        "machine 127.0.0.1 login user password hidden\ndefault login user password hidden\n"
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async def main() -> str:
        async with serving(says(answer(b"{}"))) as server:
            client = OpenAIClient(server.url, use_proxies=use_proxies)
            await client.post("/chat/completions", b"{}")
            await client.close()
            return server.heads[0]

    assert "authorization" not in asyncio.run(main()).lower()


class Resolving:
    """A resolver whose answers change: each but the last is given once."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


FOREIGN = "192.0.2.1"


def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """A name that is 127.0.0.1 when it is looked up, and another address ever after."""

    async def main() -> None:
        async with serving(says(answer(completion("right")))) as server:
            resolver = Resolving(["127.0.0.1"], [FOREIGN])
            client = OpenAIClient(f"http://judge.invalid:{server.port}/v1", book=AddressBook(resolver), timeout_s=5)
            for _ in range(3):
                raw = await client.post("/chat/completions", b"{}", restricted=True)
                assert read_completion(raw).text == "right"
                await client.close()  # each on a connection of its own
            assert resolver.asked == 1
            # After a failure the name is looked up again, and checked again: nothing is connected to.
            client.book.forget("judge.invalid")
            connected: list[Any] = []
            loop = asyncio.get_running_loop()
            loop.create_connection = loop.sock_connect = lambda *words, **more: connected.append(words)  # type: ignore
            with pytest.raises(RequestError, match=rf"judge.invalid is {FOREIGN}") as caught:
                await client.post("/chat/completions", b"{}", restricted=True)
            assert caught.value.failure is Failure.REFUSED and connected == []
            await client.close()

    asyncio.run(main())


def test_an_address_that_changes_between_check_and_connection_is_refused() -> None:
    """Another request's failure may have the name looked up again in between."""

    async def main() -> None:
        async with serving(says(answer(completion("right")))) as server:
            book = AddressBook(Resolving(["127.0.0.1"], [FOREIGN]))
            client = OpenAIClient(f"http://judge.invalid:{server.port}/v1", book=book, timeout_s=5)
            check = client._check_local

            async def check_then_forget(proxy: str | None) -> None:
                await check(proxy)
                book.forget("judge.invalid")

            client._check_local = check_then_forget  # type: ignore[method-assign]
            with pytest.raises(RequestError, match=f"not local .*{FOREIGN}") as caught:
                await client.post("/chat/completions", b"{}", restricted=True)
            assert caught.value.failure is Failure.REFUSED and server.connections == []
            await client.close()

    asyncio.run(main())


def test_a_connection_of_other_requests_is_not_lent_to_restricted_ones() -> None:
    """It may have been opened to a foreign address, before the name became a local one."""

    async def main() -> None:
        async with serving(says(answer(completion("right")))) as server:
            client = OpenAIClient(server.url)
            await client.post("/chat/completions", b"{}")
            await client.post("/chat/completions", b"{}", restricted=True)
            assert len(server.connections) == 2
            await client.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("addresses", "networks", "allowed"),
    [
        (["127.0.0.1"], (), True),
        (["::1", "127.0.0.1"], (), True),
        (["127.0.0.1", FOREIGN], (), False),
        (["10.1.2.3"], (), False),
        (["10.1.2.3"], ("10.1.0.0/16",), True),
        (["10.2.2.3"], ("10.1.0.0/16",), False),
        ([], (), False),
    ],
)
def test_a_restricted_request_goes_to_local_addresses_only(
    addresses: list[str], networks: tuple[str, ...], allowed: bool
) -> None:
    async def main() -> bool:
        book = AddressBook(lambda host: addresses)
        client = OpenAIClient("http://judge.invalid/v1", book=book, local_networks=networks)
        try:
            await client._check_local(None)
        except OSError:
            return False
        return True

    assert asyncio.run(main()) is allowed


def test_an_address_of_numbers_is_checked_too() -> None:
    error = failed_at(f"http://{FOREIGN}/v1", restricted=True)
    assert error.failure is Failure.REFUSED and f"{FOREIGN} is not this machine" in str(error)
    assert not failed_at("http://2130706433:9/v1", restricted=True).failure.is_temporary


def test_a_name_is_looked_up_once_and_again_after_a_failure() -> None:
    async def main() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            resolver = Resolving(["127.0.0.1"])
            client = OpenAIClient(f"http://judge.invalid:{free.getsockname()[1]}/v1", book=AddressBook(resolver))
            results = await asyncio.gather(
                *(client.post("/chat/completions", b"{}") for _ in range(20)), return_exceptions=True
            )
            assert all(isinstance(result, RequestError) for result in results)
            assert resolver.asked < 20
            asked = resolver.asked
            with pytest.raises(RequestError):
                await client.post("/chat/completions", b"{}")
            assert resolver.asked == asked + 1
            await client.close()

    asyncio.run(main())


# Parameters that a server does not take

FULL = {"model": "m", "max_tokens": 4, "temperature": 0, "logprobs": True, "top_logprobs": 20, "seed": 1}


def complaint(name: str, style: str) -> tuple[int, Any]:
    """How servers say that they do not know a parameter."""
    if style == "openai":
        error = {
            "message": f"Unsupported parameter: '{name}' is not supported with this model.",
            "type": "invalid_request_error",
            "param": name,
            "code": "unsupported_parameter",
        }
        return 400, {"error": error}
    if style == "value":
        text = f"Unsupported value: '{name}' does not support 0 with this model."
        return 400, {"error": {"message": text, "param": name, "code": "unsupported_value"}}
    if style == "fastapi":
        return 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs", "input": 4}]}
    return 400, {"message": f"{name} is not allowed for this model"}


@pytest.mark.parametrize("style", ["openai", "value", "fastapi", "plain"])
def test_what_a_server_does_not_take_is_changed_once_and_remembered(style: str) -> None:
    async def reply(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
        sent = json.loads(body)
        for name in ("temperature", "max_tokens", "logprobs"):
            if name in sent:
                status, said = complaint(name, style)
                writer.write(answer(json.dumps(said).encode(), status))
                return
        writer.write(answer(completion("YES")))

    async def main() -> list[dict[str, Any]]:
        async with serving(reply) as server:
            client = OpenAIClient(server.url)
            for _ in range(2):
                raw = await client.post("/chat/completions", json.dumps(FULL).encode())
                assert read_completion(raw).text == "YES"
            assert client.adapted == {"max_tokens", "temperature", "logprobs"}
            await client.close()
            return [json.loads(body) for body in server.bodies]

    bodies = asyncio.run(main())
    assert len(bodies) == 5  # one for each parameter, the answered one, and the next question at once
    assert bodies[0] == FULL
    assert bodies[3] == bodies[4] == {"model": "m", "max_completion_tokens": 4, "seed": 1}


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "'max_tokens' is too large: 5000. This model's maximum context length is 4096 tokens"}},
        {"error": {"message": "temperature must be between 0 and 2", "param": "temperature"}},
        {"error": {"message": "unsupported content", "param": "messages"}},
        {"error": {"message": "the picture is not supported"}},
        {"detail": [{"loc": ["body", "messages"], "msg": "not permitted", "input": {"max_tokens": 4}}]},
        {"error": "guided_choice is not supported"},
        ["temperature is not supported"],
        "temperature is not supported",
        None,
    ],
)
def test_other_refusals_change_nothing(said: Any) -> None:
    async def main() -> None:
        async with serving(says(answer(json.dumps(said).encode(), 400))) as server:
            client = OpenAIClient(server.url)
            with pytest.raises(RequestError, match="HTTP 400"):
                await client.post("/chat/completions", json.dumps(FULL).encode())
            assert len(server.bodies) == 1 and not client.adapted
            await client.close()

    asyncio.run(main())


def test_a_change_that_does_not_help_is_not_remembered() -> None:
    said = json.dumps({"error": {"message": "temperature is not supported"}}).encode()

    async def main() -> None:
        async with serving(says(answer(said, 400))) as server:
            client = OpenAIClient(server.url)
            with pytest.raises(RequestError, match="HTTP 400"):
                await client.post("/chat/completions", json.dumps(FULL).encode())
            assert len(server.bodies) == 2 and not client.adapted
            await client.close()

    asyncio.run(main())


def test_a_body_that_is_no_object_is_refused_as_the_server_says() -> None:
    for body in (b"[]", b"no json", b'"temperature"'):
        said = json.dumps({"error": {"message": "temperature is not supported"}}).encode()
        assert failed(says(answer(said, 400)), body=body).failure is Failure.REFUSED


# What is read


def test_a_completion() -> None:
    raw = json.dumps(
        {
            "choices": [
                {
                    "message": {"content": "YES", "reasoning_content": "because"},
                    "finish_reason": "length",
                    "logprobs": {"content": []},
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "details": None, "odd": "x"},
        }
    ).encode()
    expected = Completion("YES", "because", "length", {"content": []}, {"prompt_tokens": 3, "completion_tokens": 1})
    assert read_completion(raw) == expected
    assert read_completion(completion(None, reasoning_content="because")) == Completion("", "because", "stop")
    assert read_completion(completion(None, reasoning="because")).reasoning == "because"
    assert read_completion(completion(None)) == Completion("", None, "stop")
    assert read_completion(completion("<think>x</think>YES")).text == "<think>x</think>YES"


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{", b"[]", b"null", b"{}", b"<html>", b"\xff\xfe", b"[" * 200_000),
        *(b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": [{"message": null}]}', b'{"choices": {"0": 1}}'),
        *(b'{"choices": ' + b"9" * 900_000 + b"}", completion([]), completion({"a": 1}), completion(3)),
    ],
)
def test_what_is_no_completion(raw: bytes) -> None:
    with pytest.raises(RequestError, match="the server's answer") as caught:
        read_completion(raw)
    assert caught.value.failure is Failure.MALFORMED and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "expected", "reasoning"),
    [
        ("<think>a</think>YES", "YES", "a"),
        ("\n<think>\na\n</think>\n\nYES", "YES", "a"),
        ("<think>a", "", "a"),
        ("YES", "YES", None),
        ("YES <think>a</think>", "YES <think>a</think>", None),
    ],
)
def test_reasoning_at_the_beginning_is_split_off(text: str, expected: str, reasoning: str | None) -> None:
    found = split_reasoning(Completion(text))
    assert (found.text, found.reasoning) == (expected, reasoning)
    assert split_reasoning(Completion("<think>b</think>YES", "a")) == Completion("YES", "a\nb")


def test_the_models_of_a_server() -> None:
    async def models(raw: bytes) -> list[str]:
        async with serving(says(answer(raw))) as server:
            return await asyncio.to_thread(list_models, server.url, KEY)

    assert asyncio.run(models(b'{"data": [{"id": "a"}, {"id": 7}]}')) == ["a", "7"]
    for raw in (b"<html>", b"{}", b'{"data": 3}', b'{"data": [{}]}'):
        with pytest.raises(RequestError, match="lists no models") as caught:
            asyncio.run(models(raw))
        assert (caught.value.failure, caught.value.status) == (Failure.MALFORMED, 200)


# The transport of other clients


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_other_clients_get_the_same_rules(library: str) -> None:
    http = pytest.importorskip(library)

    async def main() -> None:
        async def reply(writer: asyncio.StreamWriter, head: str, body: bytes) -> None:
            if "/moved" in head:
                writer.write(answer(b"", 307, Location=f"http://127.0.0.1:{second.port}/v1"))
            elif "/echo" in head:
                writer.write(answer(head.encode(), 400))
            elif "/cut" in head:
                writer.close()
            else:
                packed = gzip.compress(completion("YES"))
                writer.write(answer(packed, Content_Encoding="gzip", X_Request_Id="7"))

        async with serving(says(answer(b"{}"))) as second, serving(reply) as server:
            transport = http_transport(OpenAIClient(server.url, KEY), library)
            settings: Any = {"transport": transport, "follow_redirects": True, "base_url": server.url}
            async with http.AsyncClient(**settings, headers={"Authorization": "Bearer other"}) as client:
                found = await client.post("/chat/completions", json={"a": 1})
                assert found.json() == json.loads(completion("YES")) and found.headers["x-request-id"] == "7"
                assert f"Bearer {KEY}" in server.heads[0] and "other" not in server.heads[0]
                assert json.loads(server.bodies[0]) == {"a": 1}
                moved = await client.post("/moved", json={})
                assert moved.status_code == 307 and second.heads == []
                echo = await client.get("/echo")
                assert echo.status_code == 400 and KEY not in echo.text and "***" in echo.text
                with pytest.raises(http.ConnectError):
                    await client.get("/cut")
                for url in (second.url, f"http://127.0.0.1:{server.port}/other/models"):
                    with pytest.raises(http.UnsupportedProtocol, match="was made for"):
                        await client.get(f"{url}/models")
            assert second.heads == []

    asyncio.run(main())

# SPDX-License-Identifier: Apache-2.0
"""The one client of OpenAI-compatible servers: chat completions, embeddings, the list of models.

It sends one request and says what came of it; how often, how many at once and to which server is the caller's business
(medix_verl.runtime.dispatch). Every request of the package goes through it, because its rules are those of the API key
and of credentialed rows:

- The key is in a header to the configured host and nowhere else: no redirect is followed, no address with credentials
  in it is taken, no proxy is used unless asked for, and no error repeats the key.
- A reply is bounded while it is read, its decompressed size too, and ends within the time limit.
- A connection with unread data is never used again: the data would be taken for the answer to the next question.
- A host is resolved once. The address that was checked for a restricted request is the one that is connected to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import socket
import sys
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from html import unescape
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from medix_verl.credentialed import Resolver, foreign_part, is_number, parse_networks, resolve
from medix_verl.errors import ConfigError, MedixError
from medix_verl.types import Failure

if TYPE_CHECKING:
    import aiohttp

__all__ = [
    "AddressBook",
    "Completion",
    "OpenAIClient",
    "RequestError",
    "check_url",
    "check_urls",
    "http_transport",
    "list_models",
    "read_completion",
    "read_key",
    "read_retry_after",
    "split_reasoning",
]

KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s of uvicorn, under vLLM and SGLang, so that we never write to a connection it is closing."""
MAX_RETRY_AFTER_S = 60.0
MAX_DETAIL = 300
"""Characters of a server's own message that an error shows; servers answer with whole pages."""
MAX_ERROR_BYTES = 4096
"""Bytes of an error page that are read."""
MAX_CONNECTIONS_TRIED = 1000
"""More than there are idle ones; a server that sends data before it is asked would keep us connecting for ever."""
MISCONFIGURED_STATUS = frozenset({401, 402, 403, 404, 405})
"""HTTP statuses that the next request would get too: the key, the address or the name of the model is wrong."""
TEMPORARY_STATUS = frozenset({408, 409, 425})
"""HTTP statuses under 500 after which the same request may succeed."""


class RequestError(MedixError, RuntimeError):
    """A request got no usable answer; the message never holds the key."""

    def __init__(self, message: str, failure: Failure, status: int | None = None, retry_after_s: float = 0.0) -> None:
        """Keep what failed.

        Args:
            message: What was got, in one line.
            failure: Of what kind it is.
            status: The HTTP status, None where there was no answer.
            retry_after_s: Seconds after which the server wants to be asked again, 0 where it said nothing.
        """
        super().__init__(message)
        self.failure = failure
        self.status = status
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.failure, self.status, self.retry_after_s)


def read_key(variable: str | None, setting: str = "judge.api_key_env") -> str | None:
    """The API key in an environment variable; None where no variable is named.

    Raises:
        ConfigError: The variable is not set, or holds what cannot be a key; the message never has the value.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{setting} names {variable}, which is not set; type: export {variable}=...{_where_to_set()}")
    if not _is_key(key):
        raise ConfigError(f"the environment variable {variable} holds characters that no API key has; set it again")
    return key


def _is_key(text: str) -> bool:
    """Whether a text may be a key: it goes into a header."""
    return text.isascii() and text.isprintable()


def _where_to_set() -> str:
    """A worker has the environment of the node that it runs on, and nothing of the shell that started the run."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return ""
    return (
        " before `ray start` on every node, or give it to the job: ray job submit --runtime-env FILE, as "
        "examples/cluster/ray.sh does (not as an override: verl prints its configuration)"
    )


def check_url(url: str, setting: str) -> str:
    """The base address of a server, without a trailing slash.

    Args:
        url: The address, as http://host:port/v1.
        setting: The flag or the key that holds it, for the message.

    Raises:
        ConfigError: It is no http or https address, has no host, or holds credentials, a query or a fragment; none of
            the three is shown.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = SplitResult("", "", "", "", ""), None
    if "@" in parts.netloc:
        raise ConfigError(
            f"{setting} holds credentials (USER:PASSWORD@); write it as http://host:port/v1, and name the variable "
            "that holds the server's key with its key setting"
        )
    if url.startswith(("http://", "https://")) and (parts.query or parts.fragment):
        raise ConfigError(f"{setting} has a part behind '?' or '#'; write it as http://host:port/v1")
    plain = url.isascii() and url.isprintable() and not re.search(r"[\s\\]", url)
    if parts.scheme not in ("http", "https") or not host or not plain or _yarl_host(url) != host.rstrip("."):
        shown = "an address with an '@' in it" if "@" in url else repr(re.split(r"[?#]", url)[0])
        raise ConfigError(f"{setting} is {shown}; write it as http://host:port/v1")
    return url.rstrip("/")


def check_urls(value: Any, setting: str) -> Any:
    """Check the addresses of a spec: one, or a tuple of several; returns them as they are.

    Raises:
        ConfigError: One that is no text or that `check_url` refuses, no address, or one that is given twice.
    """
    addresses = value if isinstance(value, tuple) else (value,)
    if not addresses:
        raise ConfigError(f"{setting} is an empty list; name a server as http://host:port/v1, or set it to null")
    for address in addresses:
        if not isinstance(address, str):
            raise ConfigError(f"{setting} is {address!r}; write it as http://host:port/v1")
        check_url(address, setting)
    if len(set(addresses)) < len(addresses):
        raise ConfigError(f"{setting} names {max(addresses, key=addresses.count)!r} twice; name each server once")
    return value


def _yarl_host(url: str) -> str:
    """The host that aiohttp reads in an address: another one than Python's would be an address that nobody checked."""
    from yarl import URL

    try:
        return (URL(url).host or "").rstrip(".")
    except ValueError:
        return ""


def read_retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for: a number or a date; 0 for none, nonsense or the past."""
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
    # A comparison with NaN is False, so that "nan" falls to 0 as well.
    return min(seconds, MAX_RETRY_AFTER_S) if seconds > 0 else 0.0


# Keys in messages ----------------------------------------------------------------------------------------------------

_UNIT = re.compile(r"%[0-9a-f]{2}|\\u00[0-9a-f]{2}|\\x[0-9a-f]{2}|\\.|&#?\w{1,8};|\s+|.", re.IGNORECASE | re.DOTALL)
"""One character of a text, plain or escaped for a URL, JSON, Python or HTML."""
_PIECE = 8
"""Characters in a row of a key that are masked wherever they stand: a server may cut the key that it repeats."""
_TAIL = 4
"""The same for its beginning at the end of a text, where the text itself was cut."""


def _plain(unit: str) -> str:
    """The character that a match of _UNIT stands for."""
    if len(unit) == 1 or unit.isspace():
        return " " if unit.isspace() else unit
    if unit[0] == "%":
        return chr(int(unit[1:], 16))
    if unit[0] == "\\":
        return unit[1] if len(unit) == 2 else chr(int(unit[2:], 16))
    return unescape(unit)[0]


def _hide(text: str, key: str | None) -> str:
    """A text without the key, whole or cut, plain or escaped."""
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


def _detail(raw: bytes, key: str | None) -> str:
    """What a server says in an error body, in one line: masked first, then cut."""
    return _hide(" ".join(raw.decode("utf-8", "replace").split()), key)[:MAX_DETAIL]


# Replies -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Completion:
    """The first choice of a chat completion."""

    text: str
    """The message; empty where the server sends none (null)."""
    reasoning: str | None = None
    """What the model thought, where the server tells it apart from the message."""
    finish_reason: str | None = None
    """`stop`, `length` (cut at the limit), `content_filter` or another word of the server."""
    logprobs: Any = None
    """Log-probabilities as the server sends them; None where there are none."""
    usage: Mapping[str, int] = field(default_factory=dict)
    """Counts of tokens: `prompt_tokens`, `completion_tokens`."""


def read_completion(raw: bytes) -> Completion:
    """Read a chat completion.

    Args:
        raw: The body of an answer, as OpenAIClient.post returns it.

    Raises:
        RequestError: It is none (Failure.MALFORMED).
    """
    try:
        # Decoded here: json would look at the bytes for other encodings.
        reply = json.loads(raw.decode())
        choice = reply["choices"][0]
        message = choice["message"]
        text, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        finish, logprobs, usage = choice.get("finish_reason"), choice.get("logprobs"), reply.get("usage")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise _malformed(f"the server's answer has no message ({type(error).__name__})") from None
    if text is not None and not isinstance(text, str):
        raise _malformed(f"the message in the server's answer is {type(text).__name__}, not text")
    counts = {name: value for name, value in usage.items() if type(value) is int} if isinstance(usage, dict) else {}
    return Completion(text or "", str(reasoning) if reasoning else None, finish, logprobs, counts)


def split_reasoning(completion: Completion) -> Completion:
    """A completion whose text begins with `<think>...</think>`, with that moved to its reasoning.

    For callers that want what the model says, and not how it came to it. Where the block does not end, the text is
    empty: the model was cut while it thought.
    """
    text = completion.text.lstrip()
    if not text.startswith("<think>"):
        return completion
    thought, _, rest = text[len("<think>") :].partition("</think>")
    known = [completion.reasoning] if completion.reasoning else []
    return replace(completion, text=rest.lstrip(), reasoning="\n".join([*known, thought.strip()]))


def _read_models(raw: bytes) -> list[str]:
    """The names in a list of models."""
    try:
        return [str(item["id"]) for item in json.loads(raw)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _malformed(f"the server's answer lists no models ({type(error).__name__})") from None


def _malformed(message: str, status: int | None = 200) -> RequestError:
    """The error of an answer that is none."""
    return RequestError(message, Failure.MALFORMED, status)


def _error_in(raw: bytes) -> str | None:
    """The message of an error object that a server sends with status 200; None where the body is none."""
    if b'"error"' not in raw:
        return None
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(reply, dict) or reply.get("choices"):
        return None
    error = reply.get("error") or (reply if reply.get("object") == "error" else None)
    if error is None:
        return None
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or json.dumps(error))


# Parameters that a server does not take ------------------------------------------------------------------------------

_ADAPTABLE = ("max_tokens", "temperature", "logprobs", "encoding_format")
"""Parameters of a request without which a server can still answer it."""
_NOT_TAKEN = re.compile(
    r"unsupported|not (?:support|allowed|permitted|available)|unrecogni[sz]ed|unknown|unexpected|extra_forbidden",
    re.IGNORECASE,
)


def _unsupported(raw: bytes, sent: bytes) -> str | None:
    """The parameter of a request that an error body calls unsupported; None where it names none."""
    try:
        body = json.loads(sent)
    except (ValueError, RecursionError):
        return None
    for text in _complaints(raw) if isinstance(body, dict) else ():
        if _NOT_TAKEN.search(text):
            for name in _ADAPTABLE:
                if name in body and re.search(rf"\b(?:top_)?{name}\b", text):
                    return name
    return None


def _adapt(body: bytes, names: Iterable[str]) -> bytes:
    """A request without the parameters that a server does not take."""
    changed = json.loads(body)
    for name in names:
        value = changed.pop(name, None)
        if name == "max_tokens" and value is not None:
            changed["max_completion_tokens"] = value
        if name == "logprobs":
            changed.pop("top_logprobs", None)
    return json.dumps(changed).encode("ascii")


def _complaints(raw: bytes) -> list[str]:
    """What an error body complains of, each with the parameter's name; never what it repeats of the request."""
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


# Connections ---------------------------------------------------------------------------------------------------------


class AddressBook:
    """Resolves each host once and keeps its addresses, so that what was checked is what is connected to."""

    def __init__(self, resolver: Resolver = resolve) -> None:
        """Keep the resolver: host name -> addresses, in the order in which they are tried. It runs in a thread."""
        self._resolver = resolver
        self._pinned: dict[str, tuple[str, ...]] = {}
        self._looking = asyncio.Lock()

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The pinned addresses of a host, none where it has none; an address is its own."""
        found = self._pinned.get(host)
        if found is None:
            async with self._looking:
                found = self._pinned.get(host)
                if found is None:
                    found = (host,) if is_number(host) else tuple(await asyncio.to_thread(self._resolver, host))
                    if found:
                        self._pinned[host] = found
        return found

    def forget(self, host: str) -> None:
        """Resolve a host again when it is next asked for."""
        self._pinned.pop(host, None)


class _ForeignAddressError(OSError):
    """A restricted request would go to an address that is not local."""


@cache
def _parts() -> tuple[type, type]:
    """The connector and the resolver; classes of aiohttp's, which is imported when the first connection is opened."""
    import aiohttp
    from aiohttp.abc import AbstractResolver

    class Connector(aiohttp.TCPConnector):
        """Never gives out a connection with unread data: it would be taken for the answer to the next request."""

        async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
            for _ in range(MAX_CONNECTIONS_TRIED):
                connection = await super().connect(req, traces, timeout)
                if not _has_unread(connection):
                    return connection
                if req.is_ssl() and await _is_clear_soon(connection):
                    return connection
                connection.close()
            raise aiohttp.ServerDisconnectedError("the server sends data before it is asked")

    class PinnedResolver(AbstractResolver):
        """Hands out what `addresses` gives, and asks nobody else."""

        def __init__(self, addresses: Callable[[str], Any]) -> None:
            self.addresses = addresses

        async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
            found = await self.addresses(host)
            if not found:
                raise OSError(f"{host} has no address")
            kinds = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in found]
            rest = {"hostname": host, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST}
            return [{"host": address, "family": kind, **rest} for kind, address in kinds]

        async def close(self) -> None:
            """Nothing is held."""

    return Connector, PinnedResolver


async def _is_clear_soon(connection: Any) -> bool:
    """Whether a connection over TLS held a session ticket only, which the event loop takes away."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        connection.close()
        raise
    return not connection.closed and not _has_unread(connection)


def _has_unread(connection: Any) -> bool:
    """Whether a connection holds data that nobody asked for, or its end: read already, or still in the socket."""
    if connection.protocol.should_close:
        return True
    poll = select.poll()
    poll.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _fill(parts: list[bytes], answer: aiohttp.ClientResponse, limit: int) -> None:
    """Collect the body of an answer, decompressed; bounded in both forms, so that nothing can fill the memory.

    Raises:
        RequestError: It is larger, cut off, or compressed in another way than gzip or deflate.
    """
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise _malformed(f"the server compressed its answer in a way that was not asked for ({encoding[:40]!r})")
    stream = None if encoding in ("", "identity") else zlib.decompressobj(zlib.MAX_WBITS | 32)
    content = answer.content
    size = received = 0
    while not content.at_eof():
        chunk = await content.readany()
        received += len(chunk)
        if stream is not None:
            chunk = stream.decompress(chunk, limit + 1 - size)
        size += len(chunk)
        if size > limit or received > limit:
            answer.close()
            parts.append(chunk[:limit])
            raise _malformed(f"the server's answer is larger than {limit} bytes")
        parts.append(chunk)
    if stream is not None and not stream.eof:
        raise _malformed("the server's answer broke off")


class OpenAIClient:
    """One server. Connections belong to the event loop that asks first, and are opened when they are first needed."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        use_proxies: bool = False,
        max_reply_bytes: int = 1 << 20,
        setting: str = "judge.url",
        local_networks: Sequence[str] = (),
        book: AddressBook | None = None,
    ) -> None:
        """Check the settings; nothing is asked yet.

        Args:
            url: The base address with its version, as http://host:port/v1.
            key: The API key, sent as a bearer token.
            timeout_s: Seconds for one request, from the connection to the last byte.
            use_proxies: Whether to go through the proxies that the environment names.
            max_reply_bytes: The largest reply that is taken, after decompression.
            setting: The flag or the key that holds the address, for messages.
            local_networks: Private networks that count as local, as 10.1.0.0/16 (see medix_verl.credentialed).
            book: The pinned addresses; None makes one for this client.

        Raises:
            ConfigError: The address, the key or a network is not accepted.
        """
        if key and not _is_key(key):
            raise ConfigError(f"the key for {setting} holds characters that no API key has; set it again")
        self.url = check_url(url, setting)
        self.setting = setting
        self.timeout_s = timeout_s
        self.use_proxies = use_proxies
        self.max_reply_bytes = max_reply_bytes
        self.book = book or AddressBook()
        self.adapted: frozenset[str] = frozenset()
        """Parameters that the server does not take, as it said itself; requests are sent without them."""
        self._networks = parse_networks(local_networks)
        self._key = key or None
        self._host = urlsplit(self.url).hostname or ""
        self._known_local: tuple[str, ...] | None = None
        """The pinned addresses that were found to be local."""
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def __repr__(self) -> str:
        return f"OpenAIClient({self.url!r})"

    async def __aenter__(self) -> OpenAIClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def post(self, path: str, body: bytes, restricted: bool = False) -> bytes:
        """Send one request; a parameter that the server says it does not take is changed, and the request repeated.

        Args:
            path: Behind the base address, as "/chat/completions".
            body: The JSON of the request.
            restricted: Whether it holds what no third party may see. It is sent only if every address of the host is
                local and no proxy stands between.

        Returns:
            The body of the answer with HTTP status 200.

        Raises:
            RequestError: There is none.
        """
        adapted = self.adapted
        sent = _adapt(body, adapted) if adapted else body
        while True:
            status, headers, raw = await self._exchange("POST", path, sent, restricted)
            if status in (400, 422) and (name := _unsupported(raw, sent)):
                adapted |= {name}
                sent = _adapt(sent, adapted)
                continue
            raw = self._read_status(status, headers, raw)
            # Only what helped is remembered.
            self.adapted |= adapted
            return raw

    async def get(self, path: str) -> bytes:
        """The body of the answer to a GET with HTTP status 200.

        Raises:
            RequestError: There is none.
        """
        return self._read_status(*await self._exchange("GET", path, None, False))

    async def models(self) -> list[str]:
        """The names of the models that the server lists.

        Raises:
            RequestError: It does not answer, or with something else.
        """
        return _read_models(await self.get("/models"))

    def hide_key(self, text: str) -> str:
        """A text without the key, whole or cut, plain or escaped: a server may repeat it."""
        return _hide(text, self._key)

    async def close(self) -> None:
        """Close the connections."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def _exchange(
        self, method: str, path: str, body: bytes | None, restricted: bool
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request, and read the answer; whatever its status is."""
        import aiohttp

        proxy = self._proxy() if self.use_proxies else None
        # aiohttp would look through its registry for what bytes are.
        data = None if body is None else aiohttp.BytesPayload(body, content_type="application/json")
        parts: list[bytes] = []
        try:
            if restricted:
                await self._check_local(proxy)
            session = self._sessions.get(restricted) or self._open(restricted)
            # A redirect would carry the prompt, and perhaps the key, to an address that nobody set.
            async with session.request(
                method, self.url + path, data=data, allow_redirects=False, proxy=proxy
            ) as answer:
                if answer.status == 200:
                    await _fill(parts, answer, self.max_reply_bytes)
                else:
                    # The status counts, and what there is of its page.
                    with contextlib.suppress(asyncio.TimeoutError, aiohttp.ClientError, zlib.error, RequestError):
                        await _fill(parts, answer, MAX_ERROR_BYTES)
            return answer.status, answer.headers, parts[0] if len(parts) == 1 else b"".join(parts)
        except asyncio.TimeoutError:
            self.book.forget(self._host)
            raise RequestError(f"no answer within {self.timeout_s:g} s", Failure.TIMEOUT) from None
        except (aiohttp.ClientError, OSError, zlib.error) as error:
            # Not chained: aiohttp's errors carry the request's headers.
            raise self._failed(error) from None

    def _read_status(self, status: int, headers: Mapping[str, str], raw: bytes) -> bytes:
        """The body of an answer with status 200 that is no error; RequestError for any other."""
        if status == 200:
            said = _error_in(raw)
            if said is None:
                return raw
            raise _malformed(f"the server answers with an error: {_detail(said.encode('utf-8', 'replace'), self._key)}")
        if 300 <= status < 400:
            where = self.hide_key(_shown_target(self.url, headers.get("Location")))
            raise RequestError(
                f"HTTP {status}: the server redirects to {where}, and no redirect is followed, because it would carry "
                f"the key away; set {self.setting} to that address if you trust it",
                Failure.MISCONFIGURED,
                status,
            )
        detail = _detail(raw, self._key)
        message = f"HTTP {status}" + (f": {detail}" if detail else "")
        raise RequestError(message, _failure_of(status), status, read_retry_after(headers.get("Retry-After")))

    def _failed(self, error: Exception) -> RequestError:
        """What an error of the connection means."""
        import aiohttp

        name = type(error).__name__
        if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
            return RequestError(f"{self.setting} is not an address: {self.url!r}", Failure.MISCONFIGURED)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return RequestError(f"connection failed ({name}): the server's certificate", Failure.MISCONFIGURED)
        if isinstance(error, (aiohttp.ClientConnectionError, OSError)):
            self.book.forget(self._host)
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            if isinstance(cause, _ForeignAddressError):
                return RequestError(
                    f"a request with restricted data is not sent to {self.url}, which is not local ({cause})",
                    Failure.REFUSED,
                )
            number = cause.errno if isinstance(cause, OSError) else None
            why = f": {os.strerror(number)}" if number is not None and number > 0 else ""
            if isinstance(error, aiohttp.ClientConnectorDNSError):
                why = f": {self._host} has no address"
            return RequestError(f"connection failed ({name}){why}", Failure.UNREACHABLE)
        return _malformed(f"the server's answer broke off, or is no HTTP ({name})", None)

    async def _check_local(self, proxy: str | None) -> None:
        """Raise _ForeignAddressError where a restricted request would not go to this machine or a listed network."""
        if proxy is not None:
            raise _ForeignAddressError("a proxy stands between")
        await self._local_addresses(self._host)

    async def _local_addresses(self, host: str) -> tuple[str, ...]:
        """The pinned addresses of a host, checked also where they are connected to: they may be others by then."""
        addresses = await self.book.addresses(host)
        if addresses != self._known_local:
            cause = foreign_part(self.url, self._networks, lambda _: list(addresses))
            if cause:
                raise _ForeignAddressError(cause)
            self._known_local = addresses
        return addresses

    def _open(self, restricted: bool) -> aiohttp.ClientSession:
        """The connections; those of restricted requests are apart, so that each of them goes to a local address."""
        import aiohttp

        connector, resolver = _parts()
        headers = {"Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.timeout_s),
            # The caller's slots are the one limit; a second one here would count waiting as time out.
            connector=connector(
                limit=0,
                keepalive_timeout=KEEP_ALIVE_S,
                use_dns_cache=False,
                resolver=resolver(self._local_addresses if restricted else self.book.addresses),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # With it aiohttp would read ~/.netrc as well, and send what is there.
            trust_env=False,
            auto_decompress=False,
        )
        self._sessions[restricted] = session
        return session

    def _proxy(self) -> str | None:
        """The proxy that the environment names for this server."""
        if urllib.request.proxy_bypass(self._host):
            return None
        found = urllib.request.getproxies().get(urlsplit(self.url).scheme)
        if not found:
            return None
        proxy = found if "://" in found else f"http://{found}"
        if not proxy.startswith(("http://", "https://")):
            kind = proxy.partition(":")[0]
            raise RequestError(
                f"the environment names a proxy of the kind {kind!r}; accepted: http, https", Failure.MISCONFIGURED
            )
        return proxy


def _failure_of(status: int) -> Failure:
    """What an HTTP status other than 200 and a redirect means."""
    if status == 429:
        return Failure.RATE_LIMITED
    if status >= 500 or status in TEMPORARY_STATUS:
        return Failure.SERVER_ERROR
    if status in MISCONFIGURED_STATUS:
        return Failure.MISCONFIGURED
    return Failure.REFUSED if status >= 400 else Failure.MALFORMED


def _shown_target(base: str, location: str | None) -> str:
    """Where a redirect leads, without credentials and query."""
    try:
        parts = urlsplit(urljoin(base, location or ""))
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    if not location or not parts.hostname:
        return "nowhere"
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"[:MAX_DETAIL]


def list_models(
    url: str,
    key: str | None = None,
    timeout_s: float = 5.0,
    *,
    use_proxies: bool = False,
    setting: str = "judge.url",
) -> list[str]:
    """The names of the models that a server lists; for the command line, where no event loop runs.

    Raises:
        ConfigError: The address is not accepted.
        RequestError: The server does not answer, or with something else.
    """

    async def ask() -> list[str]:
        async with OpenAIClient(url, key, timeout_s=timeout_s, use_proxies=use_proxies, setting=setting) as client:
            return await client.models()

    return asyncio.run(ask())


_OWN_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "location"})
"""Headers of an answer that do not describe what http_transport hands on, or that would lead to a redirect."""


def http_transport(client: OpenAIClient, library: str = "httpx") -> Any:
    """An asynchronous transport under the rules of this module, for the clients of inspect_ai and openai.

    Answers are read whole, streamed ones too. The key is the client's; an Authorization header of the request is left
    out. A redirect arrives without its target, so that nobody follows it.

    Args:
        client: The one server that may be asked; the transport closes it.
        library: `httpx`, or `httpx2`, which openai's own clients are made of since 3.

    Returns:
        An object of the library's AsyncBaseTransport.
    """
    http = import_module(library)
    base = urlsplit(client.url)
    origin = (base.scheme, base.hostname, base.port or (443 if base.scheme == "https" else 80))
    kinds = {
        Failure.TIMEOUT: http.ReadTimeout,
        Failure.UNREACHABLE: http.ConnectError,
        Failure.MALFORMED: http.RemoteProtocolError,
    }

    class Transport(http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        """Sends each request through the client."""

        async def handle_async_request(self, request: Any) -> Any:
            """Send one request, and read the whole answer."""
            url = request.url
            path = url.raw_path.decode("ascii")
            asked = (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))
            if asked != origin or not path.startswith(f"{base.path}/"):
                raise http.UnsupportedProtocol(f"a request to {url.scheme}://{url.host} was made for {client.url}")
            body = await request.aread() or None
            try:
                status, headers, raw = await client._exchange(request.method, path[len(base.path) :], body, False)
            except RequestError as error:
                raise kinds.get(error.failure, http.UnsupportedProtocol)(str(error), request=request) from None
            if status != 200 or _error_in(raw) is not None:
                raw = client.hide_key(raw.decode("utf-8", "replace")).encode()
            kept = [(name, value) for name, value in headers.items() if name.lower() not in _OWN_HEADERS]
            return http.Response(status, headers=kept, content=raw, request=request)

        async def aclose(self) -> None:
            """Close the connections."""
            await client.close()

    return Transport()

# SPDX-License-Identifier: Apache-2.0
"""Sends requests: connections to one server, one request at a time and its outcome."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
import ssl
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from medix_verl.credentialed import Resolver, foreign_part, is_number, parse_networks, resolve
from medix_verl.errors import ConfigError
from medix_verl.openai_client.address import VERSION, check_url, is_key
from medix_verl.openai_client.replies import (
    CONCERNS_PROMPT,
    MAX_DETAIL,
    NOTHING,
    STRUCTURES,
    RequestError,
    adapt,
    detail_of,
    failure_of,
    hide_key,
    malformed,
    read_error,
    read_milliseconds,
    read_models,
    read_retry_after,
    unsupported,
)
from medix_verl.types import Failure

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AddressBook", "OpenAIClient", "http_transport", "list_models"]

KEEP_ALIVE_S = 4.0
"""Shorter than uvicorn's 5 s (vLLM, SGLang), so that we never write to a connection that the server is closing."""
SECRET_CHARS = 16
"""Keys of at least this length are treated as secrets; shorter ones are placeholders for servers without keys."""
MAX_ERROR_BYTES = 4096
"""Bytes of an error page that are read."""
MAX_CONNECTIONS_TRIED = 1000
"""More than the number of idle connections; bounds the loop if a server sends data before it is asked."""
logger = logging.getLogger(__name__)


# Connections ---------------------------------------------------------------------------------------------------------


class AddressBook:
    """Resolves each host once and keeps its addresses, so that the checked address is the one that is connected to."""

    def __init__(self, resolver: Resolver = resolve) -> None:
        """Store the resolver: host name -> addresses, in the order in which they are tried. It runs in a thread."""
        self._resolver = resolver
        self._pinned: dict[str, tuple[str, ...]] = {}
        self._looking = asyncio.Lock()

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The pinned addresses of a host, empty if it has none; a literal address is returned as it is."""
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
        """Resolve a host again at the next request."""
        self._pinned.pop(host, None)


class _ForeignAddressError(OSError):
    """A restricted request would go to an address that is not local."""


@cache
def _parts() -> tuple[type, type]:
    """The connector and the resolver classes; aiohttp is imported only when the first connection is opened."""
    import aiohttp
    from aiohttp.abc import AbstractResolver

    class Connector(aiohttp.TCPConnector):
        """Never reuses a connection with unread data: it would be read as the answer to the next request."""

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
        """Returns the result of `addresses`, without another lookup."""

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
            """Do nothing: there is nothing to release."""

    return Connector, PinnedResolver


async def _is_clear_soon(connection: Any) -> bool:
    """Whether the unread data of a TLS connection was only a session ticket, which the event loop then consumes."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        connection.close()
        raise
    return not connection.closed and not _has_unread(connection)


def _has_unread(connection: Any) -> bool:
    """Whether a connection has unrequested data or is at its end: in its buffer, or still in the socket."""
    if connection.protocol.should_close:
        return True
    poll = select.poll()
    poll.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _fill(parts: list[bytes], answer: aiohttp.ClientResponse, limit: int) -> None:
    """Read the body of an answer, decompressed; both sizes are bounded, to bound the memory.

    Raises:
        RequestError: It is larger, truncated, or compressed in another way than gzip or deflate.
    """
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise malformed(f"the server compressed its answer in a way that was not asked for ({encoding[:40]!r})")
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
            raise malformed(f"the server's answer is larger than {limit} bytes")
        parts.append(chunk)
    if stream is not None and not stream.eof:
        raise malformed("the server's answer ended early")


class OpenAIClient:
    """Client of one server. Connections belong to the first event loop that uses it, and are opened on first use."""

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
        """Check the settings; nothing is sent yet.

        Args:
            url: The base address with its version, such as http://host:port/v1.
            key: The API key, sent as a bearer token.
            timeout_s: Seconds for one request, from the connection to the last byte.
            use_proxies: Whether to use the proxies that the environment names.
            max_reply_bytes: Maximum size of a reply, after decompression.
            setting: The flag or the key that sets the address, for messages.
            local_networks: Private networks that count as local, such as 10.1.0.0/16 (see medix_verl.credentialed).
            book: The pinned addresses; None creates one for this client.

        Raises:
            ConfigError: The address, the key or a network is not accepted.
        """
        if key and not is_key(key):
            raise ConfigError(f"the key for {setting} holds characters that no API key has; set it again")
        self.url = check_url(url, setting, azure=True)
        base, _, query = self.url.partition("?")
        self._base, self._query = base, f"?{query}" if query else ""
        self.setting = setting
        self.timeout_s = timeout_s
        self.use_proxies = use_proxies
        self.max_reply_bytes = max_reply_bytes
        self.book = book or AddressBook()
        self.adapted: frozenset[str] = frozenset()
        """Parameters that the server does not support according to its errors; requests are sent without them."""
        self._networks = parse_networks(local_networks)
        self._key = key or None
        self._host = urlsplit(self.url).hostname or ""
        self._known_local: tuple[str, ...] | None = None
        """The pinned addresses that were found to be local."""
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def __repr__(self) -> str:
        return f"OpenAIClient({self.url!r})"

    def __str__(self) -> str:
        return self.url

    async def __aenter__(self) -> OpenAIClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def post(self, path: str, body: bytes, restricted: bool = False) -> bytes:
        """Send one request; if the server reports an unsupported parameter, change it and send the request again.

        Args:
            path: Appended to the base address, such as "/chat/completions".
            body: The JSON of the request.
            restricted: Whether no third party may see its content. It is sent only if every address of the host is
                local and no proxy is used.

        Returns:
            The body of the answer with HTTP status 200.

        Raises:
            RequestError: There is no such answer.
        """
        adapted = self.adapted
        sent = adapt(body, adapted) if adapted else body
        while True:
            status, headers, raw = await self._exchange("POST", path, sent, restricted)
            if status in (400, 422) and (name := unsupported(raw, sent)):
                adapted |= {name}
                sent = adapt(sent, adapted)
                continue
            raw = self._read_status(status, headers, raw)
            # Only changes after which the request succeeded are remembered.
            if adapted - self.adapted:
                self._tell(adapted - self.adapted)
                self.adapted |= adapted
            return self._without_key(raw)

    def _tell(self, names: Iterable[str]) -> None:
        """Log which parameters are left out from now on."""
        section = self.setting.rpartition(".")[0]
        for name in sorted(names):
            change = "sent as max_completion_tokens" if name == "max_tokens" else "left out"
            hint = ""
            if name in STRUCTURES and section:
                hint = f"; its replies are held to no form: set {section}.structured=json_schema (OpenAI's), or none"
            logger.warning("%s does not take the parameter %s: it is %s from now on%s", self.url, name, change, hint)

    async def get(self, path: str) -> bytes:
        """The body of the answer to a GET with HTTP status 200.

        Raises:
            RequestError: There is no such answer.
        """
        return self._read_status(*await self._exchange("GET", path, None, False))

    async def models(self) -> list[str]:
        """The names of the models that the server lists.

        Raises:
            RequestError: It does not answer, or the answer is not a list of models.
        """
        return read_models(await self.get("/models"))

    def hide_key(self, text: str) -> str:
        """A text without the key, whole or in part, plain or escaped: a server may repeat it."""
        return hide_key(text, self._key)

    def _without_key(self, raw: bytes) -> bytes:
        """An answer without the whole key, because answers are stored in records and caches, and quoted in errors.

        A short key, such as EMPTY or none, is not a secret, and may be a word of the answer.
        """
        key = (self._key or "").encode()
        if len(key) < SECRET_CHARS:
            return raw
        # JSON allows two spellings of a slash.
        return raw.replace(key, b"***").replace(key.replace(b"/", b"\\/"), b"***")

    async def close(self) -> None:
        """Close the connections."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def _exchange(
        self, method: str, path: str, body: bytes | None, restricted: bool
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request and read the answer, whatever its status."""
        import aiohttp

        proxy = self._proxy() if self.use_proxies else None
        # Plain bytes would make aiohttp search its payload registry.
        data = None if body is None else aiohttp.BytesPayload(body, content_type="application/json")
        parts: list[bytes] = []
        try:
            if restricted:
                await self._check_local(proxy)
            session = self._sessions.get(restricted) or self._open(restricted)
            # A redirect would send the prompt, and perhaps the key, to an address that is not configured.
            async with session.request(
                method, self._base + path + self._query, data=data, allow_redirects=False, proxy=proxy
            ) as answer:
                if answer.status == 200:
                    await _fill(parts, answer, self.max_reply_bytes)
                else:
                    # The status is enough; an incomplete error page is accepted.
                    with contextlib.suppress(asyncio.TimeoutError, aiohttp.ClientError, zlib.error, RequestError):
                        await _fill(parts, answer, MAX_ERROR_BYTES)
            return answer.status, answer.headers, parts[0] if len(parts) == 1 else b"".join(parts)
        except asyncio.TimeoutError:
            self.book.forget(self._host)
            raise RequestError(f"no answer within {self.timeout_s:g} s", Failure.TIMEOUT) from None
        except (aiohttp.ClientError, OSError, zlib.error) as error:
            # Not chained: aiohttp's errors contain the request's headers.
            raise self._failed(error) from None

    def _read_status(self, status: int, headers: Mapping[str, str], raw: bytes) -> bytes:
        """The body of an answer with status 200 that is not an error; RequestError for any other."""
        asked_s = read_milliseconds(headers.get("retry-after-ms")) or read_retry_after(headers.get("Retry-After"))
        if status == 200:
            said = read_error(raw) if b'"error"' in raw else None
            if said is None:
                return raw
            detail = detail_of(said.message.encode("utf-8", "replace"), self._key)
            message = f"the server answers with an error: {detail}"
            failure, _ = failure_of(said.number if said.number in (401, 402, 403, 404, 429) else 400, said)
            if failure is Failure.REFUSED and not said.codes & CONCERNS_PROMPT:
                raise malformed(message)  # the answer does not say whether a retry would fail too
            raise RequestError(message, failure, status, asked_s)
        if 300 <= status < 400:
            where = self.hide_key(_shown_target(self.url, headers.get("Location")))
            raise RequestError(
                f"HTTP {status}: the server redirects to {where}, and no redirect is followed, because it would carry "
                f"the key away; set {self.setting} to that address if you trust it",
                Failure.MISCONFIGURED,
                status,
            )
        detail = detail_of(raw, self._key)
        message = f"HTTP {status}" + (f": {detail}" if detail else "")
        failure, is_unclear = failure_of(status, read_error(raw) or NOTHING)
        if status in (404, 405):
            message += self._other_address()
        raise RequestError(message, failure, status, asked_s, is_unclear)

    def _other_address(self) -> str:
        """A hint with the address to try if the configured one has no version; otherwise empty."""
        if self._query or VERSION.search(urlsplit(self._base).path):
            return ""
        return f"; {self.setting} has no version at its end, did you mean {self.setting}={self._base}/v1?"

    def _failed(self, error: Exception) -> RequestError:
        """The RequestError for a connection error."""
        import aiohttp

        name = type(error).__name__
        if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
            return RequestError(f"{self.setting} is not an address: {self.url!r}", Failure.MISCONFIGURED)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            cause = error.certificate_error
            why = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "it cannot be checked"
            return RequestError(
                f"connection failed ({name}): the server's certificate is not trusted ({why}); name a file with the "
                "certificate of its issuer: export SSL_CERT_FILE=FILE",
                Failure.MISCONFIGURED,
            )
        if isinstance(error, aiohttp.ClientConnectorSSLError):
            return RequestError(
                f"connection failed ({name}): no TLS connection to {self._host} could be made; if the server speaks "
                f"plain HTTP, type {self.setting}=http://...",
                Failure.UNREACHABLE,
            )
        if isinstance(error, aiohttp.ClientHttpProxyError):
            why = "asks for a name and a password" if error.status == 407 else "lets nothing through"
            message = f"the proxy that the environment names {why} (HTTP {error.status}); see HTTPS_PROXY and NO_PROXY"
            return RequestError(message, Failure.MISCONFIGURED)
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            message = "the proxy that the environment names cannot be reached; see HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
            return RequestError(message, Failure.UNREACHABLE)
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
                why = f": {self._host} has no address; check the name in {self.setting}, or this machine's DNS"
            return RequestError(f"connection failed ({name}){why}", Failure.UNREACHABLE)
        tls = "" if self.url.startswith("https") else f"; if the server speaks TLS, type {self.setting}=https://..."
        return malformed(f"the server's answer ended early, or is not HTTP ({name}){tls}", None)

    async def _check_local(self, proxy: str | None) -> None:
        """Raise _ForeignAddressError if a restricted request would not go to this machine or a listed network."""
        if proxy is not None:
            raise _ForeignAddressError("a proxy stands between")
        await self._local_addresses(self._host)

    async def _local_addresses(self, host: str) -> tuple[str, ...]:
        """The pinned addresses of a host, all local; checked again at connection time, as they may have changed."""
        addresses = await self.book.addresses(host)
        if addresses != self._known_local:
            cause = foreign_part(self.url, self._networks, lambda _: list(addresses))
            if cause:
                raise _ForeignAddressError(cause)
            self._known_local = addresses
        return addresses

    def _open(self, restricted: bool) -> aiohttp.ClientSession:
        """Open a session; restricted requests have their own, so that all its connections are to local addresses."""
        import aiohttp

        connector, resolver = _parts()
        headers = {"Accept-Encoding": "identity"}
        if self._key is not None and self._query:
            headers["api-key"] = self._key  # Azure reads a bearer token as another type of credential
        elif self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.timeout_s),
            # The caller's slots are the only limit; with a second one, waiting would count towards the timeout.
            connector=connector(
                limit=0,
                keepalive_timeout=KEEP_ALIVE_S,
                use_dns_cache=False,
                resolver=resolver(self._local_addresses if restricted else self.book.addresses),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # trust_env=True would also make aiohttp read ~/.netrc and send its credentials.
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


def _shown_target(base: str, location: str | None) -> str:
    """The target of a redirect, without credentials and query."""
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
    """The names of the models that a server lists; for the command line, outside an event loop.

    Raises:
        ConfigError: The address is not accepted.
        RequestError: The server does not answer, or the answer is not a list of models.
    """

    async def ask() -> list[str]:
        async with OpenAIClient(url, key, timeout_s=timeout_s, use_proxies=use_proxies, setting=setting) as client:
            return await client.models()

    return asyncio.run(ask())


_OWN_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "location"})
"""Headers of an answer that do not apply to what http_transport returns, or that would cause a redirect."""


def http_transport(client: OpenAIClient, library: str = "httpx") -> Any:
    """An asynchronous transport under the rules of this module, for the clients of inspect_ai and openai.

    Answers are read whole, including streamed ones. The client's key is used; an Authorization header of the request is
    removed. A redirect is returned without its target, so that it is not followed.

    Args:
        client: The only server that may be asked; the transport closes it.
        library: `httpx`, or `httpx2`, which openai's own clients use since version 3.

    Returns:
        An object of the library's AsyncBaseTransport.
    """
    http = import_module(library)
    base = urlsplit(client.url.partition("?")[0])
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
            if status != 200 or (b'"error"' in raw and read_error(raw) is not None):
                raw = client.hide_key(raw.decode("utf-8", "replace")).encode()
            kept = [(name, value) for name, value in headers.items() if name.lower() not in _OWN_HEADERS]
            return http.Response(status, headers=kept, content=raw, request=request)

        async def aclose(self) -> None:
            """Close the connections."""
            await client.close()

    return Transport()

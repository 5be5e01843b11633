# SPDX-License-Identifier: Apache-2.0
"""One encoder for all reward processes of a Ray run: the service in the named actor, and the client in each process.

The spec's `device` and `threads` decide where it computes, not Ray's resources (medix_verl.runtime.shared_actor).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

from medix_verl.embedding.encoder import Encoder, SentenceEncoder, build_encoder
from medix_verl.embedding.server import ServerEmbedder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError, MedixError
from medix_verl.runtime.shared_actor import ActorSpec, BatchingClient, SharedActor, as_they_come, call_named
from medix_verl.types import Failure, Similarity

__all__ = ["NAME", "EncoderService", "SharedEncoder", "collect_stats"]

NAME = "medix_encoder"
MAX_PAIRS = 4096
PATIENCE_S = 60.0
"""Seconds to wait for an unreachable actor; after that the answers are unscored."""

Answer = tuple["float | None", str, "Failure | None"]
"""The fields of a Similarity; plain tuples, because thousands of them are pickled."""


class EncoderService:
    """The object in the actor; satisfies medix_verl.runtime.shared_actor.Service."""

    def __init__(
        self, spec: SemanticSpec, local_networks: Sequence[str] = (), encoder: SentenceEncoder | None = None
    ) -> None:
        """Keep the settings; if no encoder is given, `load` or the first request builds it."""
        self.spec = spec
        self.local_networks = tuple(local_networks)
        self.encoder: Encoder | None = encoder
        self.lock = asyncio.Lock()

    async def load(self) -> str:
        """Load the model if it is not loaded; returns the reason of a failure, or ""."""
        async with self.lock:
            if self.encoder is None:
                try:
                    self.encoder = await asyncio.to_thread(build_encoder, self.spec, self.local_networks)
                except MedixError as error:
                    return str(error)
        return ""

    async def answer(self, items: Sequence[tuple[str, str, bool]]) -> AsyncIterator[list[tuple[int, Answer]]]:
        """Yield index and answer of each (candidate, reference, restricted)."""
        reason = await self.load()
        if self.encoder is None:
            yield [(place, (None, reason, Failure.INTERNAL)) for place in range(len(items))]
            return
        async for group in as_they_come([self.encoder.compare(*item) for item in items]):
            yield [(place, (found.value, found.reason, found.failure)) for place, found in group]

    async def take_stats(self) -> dict[str, float]:
        """The counts since the last call."""
        if not isinstance(self.encoder, SentenceEncoder):
            return {}
        return {name: float(value) for name, value in asdict(self.encoder.take_stats()).items()}

    async def close(self) -> None:
        """Release the model."""
        if self.encoder is not None:
            await self.encoder.close()


class SharedEncoder:
    """Client of the run's encoder in one process; satisfies medix_verl.embedding.encoder.Encoder."""

    def __init__(self, spec: SemanticSpec, local_networks: Sequence[str] = (), patience_s: float = PATIENCE_S) -> None:
        """Find or create the actor and have it load the model.

        Raises:
            ConfigError: A server's address or key cannot be used.
            EncoderError: The model cannot be loaded.
        """
        networks = tuple(local_networks)
        # Checked here too, so that a wrong setting is reported before an actor is created.
        self.endpoints = ServerEmbedder(spec, networks).endpoints if spec.kind == "openai" else ()
        self.actor = SharedActor(
            ActorSpec(
                NAME,
                EncoderService,
                (spec, networks),
                settings=repr((spec, networks)),
                # Ray hides all GPUs from an actor that requests none.
                env={} if spec.device == "cpu" else {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
                title="shared encoder",
            )
        )
        if reason := self.actor.call_now("load"):
            raise EncoderError(reason)
        self.client: BatchingClient[tuple[str, str, bool], Answer] = BatchingClient(
            [self.actor],
            failed=lambda reason: (None, reason, Failure.INTERNAL),
            title="shared encoder",
            delay_s=0.0,
            max_items=MAX_PAIRS,
            patience_s=patience_s,
            join_equal=True,
        )

    async def compare(self, candidate: str, reference: str, restricted: bool = False) -> Similarity:
        """Cosine similarity of two texts; no value, with the reason, where the actor stays unreachable."""
        return Similarity(*await self.client.ask((candidate, reference, restricted)))

    async def close(self) -> None:
        """Wait for this process's pending requests; the actor keeps running, because it belongs to the run."""
        await self.client.close()


def collect_stats(timeout_s: float = 5.0) -> dict[str, float]:
    """Counts of the run's encoder since the last call; empty without an encoder, or if it does not answer in time."""
    return call_named(NAME, "take_stats", timeout_s=timeout_s) or {}

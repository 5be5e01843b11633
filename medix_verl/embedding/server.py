# SPDX-License-Identifier: Apache-2.0
"""An embedder that calls OpenAI-compatible servers (`/v1/embeddings` of vLLM, TEI and others).

Limits, retries and the handling of unreachable servers are those of the judge (medix_verl.runtime.dispatch).
A reply is accepted only if it has exactly one vector for each text, all of the same length as in earlier replies. The
vectors are normalised here. A model's truncation, prompts and pooling are settings of the server.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from medix_verl.embedding.spec import SemanticSpec
from medix_verl.openai_client import OpenAIClient, RequestError, read_key
from medix_verl.runtime.dispatch import CallCounts, Dispatcher, Limits
from medix_verl.types import Failure

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ServerEmbedder"]

LIMITS = (
    *("timeout_s", "max_retries", "max_concurrent", "max_per_minute"),
    *("breaker", "breaker_failures", "breaker_seconds"),
)
BYTES_A_VECTOR = 1 << 18
"""Reply bytes allowed for one vector: 8,192 numbers of 32 characters."""


class ServerEmbedder:
    """Satisfies medix_verl.embedding.encoder.Embedder; the limits apply to each event loop separately."""

    max_running: int | None = None

    def __init__(self, spec: SemanticSpec, local_networks: Sequence[str] = ()) -> None:
        """Check the settings; no request is sent yet.

        Args:
            spec: The server and its limits.
            local_networks: Private networks (CIDR) whose servers may receive credentialed rows.

        Raises:
            ConfigError: An address, a network or the key cannot be used.
        """
        self.spec = spec
        self.local_networks = tuple(local_networks)
        self.key = read_key(spec.api_key_env, "semantic.api_key_env")
        self.max_texts = spec.batch_size
        self.counts = CallCounts()
        self.hidden = 0
        """Length of a vector; 0 before the first reply."""
        self.dispatchers: WeakKeyDictionary[asyncio.AbstractEventLoop, Dispatcher] = WeakKeyDictionary()
        self.endpoints = tuple(endpoint.client.url for endpoint in self.open().endpoints)

    def open(self) -> Dispatcher:
        """A dispatcher for one event loop; not connected yet."""
        spec = self.spec
        settings: dict[str, Any] = {
            "timeout_s": spec.timeout_s,
            "max_reply_bytes": BYTES_A_VECTOR * (spec.batch_size + 4),
            "setting": "semantic.url",
            "local_networks": self.local_networks,
        }
        limits = Limits(**{name: getattr(spec, name) for name in LIMITS})
        clients = [OpenAIClient(url, self.key, **settings) for url in spec.urls]
        neutral = json.dumps({"model": spec.model, "input": ["ready"]}).encode("ascii")
        return Dispatcher(clients, limits, self.counts, lacking="no embedding", neutral=neutral, section="semantic")

    async def embed(self, texts: Sequence[str], restricted: bool = False) -> np.ndarray:
        """Unit vectors of the texts, (texts, hidden), float32, in order; NaN for a vector that is zero or not finite.

        Raises:
            RequestError: The server refused the request, or every attempt failed.
        """
        loop = asyncio.get_running_loop()
        if (dispatcher := self.dispatchers.get(loop)) is None:
            dispatcher = self.dispatchers[loop] = self.open()
        # Numbers as text take eight times as long to parse; a server that sends text anyway is supported.
        request = {"model": self.spec.model, "input": list(texts), "encoding_format": "base64"}
        return await dispatcher.send(
            "/embeddings", lambda: json.dumps(request).encode("ascii"), partial(self.read, len(texts)), restricted
        )

    def read(self, count: int, raw: bytes) -> np.ndarray:
        """`embed`'s vectors, from a reply to `count` texts.

        Raises:
            RequestError: Vectors are missing, or their number or length is wrong (Failure.MALFORMED).
        """
        import numpy as np

        try:
            data = json.loads(raw)["data"]
            items = {item["index"]: decode(item["embedding"]) for item in data}
            rows = np.asarray([items[place] for place in range(count)], dtype=np.float64)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise malformed(f"no vector for each of {count} texts ({type(error).__name__})") from None
        if len(data) != count or rows.ndim != 2 or not rows.shape[1]:
            raise malformed(f"{len(data)} vectors for {count} texts, in an array of {rows.shape}")
        if self.hidden and rows.shape[1] != self.hidden:
            raise malformed(f"vectors of {rows.shape[1]} numbers, where earlier ones had {self.hidden}")
        self.hidden = rows.shape[1]
        with np.errstate(all="ignore"):
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            return np.where(np.isfinite(norms) & (norms > 0), rows / norms, np.nan).astype(np.float32)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        dispatcher = self.dispatchers.pop(asyncio.get_running_loop(), None)
        if dispatcher is not None:
            await dispatcher.close()


def decode(vector: Any) -> Any:
    """The numbers of a vector in a reply: a list, or float32 values in base64."""
    import numpy as np

    return np.frombuffer(b64decode(vector, validate=True), "<f4") if isinstance(vector, str) else vector


def malformed(cause: str) -> RequestError:
    """The error for a malformed reply."""
    return RequestError(f"the server's answer has {cause}", Failure.MALFORMED, 200)

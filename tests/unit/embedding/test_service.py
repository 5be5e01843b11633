# SPDX-License-Identifier: Apache-2.0
"""The shared encoder without Ray: what the actor answers, and when there is none."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from medix_verl.embedding.encoder import SentenceEncoder, connect_encoder
from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.embedding.local import LocalEmbedder
from medix_verl.embedding.model import default_threads
from medix_verl.embedding.service import Answer, EncoderService
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.runtime.shared_actor import in_ray
from medix_verl.types import Failure


class FakeModel:
    """Every text has the same vector, but for one that fails."""

    def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
        if "explode" in texts:
            raise RuntimeError("out of memory")
        return np.array([(0.6, 0.8) for _ in texts])


async def answers(service: EncoderService, pairs: Sequence[tuple[str, str]]) -> list[Answer]:
    found = {}
    async for group in service.answer([(*pair, False) for pair in pairs]):
        found.update(group)
    return [found[place] for place in range(len(pairs))]


def test_the_service_answers_in_order_with_plain_tuples() -> None:
    async def main() -> None:
        service = EncoderService(SemanticSpec())
        assert await service.take_stats() == {}
        service.encoder = SentenceEncoder(SemanticSpec(), LocalEmbedder(FakeModel(), 128))
        [first, second] = await answers(service, [("a", "b"), ("a", "c")])
        assert first == second == (pytest.approx(1.0), "", None)
        [(value, reason, failure)] = await answers(service, [("a", "explode")])
        assert value is None and "out of memory" in reason
        assert failure is Failure.INTERNAL
        stats = await service.take_stats()
        assert (stats["asked"], stats["failures"]) == (3.0, 1.0)
        assert all(isinstance(number, float) for number in stats.values())
        await service.close()

    asyncio.run(main())


def test_outside_ray_the_encoder_is_ones_own() -> None:
    assert not in_ray()
    assert isinstance(connect_encoder(SemanticSpec(kind="hashing")), HashingEncoder)
    with pytest.raises(ConfigError, match="semantic.enable is false"):
        connect_encoder(SemanticSpec(enable=False))


def test_threads() -> None:
    assert 1 <= default_threads() <= 16

# SPDX-License-Identifier: Apache-2.0
"""The shared encoder without Ray: what the actor answers, and when there is none."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from medix_verl.embedding.connect import connect_encoder
from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.embedding.model import default_threads
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.embedding.worker import EncoderHost, inside_ray
from medix_verl.errors import ConfigError


class FakeModel:
    """Every text has the same vector, but for one that fails."""

    def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
        if "explode" in texts:
            raise RuntimeError("out of memory")
        return np.array([(0.6, 0.8) for _ in texts])


def test_the_host_answers_in_order_with_plain_tuples() -> None:
    async def main() -> None:
        host = EncoderHost(SemanticSpec(), FakeModel())
        assert await host.take_stats() == {}
        [first, second] = await host.compare_many([("a", "b"), ("a", "c")])
        assert first == second == (pytest.approx(1.0), "")
        [(value, reason)] = await host.compare_many([("a", "explode")])
        assert value is None and "out of memory" in reason
        stats = await host.take_stats()
        assert (stats["asked"], stats["failures"]) == (3.0, 1.0)
        assert all(isinstance(number, float) for number in stats.values())

    asyncio.run(main())


def test_outside_ray_the_encoder_is_ones_own() -> None:
    assert not inside_ray()
    assert isinstance(connect_encoder(SemanticSpec(kind="hashing")), HashingEncoder)
    with pytest.raises(ConfigError, match="semantic.enable is false"):
        connect_encoder(SemanticSpec(enable=False))


def test_threads() -> None:
    assert 1 <= default_threads() <= 16

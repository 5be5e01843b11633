# SPDX-License-Identifier: Apache-2.0
"""The one thing that every encoder can do: say how similar two short texts are."""

from typing import Protocol

from medix_verl.types import Similarity

__all__ = ["Encoder"]


class Encoder(Protocol):
    """Compares texts by the cosine of their embeddings. Twin of medix_verl.judge.judge.Judge."""

    async def compare(self, candidate: str, reference: str) -> Similarity:
        """Cosine similarity of the two texts; never raises for a failure of the model behind it."""
        ...

    async def close(self) -> None:
        """Release the model; the encoder may not be asked again."""
        ...

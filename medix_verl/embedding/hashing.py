# SPDX-License-Identifier: Apache-2.0
"""An encoder without a model: the cosine of hashed character trigrams, the same on every machine and in every process.

It compares spelling, not meaning: for tests, examples and machines without the embedding model.
"""

from __future__ import annotations

import math
from collections import Counter
from zlib import crc32

from medix_verl.types import Similarity

__all__ = ["HashingEncoder"]

BUCKETS = 4096
SIZE = 3


class HashingEncoder:
    """Satisfies medix_verl.embedding.encoder.Encoder."""

    endpoints: tuple[str, ...] = ()

    async def compare(self, candidate: str, reference: str, restricted: bool = False) -> Similarity:
        """Cosine of the two texts' trigram counts, in [0, 1]; 0 for two empty texts."""
        return Similarity(cosine(counts(candidate), counts(reference)))

    async def close(self) -> None:
        """Nothing to release."""


def counts(text: str) -> Counter[int]:
    """Hashed trigrams of a text, with white space and case folded."""
    words = " ".join(text.casefold().split())
    padded = f" {words} " if words else ""
    grams = (padded[index : index + SIZE] for index in range(len(padded) - SIZE + 1))
    # crc32, because Python's own hash differs from process to process.
    return Counter(crc32(gram.encode("utf-8", "replace")) % BUCKETS for gram in grams)


def cosine(left: Counter[int], right: Counter[int]) -> float:
    """Cosine of two sparse counts; 0 if one is empty."""
    norm = math.sqrt(sum(n * n for n in left.values()) * sum(n * n for n in right.values()))
    return min(1.0, sum(n * right[key] for key, n in left.items()) / norm) if norm else 0.0

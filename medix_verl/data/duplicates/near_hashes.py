# SPDX-License-Identifier: Apache-2.0
"""Find all pairs of 64-bit hashes that differ in at most a few bits, without comparing every pair.

Two hashes that differ in at most d of 64 bits agree in at least two of d + 2 blocks of bits. So there is one table for
each pair of blocks (Manku, Jain, Das Sarma 2007), and only hashes with the same key in a table are compared.

Why 6 of 64 bits, confirmed by 24 of 256 (QualitySpec.distance, .detail_distance). Measured on 263 pictures and crops
from scikit-image and pydicom (fundus, histology, cells, MRI, CT, ultrasound) and drawn phantoms, as copies; and on all
39,800 pairs of 200 drawn "heads" and of 200 drawn "chests", each of a different patient, as pictures of one layout:

    copies that are missed              4, not confirmed    6 and 24    8 and 32
    JPEG 75, half or twice the size           0.4 %           0            0
    JPEG 75 of half the size                  2.7 %          11.4 %       11.0 %   (all of 50 x 50 pixels)
    brightness +20 % / -20 %             3.4 / 0.4 %      3.0 / 0 %    0.4 / 0 %
    contrast, gamma                       0 - 0.8 %           0            0
    a margin of 1 % cut off                   5.7 %           5.7 %        1.1 %
    a margin of 3 % cut off                  73 %           100 %         90 %
    pairs of patients taken for one         46               0            3

Not confirmed at 6: 222 pairs of patients. Of pictures of two different kinds, none of 240,213 pairs is within 10 bits.
No large set of real radiographs was available: check the distances by looking at the report's near-image rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

__all__ = ["bits_apart", "near_pairs"]

BITS = 64
AGREEING = 2
"""Blocks that form a key: 16 bits at distance 6."""
CHUNK = 2_000_000
"""Pairs compared at once: each takes 16 bytes of indices and 16 of hashes."""


def near_pairs(
    left: np.ndarray,
    right: np.ndarray,
    distance: int,
    left_groups: np.ndarray | None = None,
    right_groups: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of a hash of `left` and a hash of `right` that differ in at most `distance` bits.

    Args:
        left: uint64 of shape (n,).
        right: uint64 of shape (m,).
        distance: Bits, at most 62.
        left_groups: uint64 of shape (n,): only pairs within one group are returned.
        right_groups: uint64 of shape (m,).

    Yields:
        Indices into `left` and into `right`, in parts of bounded size. A pair is repeated for each key that it
        shares, so callers use the first occurrence or remove repetitions.
    """
    if not len(left) or not len(right):
        return
    grouped = left_groups is not None and right_groups is not None
    for mask in masks(distance):
        left_keys, right_keys = left & mask, right & mask
        if grouped:
            left_keys, right_keys = mix(left_keys) ^ left_groups, mix(right_keys) ^ right_groups
        for first, second in equal_pairs(left_keys, right_keys):
            keep = bits_apart(left[first], right[second]) <= distance
            if grouped:
                keep &= left_groups[first] == right_groups[second]  # type: ignore[index]  # both are given
            if keep.any():
                yield first[keep], second[keep]


def masks(distance: int) -> list[np.uint64]:
    """One bit mask per table.

    Neighbouring bits are neighbouring frequencies, which pictures of one layout share. So each block has bits from all
    over the hash; otherwise one table could have the same key for all of them.
    """
    scattered = [1 << (place * 29 % BITS) for place in range(BITS)]
    blocks = [sum(scattered[number :: distance + AGREEING]) for number in range(distance + AGREEING)]
    return [np.uint64(sum(chosen)) for chosen in combinations(blocks, AGREEING)]


def mix(keys: np.ndarray) -> np.ndarray:
    """Mix keys over all 64 bits (the splitmix64 finaliser), so that XOR with a group's number cannot cancel them."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(keys ^ (keys >> np.uint64(31)))


def equal_pairs(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of all pairs with equal keys, about CHUNK pairs at a time."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    starts = np.asarray(np.searchsorted(ordered, left, side="left"))
    ends = np.asarray(np.searchsorted(ordered, left, side="right"))
    counts = ends - starts
    asking = np.flatnonzero(counts)
    total = np.cumsum(counts[asking])
    at = 0
    while at < len(asking):
        before = int(total[at - 1]) if at else 0
        end = max(at + 1, int(np.searchsorted(total, before + CHUNK, side="right")))
        rows, sizes = asking[at:end], counts[asking[at:end]]
        offsets = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield np.repeat(rows, sizes), order[np.repeat(starts[rows], sizes) + offsets]
        at = end


def bits_apart(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Number of differing bits per element of two uint64 arrays; for 2-d arrays, summed over the last axis."""
    bits = popcount(left ^ right)
    return bits.sum(axis=-1) if bits.ndim > 1 else bits


def popcount(values: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.asarray(np.bitwise_count(values), dtype=np.int64)
    octets = np.ascontiguousarray(values)[..., None].view(np.uint8)
    return np.asarray(np.unpackbits(octets, axis=-1).sum(axis=-1, dtype=np.int64))

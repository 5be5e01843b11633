# SPDX-License-Identifier: Apache-2.0
"""The banded search: it finds exactly what comparing every pair finds, and counts bits rightly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medix_verl.data.duplicates import near_hashes as near
from medix_verl.data.duplicates.near_hashes import bits_apart, near_pairs, popcount

Pairs = set[tuple[int, int]]


def banded(left: np.ndarray, right: np.ndarray, distance: int, *groups: np.ndarray) -> Pairs:
    return {
        (int(one), int(other))
        for first, second in near_pairs(left, right, distance, *groups)
        for one, other in zip(first, second, strict=True)
    }


def brute(left: np.ndarray, right: np.ndarray, distance: int) -> Pairs:
    return {
        (one, other)
        for one, mine in enumerate(left.tolist())
        for other, its in enumerate(right.tolist())
        if (mine ^ its).bit_count() <= distance
    }


@st.composite
def families(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Few seeds with some bits turned over, so that near pairs are common."""
    distance = draw(st.integers(0, 8))
    seeds = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    turned = st.lists(st.integers(0, 63), max_size=10)
    hashes = st.builds(lambda seed, bits: seed ^ sum({1 << bit for bit in bits}), st.sampled_from(seeds), turned)
    left, right = (draw(st.lists(hashes, max_size=12)) for _ in range(2))
    return np.array(left, np.uint64), np.array(right, np.uint64), distance


@settings(max_examples=300, deadline=None)
@given(families())
def test_the_banded_search_finds_what_brute_force_finds(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    assert banded(*case) == brute(*case)


@settings(deadline=None)
@given(families(), st.data())
def test_pairs_of_other_groups_do_not_count(case: tuple[np.ndarray, np.ndarray, int], data: st.DataObject) -> None:
    left, right, distance = case
    mine, its = (
        np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(one), max_size=len(one))), np.uint64)
        for one in (left, right)
    )
    expected = {(one, other) for one, other in brute(left, right, distance) if mine[one] == its[other]}
    assert banded(left, right, distance, mine, its) == expected


def test_a_small_part_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.array([7, 7, 7, 6, 2**63, 2**63 + 1], np.uint64)
    whole = banded(hashes, hashes, 2)
    monkeypatch.setattr(near, "CHUNK", 3)
    assert banded(hashes, hashes, 2) == whole == brute(hashes, hashes, 2)


def test_fifty_thousand_hashes_against_brute_force_on_a_sample() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**64, 50_000, dtype=np.uint64)
    sample = rng.choice(50_000, 60, replace=False)
    flips = np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, (60, 4), dtype=np.uint64), axis=1)
    asked = np.concatenate([base[sample], base[sample] ^ flips, rng.integers(0, 2**64, 60, dtype=np.uint64)])
    expected = {
        (number, int(other))
        for number, value in enumerate(asked)
        for other in np.flatnonzero(bits_apart(base, np.full_like(base, value)) <= 4)
    }
    assert len(expected) >= 120
    assert banded(asked, base, 4) == expected


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8))
def test_bits_are_counted_with_and_without_numpy_2(values: list[int]) -> None:
    array = np.array(values, np.uint64)
    counts = [value.bit_count() for value in values]
    assert popcount(array).tolist() == counts
    octets = array[..., None].view(np.uint8)
    assert np.unpackbits(octets, axis=-1).sum(axis=-1).tolist() == counts


def test_the_last_axis_of_long_hashes_is_summed() -> None:
    assert bits_apart(np.array([[1, 3]], np.uint64), np.array([[0, 0]], np.uint64)).tolist() == [3]

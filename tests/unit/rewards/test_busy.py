# SPDX-License-Identifier: Apache-2.0
"""Overlapping answers count their common time once, gaps count nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.rewards.metrics import BusyClock


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def busy_time(intervals: list[tuple[float, float]]) -> list[float]:
    """What the clock gives for answers that begin and end at these times, in the order in which they end."""
    clock = Clock()
    busy = BusyClock(clock)
    events = sorted([(end, 1) for _, end in intervals] + [(begin, 0) for begin, _ in intervals])
    given_out = []
    for when, ends in events:
        clock.time = when
        if ends:
            given_out.append(busy.leave())
        else:
            busy.enter()
    return given_out


def test_one_after_the_other_with_a_gap() -> None:
    assert busy_time([(0.0, 2.0), (10.0, 11.0)]) == [2.0, 1.0]


def test_two_at_once_share_their_time() -> None:
    assert busy_time([(0.0, 4.0), (1.0, 3.0)]) == [3.0, 1.0]
    assert busy_time([(0.0, 4.0), (0.0, 4.0), (0.0, 4.0)]) == [4.0, 0.0, 0.0]


def test_a_gap_after_an_overlap_counts_nothing() -> None:
    assert busy_time([(0.0, 2.0), (1.0, 3.0), (10.0, 10.5)]) == [2.0, 1.0, 0.5]


def test_by_default_it_measures_real_seconds() -> None:
    busy = BusyClock()
    busy.enter()
    assert 0 <= busy.leave() < 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=12))
def test_the_sum_is_the_length_of_the_union(spans: list[tuple[int, int]]) -> None:
    intervals = [(float(begin), float(begin + length)) for begin, length in spans]
    given_out = busy_time(intervals)
    covered = {second for begin, end in intervals for second in range(int(begin), int(end))}
    assert sum(given_out) == pytest.approx(len(covered))
    assert all(share >= 0 for share in given_out)

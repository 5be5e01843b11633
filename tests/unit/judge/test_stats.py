# SPDX-License-Identifier: Apache-2.0
"""Counters, their snapshot, and several workers as one."""

import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

from medix_verl.judge.stats import Counters, JudgeStats, add_up, quantile


def test_a_snapshot_is_frozen_and_travels() -> None:
    counters = Counters()
    counters.calls = 3
    counters.failures["timeout"] += 2
    counters.latencies.extend([0.3, 0.1, 0.2])
    stats = counters.snapshot(inflight=4)
    assert (stats.calls, stats.p50_s, stats.p95_s, stats.inflight) == (3, 0.2, 0.3, 4)
    assert pickle.loads(pickle.dumps(stats)) == stats
    with pytest.raises(FrozenInstanceError):
        stats.calls = 4  # type: ignore[misc]
    counters.reset()
    assert counters.snapshot(0) == JudgeStats()
    assert stats.failures == {"timeout": 2}


def test_flat_numbers_for_a_log() -> None:
    flat = JudgeStats(calls=2, failures={"timeout": 1}).flat()
    assert flat["calls"] == 2.0 and flat["failures_timeout"] == 1.0
    assert all(isinstance(value, float) for value in flat.values())


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.0, 1), (1.0, 100), (0.501, 51)])
def test_quantiles(share: float, expected: int) -> None:
    assert quantile([float(number) for number in range(1, 101)], share) == expected
    assert quantile([], share) == 0.0
    assert quantile([7.0], share) == 7.0


def test_workers_add_up() -> None:
    one = JudgeStats(calls=3, asked=5, inflight=1, p50_s=0.1, p95_s=0.2, failures={"timeout": 1})
    two = JudgeStats(calls=1, asked=1, inflight=1, p50_s=0.5, p95_s=0.6, failures={"timeout": 2, "status": 1})
    both = add_up([one, two])
    assert (both.calls, both.asked, both.inflight, both.p95_s) == (4, 6, 2, 0.6)
    assert both.p50_s == pytest.approx(0.2)
    assert both.failures == {"timeout": 3, "status": 1}
    assert add_up([]) == JudgeStats()
    assert {item.name for item in fields(JudgeStats)[:11]}.isdisjoint({"p50_s", "p95_s", "failures"})

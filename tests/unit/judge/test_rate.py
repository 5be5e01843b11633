# SPDX-License-Identifier: Apache-2.0
"""No minute sees more requests than the limit, and a busy pool gets nearly all of them."""

from hypothesis import given, settings
from hypothesis import strategies as st
from medix_verl.judge.rate import TokenBucket


def sent(per_minute: int, arrivals: list[float]) -> list[float]:
    bucket = TokenBucket(per_minute)
    return [now + bucket.reserve(now) for now in arrivals]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.lists(st.floats(0, 200), min_size=1, max_size=500))
def test_never_more_in_any_minute(per_minute: int, arrivals: list[float]) -> None:
    times = sent(per_minute, sorted(arrivals))
    assert times == sorted(times)
    for first, time in enumerate(times):
        assert sum(time <= other < time + 60 - 1e-6 for other in times[first:]) <= per_minute


def test_a_queue_is_served_at_the_limit() -> None:
    times = sent(600, [0.0] * 1200)
    assert sum(time < 60 for time in times) == 600
    assert times[0] == times[9] == 0.0 and times[10] > 0


def test_one_a_minute() -> None:
    assert sent(1, [0.0, 0.0, 100.0]) == [0.0, 60.0, 120.0]

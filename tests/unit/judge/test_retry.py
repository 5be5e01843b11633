# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt."""

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.judge.retry import MAX_RETRY_AFTER_S, read_retry_after, wait_before


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("2", 2), ("0.5", 0.5), ("-3", 0), ("nan", 0), ("inf", 60), ("99999", 60), ("soon", 0), ("", 0)],
)
def test_seconds(value: str | None, seconds: float) -> None:
    assert read_retry_after(value) == seconds


def test_dates() -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=20)
    assert 10 < read_retry_after(format_datetime(soon, usegmt=True)) <= 20
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 -0000") == 0


@pytest.mark.parametrize("year_or_zone", ["9" * 20 + " 07:28:00 GMT", "2015 07:28:00 +" + "9" * 20])
def test_a_date_with_a_huge_number_is_nonsense(year_or_zone: str) -> None:
    assert read_retry_after(f"Wed, 21 Oct {year_or_zone}") == 0


def test_the_wait_doubles() -> None:
    assert [wait_before(n, 0.5, None, 1.0) for n in range(4)] == [0.5, 1.0, 2.0, 4.0]
    assert wait_before(0, 0.5, None, 0.0) == 0.25
    assert wait_before(0, 0.5, "7", 0.0) == 7


@given(st.integers(0, 10_000), st.floats(0, 100), st.none() | st.text(max_size=12), st.floats(0, 1))
def test_the_wait_is_bounded(attempt: int, base: float, header: str | None, chance: float) -> None:
    assert 0 <= wait_before(attempt, base, header, chance) <= MAX_RETRY_AFTER_S

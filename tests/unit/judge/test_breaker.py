# SPDX-License-Identifier: Apache-2.0
"""When a failing server is left alone, and how it comes back."""

from medix_verl.judge.breaker import Breaker


def broken(threshold: int = 3) -> Breaker:
    breaker = Breaker(threshold, 10.0)
    for _ in range(threshold):
        assert breaker.allows(0.0) and not breaker.enter()
        breaker.fail(0.0, "HTTP 503", probe=False)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = broken()
    assert not breaker.allows(9.9)
    assert (breaker.opens_at(), breaker.since, breaker.cause) == (10.0, 0.0, "HTTP 503")


def test_a_success_between_starts_the_count_again() -> None:
    breaker = Breaker(2, 10.0)
    for _ in range(5):
        breaker.fail(0.0, "x", probe=False)
        breaker.succeed()
    assert breaker.allows(0.0)


def test_one_probe_passes_at_a_time() -> None:
    breaker = broken()
    assert breaker.allows(10.0) and breaker.enter()
    assert not breaker.allows(10.0)
    breaker.leave(probe=True)
    assert breaker.allows(10.0), "a cancelled probe lets another one pass"


def test_the_probe_decides() -> None:
    breaker = broken()
    assert breaker.enter()
    breaker.fail(11.0, "HTTP 500", probe=True)
    breaker.leave(True)
    assert not breaker.allows(20.9) and breaker.allows(21.0)
    assert breaker.since == 0.0, "the outage began when it opened first"
    assert breaker.enter()
    breaker.succeed()
    breaker.leave(True)
    assert breaker.allows(21.0) and breaker.since is None


def test_late_failures_do_not_lengthen_the_pause() -> None:
    breaker = broken()
    breaker.fail(9.0, "late", probe=False)
    assert breaker.opens_at() == 10.0


def test_a_late_success_closes_it() -> None:
    breaker = broken()
    breaker.succeed()
    assert breaker.allows(0.0)

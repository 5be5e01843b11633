# SPDX-License-Identifier: Apache-2.0
"""When a run is stopped: the share of lost answers in a window, and silence."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import RunStoppedError
from medix_verl.rewards import stop_rules
from medix_verl.rewards.stop_rules import UnscoredWindow, Watchdog


def test_a_share_above_the_limit_stops_with_the_causes() -> None:
    window = UnscoredWindow(max_share=0.5, min_count=8, window=8)
    window.add(2, 4, ["judge: timed out"])
    with pytest.raises(
        RunStoppedError, match=r"5 of the last 8 answers .*max_share=0\.5.*judge: timed out; judge: 500"
    ):
        window.add(3, 4, ["judge: timed out", "judge: 500"])


def test_the_limit_itself_is_allowed() -> None:
    window = UnscoredWindow(max_share=0.5, min_count=8, window=8)
    for _ in range(20):
        window.add(4, 8, ["judge: timed out"])


def test_nothing_is_decided_before_enough_answers_were_seen() -> None:
    window = UnscoredWindow(max_share=0.1, min_count=100, window=500)
    window.add(50, 50, [])
    window.add(49, 49, [])
    with pytest.raises(RunStoppedError, match="100 of the last 100"):
        window.add(1, 1, [])


def test_old_answers_are_forgotten() -> None:
    window = UnscoredWindow(max_share=0.5, min_count=8, window=8)
    window.add(4, 8, [])
    for _ in range(3):
        window.add(0, 4, [])
    window.add(4, 8, [])
    with pytest.raises(RunStoppedError, match="8 of the last 8"):
        window.add(8, 8, [])


def test_a_share_of_one_never_stops() -> None:
    """Not even when more answers are reported lost than were asked for, as with dynamic sampling."""
    window = UnscoredWindow(max_share=1.0, min_count=4, window=4)
    for _ in range(5):
        window.add(9, 4, ["judge: timed out"])


def test_a_share_of_zero_stops_at_the_first_lost_answer() -> None:
    window = UnscoredWindow(max_share=0.0, min_count=4, window=4)
    window.add(0, 4, [])
    with pytest.raises(RunStoppedError, match="1 of the last 4"):
        window.add(1, 4, [])


def test_without_a_cause_the_message_says_where_to_look() -> None:
    with pytest.raises(RunStoppedError, match="no cause was reported, see the worker logs"):
        UnscoredWindow(0.5, 2, 2).add(2, 2, [])


def test_only_the_last_causes_are_told() -> None:
    with pytest.raises(RunStoppedError) as caught:
        UnscoredWindow(0.5, 2, 2).add(2, 2, [f"cause {n}" for n in range(9)])
    assert "cause 8" in str(caught.value) and "cause 3" not in str(caught.value)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8)), max_size=20), st.floats(0, 1))
def test_a_run_that_loses_no_more_than_allowed_goes_on(batches: list[tuple[int, int]], share: float) -> None:
    window = UnscoredWindow(share, 1, 16)
    for lost, expected in batches:
        window.add(min(lost, int(share * expected)), expected, [])


def test_silence_is_reported_once_with_what_was_being_done() -> None:
    lines, done = [], threading.Event()

    def end(message: str) -> None:
        lines.append(message)
        done.set()

    Watchdog(0.2, end).beat("computing step 7 (train)")
    assert done.wait(5)
    time.sleep(0.3)
    assert len(lines) == 1
    assert "while computing step 7 (train)" in lines[0] and "stall_timeout_s=0.2" in lines[0]


def test_progress_keeps_it_quiet() -> None:
    lines: list[str] = []
    dog = Watchdog(0.5, lines.append)
    for step in range(8):
        time.sleep(0.1)
        dog.beat(f"step {step}")
    assert lines == []


class SuspendedOnce:
    """The module `time` on a machine that stands still for a quarter of an hour in the tenth look."""

    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        self.now += seconds + (900.0 if self.looks == 10 else 0.0)


def test_a_machine_that_was_suspended_is_no_worker_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = SuspendedOnce(), list[str]()
    monkeypatch.setattr(stop_rules, "time", clock)
    dog = Watchdog(None, lines.append)
    dog._limit_s = dog._current_s = 600.0
    dog._watch()
    assert clock.now == pytest.approx(1501.0) and "no progress for 601 s" in lines[0]


@pytest.mark.parametrize("limit", [None, 0, 0.0])
def test_it_can_be_switched_off(limit: float | None) -> None:
    before = threading.active_count()
    Watchdog(limit).beat("waiting")
    assert threading.active_count() == before


def test_by_default_the_process_ends_with_the_stacks_and_an_exit_code() -> None:
    """Even while its main thread hangs in a call that never returns."""
    code = (
        "import threading\n"
        "from medix_verl.rewards.stop_rules import Watchdog\n"
        "Watchdog(0.2).beat('a remote call')\n"
        "def hang_here(): threading.Event().wait()\n"
        "hang_here()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 70
    assert "medix-verl: error: no progress for" in done.stderr and "while a remote call" in done.stderr
    assert "hang_here" in done.stderr

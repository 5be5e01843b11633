# SPDX-License-Identifier: Apache-2.0
"""Marked runs of short scripts; runs that must be fought are in tests/integration/workers/test_processes.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest

from medix_verl.demo.processes import MARK, run_marked, survivors


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_output_the_code_and_the_environment(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    code = "import os, sys; print(os.environ['NAME']); print('bad', file=sys.stderr); sys.exit(3)"
    end = run_marked(python(code), log, {"NAME": "value"}, limit_s=30)
    assert end.returncode == 3
    assert sorted(log.read_text().split()) == ["bad", "value"]
    assert 0 < end.seconds < 30
    assert "NAME" not in os.environ and MARK not in os.environ


def test_an_earlier_log_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("before\n")
    run_marked(python("print('after')"), log, {}, limit_s=30)
    assert log.read_text() == "before\nafter\n"


def test_memory_is_measured_and_ticks_come(tmp_path: Path) -> None:
    ticks: list[int] = []
    code = "import time; kept = bytearray(64 * 2**20); time.sleep(1.6)"
    end = run_marked(python(code), tmp_path / "run.log", {}, limit_s=30, on_tick=lambda: ticks.append(1))
    assert end.peak_bytes > 2**20
    assert len(ticks) >= 2


def test_the_run_cannot_read_our_terminal(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    run_marked(python("import sys; print(repr(sys.stdin.read()))"), log, {}, limit_s=30)
    assert log.read_text().strip() == "''"


def test_a_run_over_its_time_is_ended_and_waited_for(tmp_path: Path) -> None:
    """Not left as a zombie, which Python would warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        end = run_marked(python("import time; time.sleep(60)"), tmp_path / "run.log", {}, limit_s=0.6)
    assert end.returncode is None
    assert end.seconds < 15
    assert [str(warning.message) for warning in caught if "subprocess" in str(warning.message)] == []


def test_an_error_of_the_listener_ends_the_run(tmp_path: Path) -> None:
    class Stop(Exception):
        """Raised by the listener."""

    seen: list[tuple[str, int]] = []

    def stop() -> None:
        seen.extend((process.environ()[MARK], process.pid) for process in marked())
        raise Stop("no more")

    def marked() -> list:
        import psutil

        return [child for child in psutil.Process().children() if MARK in child.environ()]

    with pytest.raises(Stop, match="no more"):
        run_marked(python("import time; time.sleep(60)"), tmp_path / "run.log", {}, limit_s=30, on_tick=stop)
    assert len(seen) == 1 and survivors(*seen[0]) == []


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run_marked([str(tmp_path / "no-such-program")], tmp_path / "run.log", {}, limit_s=5)


def test_nobody_carries_a_mark_that_was_never_given() -> None:
    assert survivors("no run has this mark", session=-1) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_takes_the_run_with_it(tmp_path: Path, number: int) -> None:
    """`timeout 60 medix-verl demo` must not leave the training behind."""
    source = (
        "import sys\nfrom pathlib import Path\nfrom medix_verl.demo.processes import run_marked\n"
        f"run_marked([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)'], "
        f"Path({str(tmp_path / 'run.log')!r}), {{}}, 50)"
    )
    parent = subprocess.Popen(python(source))
    deadline = time.monotonic() + 20
    while not (tmp_path / "run.log").exists() or not (tmp_path / "run.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child = psutil.Process(parent.pid).children()[0]
    parent.send_signal(number)
    assert parent.wait(timeout=20) == 128 + number
    assert not child.is_running()

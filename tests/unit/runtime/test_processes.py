# SPDX-License-Identifier: Apache-2.0
"""A signal leaves through `finally`; no kind of child outlives a parent that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from medix_verl.runtime import processes
from medix_verl.runtime.processes import exit_on_signals

PARENT = """
import multiprocessing, os, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from medix_verl.runtime.processes import end_with_parent

NOTES = Path(sys.argv[2])

def note(*_):
    (NOTES / str(os.getpid())).touch()
    time.sleep(60)

def child(*_):
    end_with_parent()
    note()

def start(way):
    if way == "popen":
        words = [sys.executable, "-c", f"import os, pathlib, time; (pathlib.Path({str(NOTES)!r}) / str(os.getpid()))"
                 ".touch(); time.sleep(60)"]
        return [subprocess.Popen(words, start_new_session=True, preexec_fn=partial(end_with_parent, os.getpid()))]
    if way == "pool":
        pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=end_with_parent)
        return [pool, *(pool.submit(note) for _ in range(2))]
    context = multiprocessing.get_context(way)
    found = [context.Process(target=child) for _ in range(2)]  # a forked one's sibling keeps its sentinel's other end
    for process in found:
        process.start()
    return found

if __name__ == "__main__":
    kept = start(sys.argv[1])
    while len(list(NOTES.iterdir())) < (1 if sys.argv[1] == "popen" else 2):
        time.sleep(0.02)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("way", ["spawn", "fork", "forkserver", "pool", "popen"])
def test_no_child_outlives_a_killed_parent(way: str, tmp_path: Path) -> None:
    script, notes = tmp_path / "parent.py", tmp_path / "notes"
    script.write_text(PARENT)
    notes.mkdir()
    done = subprocess.run([sys.executable, str(script), way, str(notes)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    children, deadline = [int(path.name) for path in notes.iterdir()], time.monotonic() + 10
    assert len(children) == (1 if way == "popen" else 2)
    while left := [pid for pid in children if lives(pid)]:
        assert time.monotonic() < deadline, f"{left} outlived their parent"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_watch_ends_the_process_when_its_parent_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Exception):
        """Stands for the end of the process."""

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(processes, "_POLL_S", 0.0)
    monkeypatch.setattr(os, "_exit", end)
    parents = iter([7, 7, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    with pytest.raises(Ended, match="1"):
        processes._watch(7, None)


SIGNALLED = textwrap.dedent(
    """
    import signal, sys, time
    from medix_verl.runtime.processes import exit_on_signals
    if sys.argv[1] == "ignored":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with exit_on_signals(signal.SIGTERM, signal.SIGHUP):
        try:
            print("ready", flush=True)
            time.sleep(float(sys.argv[2]))
        finally:
            print("cleared", flush=True)
    """
)


@pytest.mark.parametrize(
    ("number", "mode", "seconds", "status"),
    [(signal.SIGTERM, "heard", 60, 143), (signal.SIGHUP, "heard", 60, 129), (signal.SIGHUP, "ignored", 1, 0)],
)
def test_a_signal_leaves_through_finally(number: signal.Signals, mode: str, seconds: float, status: int) -> None:
    command = [sys.executable, "-c", SIGNALLED, mode, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=30)[0] == "cleared\n"
    assert process.returncode == status


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with exit_on_signals(signal.SIGTERM):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before

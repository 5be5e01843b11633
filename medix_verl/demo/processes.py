# SPDX-License-Identifier: Apache-2.0
"""Starts a training run as a process of its own, bounds its time, and leaves none of its processes behind.

Ray and vLLM start processes that outlive a killed driver. Each run leads a session of its own and gets a mark in its
environment, and every process that it starts inherits both; what is left of them after the end is ended by process id.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from medix_verl.runtime.processes import exit_on_signals

__all__ = ["MARK", "RunEnd", "run_marked", "survivors"]

MARK = "MEDIX_RUN_ID"
_GRACE_S = 10.0
_LOOK_S = 5.0  # between two readings of the run's memory, which cost tens of milliseconds


@dataclass(frozen=True)
class RunEnd:
    """How a run ended."""

    returncode: int | None
    """The exit code, or None when the run's time was over and it was ended."""
    seconds: float
    peak_bytes: int
    """Highest memory of all the run's processes together, shared pages counted once."""


def run_marked(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    limit_s: float,
    on_tick: Callable[[], None] = lambda: None,
) -> RunEnd:
    """Run a command with its output in a file, and end everything it started before returning.

    Args:
        command: program and arguments.
        log: file that gets standard output and error.
        environment: variables added to this process's own.
        limit_s: seconds after which the run is ended.
        on_tick: called about twice a second while it runs.

    Raises:
        KeyboardInterrupt, SystemExit: Ctrl-C, or a signal to end; the run's processes are ended first.
    """
    mark = uuid.uuid4().hex
    began, peak = time.monotonic(), 0
    with log.open("ab") as stream, exit_on_signals(signal.SIGTERM, signal.SIGHUP), contextlib.ExitStack() as at_end:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, MARK: mark},
            start_new_session=True,
        )
        at_end.callback(_end_all, mark, process.pid)
        next_look = began
        while process.poll() is None and time.monotonic() - began < limit_s:
            time.sleep(0.5)
            if time.monotonic() >= next_look:
                peak = max(peak, _resident_bytes(mark, process.pid))
                next_look = time.monotonic() + _LOOK_S
            on_tick()
        returncode, seconds = process.poll(), time.monotonic() - began
    process.wait()
    return RunEnd(returncode, seconds, peak)


def survivors(mark: str, session: int) -> list[psutil.Process]:
    """Living processes of a run: those that carry its mark, and those of the session that its driver leads.

    Some of Ray's processes overwrite their environment, and a process can leave its session; none does both.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            is_ours = os.getsid(process.pid) == session or process.environ().get(MARK) == mark
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _end_all(mark: str, session: int) -> None:
    _signal(mark, session, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while survivors(mark, session) and time.monotonic() < deadline:
        time.sleep(0.2)
    while survivors(mark, session):
        _signal(mark, session, signal.SIGKILL)
        time.sleep(0.2)


def _signal(mark: str, session: int, number: int) -> None:
    for process in survivors(mark, session):
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _resident_bytes(mark: str, session: int) -> int:
    """Proportional memory of the run's processes, so that shared pages count once."""
    used = 0
    for process in survivors(mark, session):
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            used += getattr(memory, "pss", memory.uss)
    return used

# SPDX-License-Identifier: Apache-2.0
"""Runs a training as a separate process, with a time limit, and terminates all its processes afterwards.

Ray and vLLM start processes that keep running when the driver is killed. Each run leads its own session and has a mark
in its environment; its child processes inherit both. Those still running at the end are terminated by process id.
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

from medix_verl.runtime.processes import end_session, exit_on_signals, session_of

__all__ = ["MARK", "RunEnd", "run_marked", "survivors"]

MARK = "MEDIX_RUN_ID"
_LOOK_S = 5.0  # between two measurements of the run's memory, which take tens of milliseconds


@dataclass(frozen=True)
class RunEnd:
    """How a run ended."""

    returncode: int | None
    """The exit code, or None if the run was terminated at its time limit."""
    seconds: float
    peak_bytes: int
    """Peak memory of all the run's processes together, shared pages counted once."""


def run_marked(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    limit_s: float,
    on_tick: Callable[[], None] = lambda: None,
) -> RunEnd:
    """Run a command with its output in a file, and terminate all its processes before returning.

    Args:
        command: Program and arguments.
        log: File for standard output and error.
        environment: Variables added to this process's own.
        limit_s: Time limit in seconds.
        on_tick: Called about twice a second while it runs.

    Raises:
        KeyboardInterrupt, SystemExit: Ctrl-C, or a termination signal; the run's processes are terminated first.
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
        at_end.callback(end_session, process.pid, mark=(MARK, mark))
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
    """Running processes of a run: those with its mark, and those of its driver's session."""
    return session_of(session, (MARK, mark))


def _resident_bytes(mark: str, session: int) -> int:
    """Proportional memory (PSS) of the run's processes, so that shared pages count once."""
    used = 0
    for process in survivors(mark, session):
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            used += getattr(memory, "pss", memory.uss)
    return used

# SPDX-License-Identifier: Apache-2.0
"""Runs a command with its output in a file, within a time limit, and ends its whole session if it takes longer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from medix_verl.errors import SetupError

__all__ = ["last_error", "run_bounded"]

GRACE_S = 10.0
NO_SPACE = ("No space left on device", "os error 28", "Errno 28")


def run_bounded(what: str, command: Sequence[str], log: Path, limit_s: float) -> None:
    """Run a command to its end.

    Args:
        what: What it does, for the messages.
        command: Program and arguments.
        log: Gets what it writes.
        limit_s: Seconds that it may take.

    Raises:
        SetupError: It failed, was killed, found no space, or took too long; the message names the log.
    """
    with log.open("ab") as stream:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_session(process)
    if status is None:
        raise SetupError(f"{what} took longer than {limit_s:g} s and was ended; see {log}, or give --limit SECONDS")
    if status == -signal.SIGKILL:
        raise SetupError(f"{what} was killed, most likely for want of memory; see {log}")
    if status:
        raise SetupError(f"{what} failed: {last_error(log)}; see {log}")


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End what still runs of the process's session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
            return


def last_error(log: Path) -> str:
    """The cause that a log gives: no space before anything else, or its last line with an error, or its last."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    for line in reversed(lines):
        if any(sign in line for sign in NO_SPACE):
            return "no space left on the disk: free some, or give --out on another disk"
    named = [line for line in lines if "Error" in line.split(":")[0] or "error:" in line]
    return (named or lines or ["its log is empty"])[-1][-400:]

# SPDX-License-Identifier: Apache-2.0
"""Runs a command with its output in a file and a time limit; a command over the limit is killed with its session."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medix_verl.errors import SetupError
from medix_verl.runtime.processes import end_session, end_with_parent

__all__ = ["last_error", "last_json", "run_bounded"]

NO_SPACE = ("No space left on device", "os error 28", "Errno 28")


def run_bounded(
    what: str, command: Sequence[str], log: Path, limit_s: float, advice: str = "give --limit SECONDS"
) -> None:
    """Run a command to its end; it is killed if this process ends.

    Args:
        what: Description of the command, for messages.
        command: Program and arguments.
        log: File for its output.
        limit_s: Time limit in seconds.
        advice: How to raise the limit, for messages.

    Raises:
        SetupError: It failed, was killed, ran out of disk space, or took too long; the message names the log.
    """
    with log.open("ab") as stream:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_session(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
    if status is None:
        raise SetupError(f"{what} took longer than {limit_s:g} s and was ended; see {log}, or {advice}")
    if status == -signal.SIGKILL:
        raise SetupError(f"{what} was killed, most likely for want of memory; see {log}")
    if status:
        raise SetupError(f"{what} failed: {last_error(log)}; see {log}")


def last_json(log: Path, begins: int = 0) -> dict[str, Any]:
    """The last JSON object that a command has written on its own line; other lines from libraries are ignored."""
    with log.open("rb") as stream:
        stream.seek(begins)
        lines = stream.read().decode(errors="replace").splitlines()
    found: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line.startswith('{"')))
    return found


def last_error(log: Path) -> str:
    """The cause of a failure in a log: a full disk, else the last line with an error, else the last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    for line in reversed(lines):
        if any(sign in line for sign in NO_SPACE):
            return "no space left on the disk: free some, or give --out on another disk"
    named = [line for line in lines if "Error" in line.split(":")[0] or "error:" in line]
    return (named or lines or ["its log is empty"])[-1][-400:]

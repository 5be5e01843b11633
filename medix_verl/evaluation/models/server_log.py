# SPDX-License-Identifier: Apache-2.0
"""Extracts the cause of a failure from the log of a model server.

vLLM's worker, engine and server processes each end with an exception, of which the first has the cause. Each line is
prefixed with the process, the level and the source location.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LogEnd", "read_lines", "read_log"]

TAIL_LINES = 4
DETAIL_LINES = 2
"""Number of further lines of an exception's message that are reported after the first."""
CAUSE_CHARS = 600
LINE_CHARS = 160
PREFIX = re.compile(
    r"(?:\([\w:]+ pid=\d+\) ?)?(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) [\d-]+ [\d:]+ \[[^\]]*\] ?)?"
)
TRACEBACK = "Traceback (most recent call last):"
EXCEPTION = re.compile(r"[\w.]*(?:Error|Exception|Interrupt|Exit)(?::|$)")


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of a log."""

    message: str
    """The first and the last exception and the last other lines, joined into one line; empty for an empty log."""
    ends_with_exception: bool
    """Whether there is an exception, and no line at level INFO or DEBUG after the last one."""


def read_log(path: Path, begins: int = 0) -> LogEnd:
    """Read a log from the byte offset `begins`; a missing file counts as empty."""
    try:
        with path.open("rb") as stream:
            stream.seek(begins)
            return read_lines(stream.read().decode(errors="replace").splitlines())
    except OSError:
        return LogEnd("", False)


def read_lines(lines: Iterable[str]) -> LogEnd:
    """Summarise the lines of a log; frames of tracebacks are left out."""
    exceptions: list[list[str]] = []
    rest: list[str] = []
    frames = message = failed = False
    for line in lines:
        prefix = PREFIX.match(line)
        plain = line[prefix.end() :].rstrip() if prefix else line.rstrip()
        if not plain:
            continue
        if plain.startswith(TRACEBACK):
            frames, message = True, False
        elif not plain[0].isspace():
            frames, message = False, EXCEPTION.match(plain) is not None
            exceptions.append([plain]) if message else rest.append(plain)
            failed = message or (failed and (prefix is None or prefix["level"] not in ("DEBUG", "INFO")))
        elif message:
            exceptions[-1].append(plain.strip())
        elif not frames:
            rest.append(plain.strip())
    causes = [" ".join(lines[: 1 + DETAIL_LINES])[:CAUSE_CHARS] for lines in (*exceptions[:1], *exceptions[1:][-1:])]
    return LogEnd(" | ".join([*causes, *(line[:LINE_CHARS] for line in rest[-TAIL_LINES:])]), failed)

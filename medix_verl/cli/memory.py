# SPDX-License-Identifier: Apache-2.0
"""Memory that this process may still take: the machine's, and what its control groups leave of their limits.

A container or a batch system limits a group of processes, and what the group already uses is not free; pages of files
that the kernel drops at need count as free, as they do in the kernel's own MemAvailable. Groups lie in one another, so
the least of all is what counts. Both versions of control groups are read; without such files the machine's size.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["free_memory_gib"]

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class _Version:
    """Where a version of control groups keeps its numbers."""

    line: re.Pattern[str]
    """The group's path in /proc/self/cgroup."""
    root: str
    limit: str
    used: str
    droppable: str
    """Word of memory.stat before the bytes that the kernel can take back."""


_VERSIONS = (
    _Version(re.compile(r"^0::(/.*)$", re.M), "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    _Version(
        re.compile(r"^\d+:(?:[\w,=]*,)?memory(?:,[\w,=]*)?:(/.*)$", re.M),
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def free_memory_gib(root: Path = Path("/")) -> float:
    """GiB that this process may still take.

    Args:
        root: where `proc` and `sys` lie; a test gives its own.
    """
    free = [left for version in _VERSIONS for group in _groups(root, version) for left in _left(group, version)]
    match = re.search(r"MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"))
    if match:
        free.append(int(match[1]) * 1024)
    if not free:
        free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(0, min(free)) / GIB


def _groups(root: Path, version: _Version) -> Iterator[Path]:
    """The process's own group and those around it; inside a container the outermost is its own."""
    top = root / version.root
    yield top
    match = version.line.search(_text(root / "proc/self/cgroup"))
    own = top / match[1].lstrip("/") if match else top
    while own != top and top in own.parents:
        yield own
        own = own.parent


def _left(group: Path, version: _Version) -> Iterator[int]:
    """Bytes that a group leaves; nothing for one without a limit, whose file says `max`, or without such files."""
    limit, used = _text(group / version.limit).strip(), _text(group / version.used).strip()
    if not (limit.isdigit() and used.isdigit()):
        return
    match = re.search(rf"^{version.droppable} (\d+)$", _text(group / "memory.stat"), re.M)
    droppable = min(int(match[1]), int(used)) if match else 0
    yield int(limit) - int(used) + droppable


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or not for us to read: then there is no number to go by
        return ""

# SPDX-License-Identifier: Apache-2.0
"""Memory available to this process: the machine's MemAvailable, bounded by the limits of its control groups.

The free memory of a control group is its limit minus its usage, where reclaimable file pages count as free, as in the
kernel's MemAvailable. Groups are nested, so the minimum counts. Control groups v1 and v2 are read; without them the
machine's memory is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["free_memory_gib", "memory_limit_gib"]

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class _Version:
    """File names and keys of one control group version."""

    line: re.Pattern[str]
    """The group's path in /proc/self/cgroup."""
    root: str
    limit: str
    used: str
    droppable: str
    """Key in memory.stat of the bytes that the kernel can reclaim."""


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
    """GiB of memory available to this process.

    Args:
        root: Folder that contains `proc` and `sys`; tests pass their own.
    """
    free = [left for version in _VERSIONS for group in _groups(root, version) for left in _left(group, version)]
    match = re.search(r"MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"))
    if match:
        free.append(int(match[1]) * 1024)
    if not free:
        free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(0, min(free)) / GIB


def memory_limit_gib(root: Path = Path("/")) -> float:
    """Memory limit in GiB shared with other processes: the machine's memory, or the lowest limit of its groups.

    Args:
        root: As for free_memory_gib.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for version in _VERSIONS:
        texts = (_text(group / version.limit).strip() for group in _groups(root, version))
        limits += [int(text) for text in texts if text.isdigit()]
    return min(limits) / GIB


def _groups(root: Path, version: _Version) -> Iterator[Path]:
    """The process's control group and its ancestors; inside a container the topmost is the container's own."""
    top = root / version.root
    yield top
    match = version.line.search(_text(root / "proc/self/cgroup"))
    own = top / match[1].lstrip("/") if match else top
    while own != top and top in own.parents:
        yield own
        own = own.parent


def _left(group: Path, version: _Version) -> Iterator[int]:
    """Free bytes of a group; yields nothing without a limit (`max`) or without the files."""
    limit, used = _text(group / version.limit).strip(), _text(group / version.used).strip()
    if not (limit.isdigit() and used.isdigit()):
        return
    match = re.search(rf"^{version.droppable} (\d+)$", _text(group / "memory.stat"), re.M)
    droppable = min(int(match[1]), int(used)) if match else 0
    yield int(limit) - int(used) + droppable


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or not readable
        return ""

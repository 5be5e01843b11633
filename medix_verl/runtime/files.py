# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes, file locks between processes, and JSON lines.

Atomic write: a part file in the same folder (`.NAME.0.part`), then rename, so that a reader or a restarted run never
reads an incomplete file. The part file is locked while it is written. If no living process holds the lock, a killed
process left the file, and the next writer of the same file removes it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError

__all__ = ["append_lines", "atomic_write", "locked", "read_json_lines", "write_json", "write_text"]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file to write; it replaces `path` when the block ends, and is deleted when the block raises.

    The folder is not created. If two processes write at once, the last one to finish wins. If `path` is a link, its
    target is written and the link stays: it may lead to a larger disk.

    Raises:
        OSError: The folder does not exist or cannot be written to, or the disk is full; the error names `path`.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        handle, name = _new_part(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        try:
            yield Path(name)
            os.replace(name, target)
        except BaseException:
            # Not after the rename: then another writer may own the name.
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        # ENOSPC and EDQUOT during a write do not name a file.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and str(error.filename) != name:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)


def write_text(path: Path, text: str | Iterable[str], errors: str = "strict") -> None:
    """Write a text file (UTF-8, line ends unchanged) by `atomic_write`; flushed to disk before the rename.

    Args:
        path: The file; its folder must exist.
        text: The content, whole or in pieces.
        errors: How lone surrogates are encoded, as for `open`.

    Raises:
        OSError: As `atomic_write`.
    """
    with atomic_write(path) as part, part.open("w", encoding="utf-8", errors=errors, newline="\n") as file:
        file.writelines([text] if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Write a value as JSON by `write_text`.

    Args:
        path: The file; its folder must exist.
        value: Anything that `json.dumps` accepts.
        options: Of `json.dumps`; the default of `indent` is 1.

    Raises:
        OSError: As `atomic_write`.
    """
    write_text(path, json.dumps(value, **{"indent": 1, **options}) + "\n", errors="replace")


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines, each with a newline, to a file; the file and its folder are created if necessary.

    They are written in one call, so that lines of several processes do not mix. If a killed process left an incomplete
    last line, a newline is added first, so that it stays the only unreadable line.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(lines).encode("utf-8", "replace")
    with path.open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            data = b"\n" + data
        file.write(data)


def read_json_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """The objects of a file of JSON lines, one at a time; None for a line that is not an object, e.g. a truncated one.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            yield value if isinstance(value, dict) else None


@contextmanager
def locked(path: Path, busy_message: str | None = None) -> Iterator[None]:
    """Hold a lock file, which exists only while it is locked; the lock is released when the process ends in any way.

    Args:
        path: The lock file; its folder must exist.
        busy_message: The error if another process or thread holds the lock; None waits for it.

    Raises:
        ConfigError: Another process or thread holds it; with `busy_message`.
        OSError: The file cannot be created, or its file system has no locks.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            held = _lock(handle, wait=busy_message is None)
        except BaseException as error:
            os.close(handle)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise
        # The last holder deletes the file; a lock on the deleted file would protect nothing.
        if held and _is_at(handle, path):
            break
        os.close(handle)
        if not held:
            raise ConfigError(busy_message or f"{path} is held by another process")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _new_part(path: Path) -> tuple[int, str]:
    """Create and lock a part file of `path`; part files of killed writers are removed.

    Its name is the first free one of `.NAME.0.part`, `.NAME.1.part`, ... The folder is not listed, because it may
    contain 100,000 pictures, each written in this way.
    """
    number = 0
    while True:
        name = _part_name(path, number)
        try:
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            number += not _remove_left(name)
            continue
        try:
            # Another writer may have removed it as left over before it was locked.
            ours = _lock(handle) and _is_at(handle, name)
        except OSError:  # a file system without locks, where no part file is ever removed
            ours = True
        if ours:
            while os.path.lexists(left := _part_name(path, number := number + 1)) and _remove_left(left):
                pass
            return handle, name
        os.close(handle)


def _part_name(path: Path, number: int) -> str:
    return str(path.with_name(f".{path.name}.{number}.part"))


def _remove_left(name: str) -> bool:
    """Remove a part file that is not locked; False if it is locked, or if this cannot be determined."""
    try:
        handle = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.errno == errno.ENOENT
    try:
        if not _lock(handle):
            return False
        if _is_at(handle, name):
            os.unlink(name)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _lock(handle: int, wait: bool = False) -> bool:
    """Lock an open file; False if another process or thread holds the lock.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _is_at(handle: int, path: str | Path) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(handle)
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

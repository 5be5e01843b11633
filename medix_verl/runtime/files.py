# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all, locks between processes, and lines of JSON.

A file is written beside its place under another name (`.NAME.0.part`) and renamed at the end, so that a reader, and a
run that is killed and typed again, never meets half a file. The part file is locked while it is written: one that no
living process holds was left by a killed one, and the next writer of the same file removes it.
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
    """A file to write; it takes the place of `path` when the block ends, and is deleted when the block raises.

    The folder is not made. Of two writers at once, the content of the last one to end stays.

    Raises:
        OSError: The folder is not there or cannot be written to, or the disk is full; it names `path`.
    """
    try:
        handle, name = _new_part(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        try:
            yield Path(name)
            os.replace(name, path)
        except BaseException:
            # Not after the rename: then the name may be another writer's.
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        # A disk that fills up while a file is written names no file at all.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and str(error.filename) != name:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)


def write_text(path: Path, text: str | Iterable[str], errors: str = "strict") -> None:
    """Write a text file (UTF-8, lines as they are) by `atomic_write`; it is on the disk before it has its name.

    Args:
        path: The file; its folder must be there.
        text: The content, whole or in pieces.
        errors: What becomes of lone surrogates, as `open` has it.

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
        path: The file; its folder must be there.
        value: Anything that `json.dumps` takes.
        options: Of `json.dumps`; `indent` is 1 where it is not given.

    Raises:
        OSError: As `atomic_write`.
    """
    write_text(path, json.dumps(value, **{"indent": 1, **options}) + "\n", errors="replace")


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines, each with its newline, to a file that is made with its folder where it is not there.

    They are written at once, so that lines of several processes do not mix. What a killed process left of its last
    line is ended first, and so stays the only line that cannot be read.

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
    """The objects of a file of JSON lines, one at a time; None for a line that is none, such as one that was cut off.

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
    """Hold a lock file, which is there only while somebody holds it; it is free when the process ends, however it ends.

    Args:
        path: The lock file; its folder must be there.
        busy_message: What to say where another process, or another thread, holds it; None waits for it.

    Raises:
        ConfigError: Another one holds it; with `busy_message`.
        OSError: The file cannot be made, or its file system has no locks.
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
        # The last holder deletes the file: then this lock is one of a file that nobody else will open.
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
    """Make and lock a part file of `path`; those of killed writers are removed on the way.

    Its name is the first free one of `.NAME.0.part`, `.NAME.1.part`, ... The folder is not listed: it may hold 100,000
    pictures, each of which is written in this way.
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
            # Another writer may have taken it for a left one before it was locked.
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
    """Remove a part file that nobody holds; False where somebody does, or it cannot be found out."""
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
    """Lock an open file; False where somebody else holds it.

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

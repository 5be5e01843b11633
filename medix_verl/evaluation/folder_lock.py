# SPDX-License-Identifier: Apache-2.0
"""One process at a time writes an evaluation's folder; a second one is refused at once, and not made to wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medix_verl.errors import ConfigError

__all__ = ["locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is not there.

    Raises:
        ConfigError: Another process holds it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"another process is evaluating into {folder}; wait for it, or give another --out") from error
    try:
        yield
    finally:
        lock.release()

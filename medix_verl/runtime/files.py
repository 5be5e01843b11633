# SPDX-License-Identifier: Apache-2.0
"""A file that is there whole or not at all: written beside its place under another name, and renamed at the end.

A reader, and a run that is killed and typed again, never meets half a file. It does not make the folder, and two
writers at once leave the content of one of them.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_write"]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write; it takes the place of `path` when the block ends, and is deleted when the block raises.

    Raises:
        OSError: The folder is not there or cannot be written to, or the disk is full; it names `path`.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    os.close(handle)
    try:
        yield Path(name)
        # mkstemp makes the file private; the finished one gets what a plain open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except OSError as error:
        # A disk that fills up while a file is written names no file at all.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and str(error.filename) != name:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        Path(name).unlink(missing_ok=True)

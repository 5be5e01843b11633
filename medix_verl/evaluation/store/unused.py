# SPDX-License-Identifier: Apache-2.0
"""Removes the files of a run in a new folder if it fails before it has read a question.

Without this, a second try after a mistyped source, model or key would be rejected, because the folder already has an
evaluation.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medix_verl.errors import SetupError
from medix_verl.evaluation.store.manifest import FILE, LOCK, read_manifest

__all__ = ["removed_if_unused"]

SERVER_LOG = "server.log"
"""Kept if the model's server could not be started, because the error message names it."""


@contextmanager
def removed_if_unused(folder: Path) -> Iterator[None]:
    """Context manager that removes a previously empty folder if its block fails before any question was read.

    Args:
        folder: The evaluation's folder, locked by this process (`manifest.held`).
    """
    is_new = all(path.name == LOCK for path in folder.iterdir())
    try:
        yield
    except BaseException as error:
        if is_new and not has_questions(folder):
            empty(folder, isinstance(error, SetupError) and (folder / SERVER_LOG).exists())
        raise


def has_questions(folder: Path) -> bool:
    """Whether any task's questions were read: their source is recorded before the first one is asked."""
    return (folder / FILE).exists() and bool(read_manifest(folder, ()).get("sources"))


def empty(folder: Path, keep_log: bool) -> None:
    """Remove a folder; with `keep_log`, all but the log of the model's server."""
    for path in folder.iterdir():
        if not (keep_log and path.name == SERVER_LOG):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not keep_log:
        folder.rmdir()

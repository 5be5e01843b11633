# SPDX-License-Identifier: Apache-2.0
"""A local folder as a source of recipes. Links are not followed; pipes and devices are not opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from medix_verl.recipe.share.bundle import Entry, Origin

__all__ = ["FolderSource"]


class FolderSource:
    """A folder with `recipe/NAMESPACE/NAME.yaml`."""

    def __init__(self, folder: Path) -> None:
        """Store the folder; nothing is read yet."""
        self.folder = folder
        self.origin = Origin("folder", str(folder))

    def entries(self) -> Iterator[Entry]:
        """Every file that is not hidden; a link (also to a folder) is one entry."""
        yield from self._below("")

    def _below(self, prefix: str) -> Iterator[Entry]:
        with os.scandir(self.folder / prefix) as listing:
            found = sorted(listing, key=lambda item: item.name)
        for item in found:
            name = f"{prefix}{item.name}"
            if item.name.startswith(".") or item.name == "__pycache__":
                continue
            if item.is_symlink():
                yield Entry(name, 0, "link")
            elif item.is_dir(follow_symlinks=False):
                yield from self._below(f"{name}/")
            else:
                facts = item.stat(follow_symlinks=False)
                yield Entry(name, facts.st_size, "file" if stat.S_ISREG(facts.st_mode) else "other")

    def read(self, name: str, most: int) -> bytes:
        """Read at most `most` + 1 bytes of a file; a link that has replaced it is not followed."""
        handle = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            return file.read(most + 1)

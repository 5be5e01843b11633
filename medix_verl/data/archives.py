# SPDX-License-Identifier: Apache-2.0
"""Files beside the rows: in the folder, or inside a .zip or .tar of it, found by name without unpacking.

A name that leaves the folder (`../x`, `/x`) is refused: it comes from a data file. A compressed tar cannot be read at
a place, so it is refused with the command that unpacks it. A picture that is missing, and a name that several files
have, are DataErrors; a converter makes a Refused of them.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from medix_verl.data.listing import Listing
from medix_verl.errors import DataError

__all__ = ["Archives"]

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LARGEST_MEMBER = 1 << 29
"""Bytes: a zip may promise anything."""


class Archives:
    """Gives the files of a place by name; archives are opened and indexed at the first name that no plain file has."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._files: dict[str, list[str]] | None = None
        self._archives: list[zipfile.ZipFile | TarIndex] = []
        self._inside: dict[str, list[tuple[int, str]]] = {}

    def member(self, name: str) -> bytes:
        """The content of the file of that name (see Source.member)."""
        clean = PurePosixPath(name.replace("\\", "/"))
        if clean.is_absolute() or ".." in clean.parts or not clean.parts:
            raise DataError(f"file name {name!r} leaves the data set's folder; give a path below it")
        wanted = clean.as_posix()
        root = self._listing.root
        if root is not None and (root / wanted).is_file():
            return (root / wanted).read_bytes()
        self._index()
        assert self._files is not None
        last = clean.name
        plain = ending(self._files.get(last, ()), wanted)
        if len(plain) == 1:
            return self._listing.fetch(plain[0]).read_bytes()
        packed = [(at, found) for at, found in self._inside.get(last, ()) if ending([found], wanted)]
        exact = [item for item in packed if item[1] == wanted] or packed
        if plain or len(exact) > 1:
            got = ", ".join([*plain, *(found for _, found in exact)][:3])
            raise DataError(f"several files are called {wanted} ({got}); keep one of them beside the rows")
        if not exact:
            raise DataError(f"there is no file {wanted} beside the rows{self._hint()}")
        return self._read(*exact[0])

    def _read(self, at: int, name: str) -> bytes:
        archive = self._archives[at]
        if isinstance(archive, TarIndex):
            return archive.read(name)
        try:
            if archive.getinfo(name).file_size > LARGEST_MEMBER:
                raise DataError(f"{name} in {archive.filename} has more than {LARGEST_MEMBER >> 20} MiB; take it out")
            return archive.read(name)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as cause:
            raise DataError(f"{name} in {archive.filename} cannot be read ({cause}); get the archive again") from cause

    def _index(self) -> None:
        if self._files is not None:
            return
        self._files = {}
        for item in self._listing.files:
            self._files.setdefault(item.name.rsplit("/", 1)[-1], []).append(item.name)
            if item.name.lower().endswith((".zip", ".tar")):
                archive = opened(self._listing.fetch(item.name))
                for inside in names_of(archive):
                    self._inside.setdefault(inside.rsplit("/", 1)[-1], []).append((len(self._archives), inside))
                self._archives.append(archive)

    def _hint(self) -> str:
        packed = [item.name for item in self._listing.files if item.name.lower().endswith(COMPRESSED)]
        return f", and {packed[0]} is compressed: unpack it there first (`tar xf`)" if packed else ""


class TarIndex:
    """An uncompressed tar: where each file begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with tarfile.open(path, "r:") as tar:
            self._places = {
                item.name.removeprefix("./"): (item.offset_data, item.size) for item in tar if item.isfile()
            }

    def names(self) -> Iterator[str]:
        """Names of the files."""
        return iter(self._places)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        start, size = self._places[name]
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(size)


def opened(path: Path) -> zipfile.ZipFile | TarIndex:
    try:
        return zipfile.ZipFile(path) if path.suffix.lower() == ".zip" else TarIndex(path)
    except (zipfile.BadZipFile, tarfile.TarError, OSError) as cause:
        raise DataError(f"{path} is no readable archive ({cause}); get it again") from cause


def names_of(archive: zipfile.ZipFile | TarIndex) -> Iterator[str]:
    names = archive.names() if isinstance(archive, TarIndex) else iter(archive.namelist())
    return (name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/"))


def ending(names: list[str] | tuple[str, ...], wanted: str) -> list[str]:
    """Those of the names that are `wanted`, or else those that end in it."""
    same = [name for name in names if name == wanted]
    return same or [name for name in names if name.endswith(f"/{wanted}")]

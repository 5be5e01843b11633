# SPDX-License-Identifier: Apache-2.0
"""Find files next to the rows by name, in the folder or inside its .zip and .tar archives, without unpacking.

Names are compared after replacing `\\` by `/` (archives from Windows) and normalising to composed Unicode (archives
from macOS have decomposed names). A name that leaves the folder (`../x`, `/x`) is refused, because it comes from a data
file. A compressed tar has no random access, so it is refused with the command that unpacks it. A missing file and an
ambiguous name raise DataError; a converter turns it into a Refused.
"""

from __future__ import annotations

import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from medix_verl.data.io.file_limits import is_own_file, read_regular
from medix_verl.data.io.listing import Listing
from medix_verl.errors import DataError

__all__ = ["Archives", "NotGiven", "comparable", "zip_member"]

Named = TypeVar("Named", bound=tuple[Any, ...])

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
UTF8_FLAG = 0x800
"""Flag of a zip member whose name is UTF-8."""
LARGEST_MEMBER = 1 << 29
"""Maximum size of an archive member in bytes; the size in a zip's header is untrusted."""
NO_SIZE = -1
"""Size of a tar member that cannot be read."""


class NotGiven(DataError):
    """A file that cannot be provided; `nameless` is the reason without its name, which may be a patient's."""

    def __init__(self, message: str, nameless: str) -> None:
        super().__init__(message)
        self.nameless = nameless


class Archives:
    """Read the files of a source by name; archives are indexed at the first name that matches no plain path."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._files: dict[str, list[tuple[str, str]]] | None = None
        """Last part of a name -> the names that end in it, each as (normalised name, original name)."""
        self._archives: list[zipfile.ZipFile | TarIndex] = []
        self._inside: dict[str, list[tuple[str, int, str]]] = {}
        """The same for archives, each as (normalised name, number of the archive, original name)."""
        self._faults: list[str] = []

    def member(self, name: str) -> bytes:
        """Return the content of the file of that name (see Source.member).

        Raises:
            NotGiven: There is no such file, or it cannot be read.
        """
        try:
            return self._member(name)
        except NotGiven:
            raise
        except (DataError, OSError) as cause:
            raise NotGiven(str(cause), "it cannot be read") from cause

    def _member(self, name: str) -> bytes:
        clean = PurePosixPath(comparable(name))
        if clean.is_absolute() or ".." in clean.parts or not clean.parts:
            why = "leaves the data set's folder; give a path below it"
            raise NotGiven(f"file name {name!r} {why}", f"its name {why}")
        wanted = clean.as_posix()
        root = self._listing.root
        if root is not None and is_own_file(root / wanted, root):
            return read_regular(root / wanted)
        self._index()
        assert self._files is not None
        last = clean.name
        plain = [found for _, found in ending(self._files.get(last, ()), wanted)]
        if len(plain) == 1:
            return read_regular(self._listing.fetch(plain[0]))
        exact = list(dict.fromkeys((at, found) for _, at, found in ending(self._inside.get(last, ()), wanted)))
        if plain or len(exact) > 1:
            got = ", ".join([*plain, *(found for _, found in exact)][:3])
            remedy = "keep one of them beside the rows"
            raise NotGiven(f"several files are called {wanted} ({got}); {remedy}", f"several have its name; {remedy}")
        if not exact:
            if root is not None and os.path.lexists(root / wanted):
                why = "is a link that leaves the folder, a pipe or a device; put the file there"
                raise NotGiven(f"{wanted} beside the rows {why}", f"it {why}")
            raise NotGiven(f"there is no file {wanted} beside the rows{self._hint()}", "there is no such file")
        return self._read(*exact[0])

    def _read(self, at: int, name: str) -> bytes:
        archive = self._archives[at]
        return archive.read(name) if isinstance(archive, TarIndex) else zip_member(archive, name)

    def _index(self) -> None:
        if self._files is not None:
            return
        self._files = {}
        for item in self._listing.files:
            key = comparable(item.name)
            self._files.setdefault(key.rsplit("/", 1)[-1], []).append((key, item.name))
            if item.name.lower().endswith((".zip", ".tar")):
                try:
                    archive = opened(self._listing.fetch(item.name))
                except DataError as cause:
                    # Not raised: rows whose pictures are in other files can still be used.
                    self._faults.append(str(cause))
                    continue
                if isinstance(archive, TarIndex) and archive.fault:
                    self._faults.append(archive.fault)
                for key, inside in names_of(archive):
                    self._inside.setdefault(key.rsplit("/", 1)[-1], []).append((key, len(self._archives), inside))
                self._archives.append(archive)

    def _hint(self) -> str:
        packed = [item.name for item in self._listing.files if item.name.lower().endswith(COMPRESSED)]
        if self._faults:
            return f", and {self._faults[0]}"
        return f", and {packed[0]} is compressed: unpack it there first (`tar xf`)" if packed else ""


class TarIndex:
    """Index of an uncompressed tar: offset and size of each file, and the fault if the tar is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        self.fault = ""
        """Why files may be missing; empty if the archive is intact."""
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            try:
                self._index(tar, size)
            except Exception as cause:  # noqa: BLE001 - a damaged tar can raise anything; earlier members are usable
                self.fault = f"{path} is damaged ({str(cause) or type(cause).__name__}); get it again"

    def _index(self, tar: tarfile.TarFile, size: int) -> None:
        before = -1
        while (item := tar.next()) is not None:
            name = item.name.removeprefix("./")
            if item.isfile() or item.issparse():
                fits = 0 <= item.size <= size - item.offset_data and not item.issparse()
                self._places[name] = (item.offset_data, item.size if fits else NO_SIZE)
            # A negative length would move the reader backwards, into an endless loop.
            if item.size < 0 or tar.offset <= before:
                self.fault = f"{self._path} is damaged (a length below 0); get it again"
                return
            before = tar.offset

    def names(self) -> Iterator[str]:
        """Return the names of the files."""
        return iter(self._places)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            DataError: Its declared length does not fit the archive, or it is too large.
        """
        start, size = self._places[name]
        if size == NO_SIZE:
            raise DataError(f"{name} in {self._path} has a length that is not the archive's; get the archive again")
        refuse_large(name, size, self._path)
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(size)


def zip_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of a file in a zip.

    Raises:
        DataError: It is too large, damaged, encrypted, or compressed by an unsupported method.
    """
    refuse_large(name, archive.getinfo(name).file_size, archive.filename)
    try:
        return archive.read(name)
    except Exception as cause:  # each compression method raises its own errors
        reason = str(cause) or type(cause).__name__
        raise DataError(f"{name} in {archive.filename} cannot be read ({reason}); get the archive again") from cause


def refuse_large(name: str, size: int, archive: str | Path | None) -> None:
    if size > LARGEST_MEMBER:
        raise DataError(f"{name} in {archive} has more than {LARGEST_MEMBER >> 20} MiB; take it out")


def opened(path: Path) -> zipfile.ZipFile | TarIndex:
    try:
        return zipfile.ZipFile(path) if path.suffix.lower() == ".zip" else TarIndex(path)
    except Exception as cause:  # a damaged index can raise anything
        reason = str(cause) or type(cause).__name__
        raise DataError(f"{path} is not a readable archive ({reason}); get it again") from cause


def names_of(archive: zipfile.ZipFile | TarIndex) -> Iterator[tuple[str, str]]:
    """Yield the files of an archive as (normalised name, original name); some files have two normalised names."""
    if isinstance(archive, TarIndex):
        names = [(name, name) for name in archive.names()]
    else:
        names = [(name, info.filename) for info in archive.infolist() for name in readings(info)]
    for name, as_it_is in names:
        key = comparable(name)
        leaves = key.startswith("/") or ".." in key.split("/")
        if not leaves and not key.endswith("/") and not key.startswith("__MACOSX/"):
            yield key, as_it_is


def readings(info: zipfile.ZipInfo) -> list[str]:
    """Return a member's name, and its UTF-8 reading if the UTF-8 flag is not set (as macOS and 7-Zip write it)."""
    names = [info.filename, info.orig_filename]
    if not info.flag_bits & UTF8_FLAG and not info.filename.isascii():
        with suppress(UnicodeError):
            names.append(info.filename.encode("cp437").decode("utf-8"))
    return list(dict.fromkeys(names))


def comparable(name: str) -> str:
    """Normalise a name: `/` as separator, composed Unicode, without a leading `./`."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def ending(names: Sequence[Named], wanted: str) -> list[Named]:
    """Return the entries whose normalised name is `wanted`, else those whose name ends in `/wanted`."""
    same = [item for item in names if item[0] == wanted]
    return same or [item for item in names if item[0].endswith(f"/{wanted}")]

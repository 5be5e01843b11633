# SPDX-License-Identifier: Apache-2.0
"""List the files of a source: a local folder, one local file, or one commit of a Hugging Face hub repository.

The hub is queried once, with a timeout of LIMIT seconds; if it cannot be reached, the error explains how to download
the files manually. Hidden files and folders (such as the hub's own `.cache`) are skipped.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISLNK, S_ISREG
from typing import Any, BinaryIO

from medix_verl.data.io.file_limits import is_inside, is_own_file
from medix_verl.errors import DataError, MedixError, SetupError

__all__ = ["FileInfo", "Listing", "hub_files", "is_hub_id", "local_files"]

_logger = logging.getLogger(__name__)

LIMIT = 15.0
"""Seconds after which the hub counts as unreachable."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file: its path relative to the root with `/`, its size in bytes, and its modification time (`stamp`)."""

    name: str
    size: int
    stamp: str
    changed: str = ""
    """Time of the last change on this machine (ctime); unlike `stamp` (mtime), programs cannot reset it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a source, sorted by name."""

    files: tuple[FileInfo, ...]
    root: Path | None = None
    """The local folder; None for the hub."""
    only: str | None = None
    """The file's name, if the source is a single file."""
    hub_id: str = ""
    commit: str = ""

    def open(self, name: str) -> BinaryIO:
        """Open the file of that name for reading; a file of the hub is read over the network, block by block.

        Raises:
            OSError: It cannot be opened.
        """
        if self.root is not None:
            return (self.root / name).open("rb")
        from huggingface_hub import HfFileSystem

        opened: BinaryIO = HfFileSystem().open(f"datasets/{self.hub_id}@{self.commit}/{name}", "rb")
        return opened

    def fetch(self, name: str) -> Path:
        """Return the path of a local copy of that file; a file of the hub is downloaded once.

        Raises:
            DataError: There is no such file.
        """
        if self.root is not None:
            if not (self.root / name).is_file():
                raise DataError(f"{self.root / name}: no such file; check --source")
            return self.root / name
        if all(item.name != name for item in self.files):
            raise DataError(f"{self.hub_id} has no file {name}; check --source and --revision")
        from huggingface_hub import hf_hub_download

        try:
            got = hf_hub_download(self.hub_id, name, repo_type="dataset", revision=self.commit)
        except Exception as cause:  # several libraries raise their own errors here
            raise SetupError(unreachable(self.hub_id, cause)) from cause
        return Path(got)


def is_hub_id(place: str) -> bool:
    """Return whether a source could be `owner/name` on the hub."""
    return HUB_ID.fullmatch(place) is not None


def local_files(place: Path) -> Listing:
    """List the files of a local folder, or of the folder of a local file.

    Raises:
        DataError: The path does not exist, or contains no file.
    """
    if not place.exists():
        raise DataError(f"{place}: no such file or folder; give --source a folder, a file or a hub id owner/name")
    root = place if place.is_dir() else place.parent
    files = sorted(walk(root, root), key=lambda item: item.name)
    if not files:
        raise DataError(f"{place} has no file; give --source the folder with the data set's files")
    return Listing(tuple(files), root=root, only=None if place.is_dir() else place.name)


def walk(folder: Path, root: Path) -> list[FileInfo]:
    found: list[FileInfo] = []
    # Links to folders are not followed: a folder inside the source is found under its own name.
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if Path(at, name).is_symlink() and not is_inside(Path(at, name), root):
                left_out(Path(at, name))
        below = Path(at).relative_to(root).as_posix()
        for name in names:
            if name.startswith("."):
                continue
            try:
                kind = os.lstat(os.path.join(at, name)).st_mode
                if not S_ISREG(kind) and not (S_ISLNK(kind) and is_own_file(Path(at, name), root)):
                    left_out(Path(at, name))
                    continue
                stat = os.stat(os.path.join(at, name))
            except OSError:  # deleted since the folder was listed
                continue
            place = name if below == "." else f"{below}/{name}"
            found.append(FileInfo(place, stat.st_size, str(stat.st_mtime_ns), str(stat.st_ctime_ns)))
    return found


def left_out(path: Path) -> None:
    kind = "a link that leads out of the folder" if path.is_symlink() else "a pipe or a device"
    _logger.warning("%s is %s and is left out; put the files themselves there", path, kind)


def hub_files(hub_id: str, revision: str | None, ask: Callable[..., Any] | None = None) -> Listing:
    """List the files of a data set repository of the hub, at its newest commit or at `revision`.

    Args:
        hub_id: `owner/name`.
        revision: A branch, tag or commit.
        ask: Called instead of HfApi.dataset_info, if given.

    Raises:
        SetupError: The hub does not reply in time, or refuses access to the repository.
    """
    answer: dict[str, Any] = {}

    def work() -> None:
        try:
            answer["info"] = (ask or hub_info)(hub_id, revision=revision, files_metadata=True, timeout=LIMIT / 2)
        except BaseException as cause:  # noqa: BLE001 - passed to the caller's thread
            answer["cause"] = cause

    # A DNS lookup can block for longer than the request's timeout.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LIMIT)
    if "info" not in answer:
        cause = answer.get("cause", TimeoutError(f"no answer in {LIMIT:g} s"))
        raise refusal(hub_id, revision, cause) from cause
    info = answer["info"]
    files = [FileInfo(item.rfilename, int(item.size or 0), "") for item in info.siblings or ()]
    return Listing(tuple(sorted(files, key=lambda item: item.name)), hub_id=hub_id, commit=str(info.sha))


def hub_info(hub_id: str, **options: Any) -> Any:
    from huggingface_hub import HfApi

    return HfApi().dataset_info(hub_id, **options)


def refusal(hub_id: str, revision: str | None, cause: BaseException) -> MedixError:
    kind = type(cause).__name__
    if kind == "GatedRepoError":
        page = f"https://huggingface.co/datasets/{hub_id}"
        return SetupError(f"{hub_id} is gated: accept its terms at {page}, then type `hf auth login`")
    if kind == "RepositoryNotFoundError":
        return DataError(f"{hub_id}: no such folder here, and no such data set on the hub; check --source")
    if kind == "RevisionNotFoundError":
        return DataError(f"{hub_id} has no revision {revision!r}; check --revision")
    return SetupError(unreachable(hub_id, cause))


def unreachable(hub_id: str, cause: BaseException) -> str:
    said = (str(cause).splitlines() or [""])[0] or type(cause).__name__
    by_hand = f"`hf download {hub_id} --repo-type dataset --local-dir FOLDER`"
    return (
        f"{hub_id}: no such folder here, and the hub cannot be reached ({said}); where it can, type {by_hand}, copy "
        "FOLDER to this machine and give --source FOLDER"
    )

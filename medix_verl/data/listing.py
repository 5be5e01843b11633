# SPDX-License-Identifier: Apache-2.0
"""What files a place has: a local folder, one local file, or one commit of a repository of the Hugging Face hub.

The hub is asked once, with a limit of LIMIT seconds; when it cannot be asked the error says how to get the files by
hand. Hidden files and folders (such as the hub's own `.cache`) are left out.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError, MedixError, SetupError

__all__ = ["FileInfo", "Listing", "hub_files", "is_hub_id", "local_files"]

LIMIT = 15.0
"""Seconds after which the hub counts as not reachable."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file: its path from the place's top with `/`, its size in bytes, and what changes with its content."""

    name: str
    size: int
    stamp: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a place, sorted by name."""

    files: tuple[FileInfo, ...]
    root: Path | None = None
    """The local folder; None for the hub."""
    only: str | None = None
    """The one file, where the place is a file."""
    hub_id: str = ""
    commit: str = ""

    def address(self, name: str) -> str:
        """What `datasets` opens: a local path, or a path of the hub."""
        if self.root is not None:
            return str(self.root / name)
        return f"hf://datasets/{self.hub_id}@{self.commit}/{name}"

    def fetch(self, name: str) -> Path:
        """A local file with the content of the file of that name; one of the hub is downloaded once.

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
        except Exception as cause:  # a download fails in the ways of several libraries
            raise SetupError(unreachable(self.hub_id, cause)) from cause
        return Path(got)


def is_hub_id(place: str) -> bool:
    """Whether a place could be `owner/name` on the hub."""
    return HUB_ID.fullmatch(place) is not None


def local_files(place: Path) -> Listing:
    """The files of a local folder, or of the folder of a local file.

    Raises:
        DataError: The place is not there, or has no file.
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
    for at, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(at).relative_to(root).as_posix()
        for name in names:
            if name.startswith("."):
                continue
            stat = os.stat(os.path.join(at, name))
            found.append(FileInfo(name if below == "." else f"{below}/{name}", stat.st_size, str(stat.st_mtime_ns)))
    return found


def hub_files(hub_id: str, revision: str | None, ask: Callable[..., Any] | None = None) -> Listing:
    """The files of a data set repository of the hub, at its newest commit or at `revision`.

    Args:
        hub_id: `owner/name`.
        revision: A branch, tag or commit.
        ask: Stands for HfApi.dataset_info.

    Raises:
        SetupError: The hub cannot be reached in time, or does not give the repository.
    """
    answer: dict[str, Any] = {}

    def work() -> None:
        try:
            answer["info"] = (ask or hub_info)(hub_id, revision=revision, files_metadata=True, timeout=LIMIT / 2)
        except BaseException as cause:  # noqa: BLE001 - carried to the caller's thread
            answer["cause"] = cause

    # A look-up of a name can block for longer than any timeout that one can give to it.
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

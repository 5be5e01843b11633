# SPDX-License-Identifier: Apache-2.0
"""One line for an operating system error: the path as the user gave it, what is wrong, what to type.

Files are written to temporary names first (`.NAME.x1y2.part`, `.NAME.partial`, a folder `.NAME.parts`), with a lock
file `.NAME.lock` in the same folder; in messages these names are replaced by NAME. Nothing on the disk is changed.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

__all__ = ["describe_os_error", "own_path"]

DEBUG = "--debug shows the traceback"
_UNFINISHED = re.compile(r"^\.(?P<name>.+?)(?:\.(?:[a-z0-9_]{8}|\d+))?\.(?:part|partial|parts|lock)$")
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota of this disk is used up",
    errno.EFBIG: "the file is too large for this file system",
}
_REFUSED = {
    errno.EACCES: "you have no permission",
    errno.EPERM: "the system does not permit it",
    errno.EROFS: "the file system is read-only",
}


_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


def describe_os_error(error: OSError) -> str:
    """The error, the user's path and the remedy, without line breaks.

    An error without errno, as web clients and image readers raise it, is reported by its type.
    """
    if error.errno is None:
        return f"{type(error).__name__}: {_flat(str(error)) or 'no message'}; {DEBUG}"
    # A failed rename has two names; the second is the target.
    name = error.filename2 if error.filename2 is not None else error.filename
    path = None if name is None or isinstance(name, int) else own_path(os.fsdecode(name))
    if path is not None and error.errno in _NO_LOCKS and str(name).endswith(".lock"):
        error = OSError(errno.ENOLCK, error.strerror)
    return _flat(_of_path(error, path) if path is not None else _of_no_path(error))


def own_path(text: str) -> Path:
    """The path that the user gave, for the path of an unfinished file or folder."""
    path = Path(text)
    for part in [path, *path.parents]:
        match = _UNFINISHED.match(part.name)
        if match is not None:
            path = part.with_name(match["name"])
    return path


def _of_path(error: OSError, path: Path) -> str:
    number = error.errno
    if path.is_symlink():
        return _of_link(error, path)
    if number in _FULL:
        return f"{path}: {_FULL[number]}; free some space or give another place: df -h {_there(path)}"
    if number in _REFUSED:
        return f"{path}: {_REFUSED[number]}; give another place, or see whose it is: ls -ld {_there(path)}"
    if number == errno.ENOLCK:
        return f"{path}: this file system cannot lock files; give a place on a local disk: df -T {_there(path)}"
    if number == errno.ENOENT:
        return _of_missing(path)
    if number == errno.EISDIR:
        return f"{path}: a folder, where the name of a file is needed; give one, as {path / 'NAME'}"
    if number in (errno.ENOTDIR, errno.EEXIST):
        return _of_file_in_the_way(path)
    return f"{path}: {error.strerror or type(error).__name__}; {DEBUG}"


def _of_link(error: OSError, path: Path) -> str:
    """The error for a path that is a symbolic link, checked at its target."""
    target = Path(os.path.realpath(path))
    if error.errno == errno.ENOENT and not target.parent.is_dir():
        return (
            f"{path}: a link to {target}, whose folder does not exist; fix the link, or type: mkdir -p {target.parent}"
        )
    message = _of_path(error, target).removeprefix(f"{target}: ")
    return f"{path} (a link to {target}): {message}"


def _of_no_path(error: OSError) -> str:
    if error.errno in _FULL:
        return f"{_FULL[error.errno]}; free some space or give another place: df -h shows what is full"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open at once; type: ulimit -n 65536, then the same command"
    return f"{error.strerror or type(error).__name__}; {DEBUG}"


def _of_missing(path: Path) -> str:
    there = _there(path)
    if there == path.parent:
        return f"{path}: no such file or folder; see what there is: ls {there}"
    return f"{path}: the folder {path.parent} does not exist; fix the path, or type: mkdir -p {path.parent}"


def _of_file_in_the_way(path: Path) -> str:
    files = [part for part in (path, *path.parents) if part.is_file()]
    if files:
        what = "a file" if files[-1] == path else f"{files[-1]} is a file"
        return f"{path}: {what}, where a folder is needed; give another path, or move that file away"
    return f"{path}: it exists already; give another name, or move it away"


def _there(path: Path) -> Path:
    """The nearest existing parent folder."""
    return next((folder for folder in path.parents if folder.is_dir()), Path("/"))


def _flat(text: str) -> str:
    return " ".join(text.split())

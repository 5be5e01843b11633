# SPDX-License-Identifier: Apache-2.0
"""Parses the source of an installation: a folder, a git repository, or a repository of the Hugging Face hub.

    ./lab_recipes   https://HOST/lab/recipes.git@v1   ssh://git@HOST/lab/recipes.git   file:///FOLDER   lab/recipes@v1

An address with credentials, a query or another scheme is refused; credentials and queries are not printed. There is no
network access here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from medix_verl.errors import ConfigError

__all__ = ["REVISION", "Place", "read_place"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][\w./-]{0,199}", re.ASCII)
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]|::1", re.ASCII)
USER = re.compile(r"[A-Za-z_][\w.-]{0,31}", re.ASCII)
PATH = re.compile(r"/[\w./~+%-]*", re.ASCII)
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".whl")
ACCEPTED = "a folder, https://HOST/PATH[@REVISION], ssh://git@HOST/PATH[@REVISION], or a hub id OWNER/NAME[@REVISION]"


@dataclass(frozen=True, slots=True)
class Place:
    """Source of an installation."""

    kind: Literal["folder", "git", "hub"]
    place: str
    revision: str | None = None


def read_place(word: str) -> Place:
    """Parse the typed source.

    Raises:
        ConfigError: It is not a valid source.
    """
    if not word or word.startswith("-") or not word.isprintable() or "::" in word.split("[")[0]:
        raise ConfigError(f"that is not a place to install from; accepted: {ACCEPTED}")
    if "://" in word:
        return _repository(word.removeprefix("git+"))
    if Path(word).expanduser().is_dir():
        return Place("folder", str(Path(word).expanduser().absolute()))
    if word.endswith(ARCHIVES) or Path(word).expanduser().is_file():
        raise ConfigError(f"{word} is a file, and recipes are installed from folders; unpack it, and give its folder")
    name, at, revision = word.partition("@")
    if not HUB_ID.fullmatch(name) or (at and not REVISION.fullmatch(revision)):
        shown = "there is no such folder, and it" if "@" in word else f"there is no folder {word}, and it"
        raise ConfigError(f"{shown} is not a hub id; accepted: {ACCEPTED}")
    return Place("hub", name, revision or None)


def _repository(word: str) -> Place:
    try:
        parts = urlsplit(word)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = SplitResult("", "", "", "", ""), ""
    scheme = parts.scheme
    if parts.query or parts.fragment:
        raise ConfigError("the address has a part behind '?' or '#', which may be a secret; leave it out")
    if "@" in parts.netloc and not (scheme == "ssh" and USER.fullmatch(parts.netloc.rpartition("@")[0])):
        raise ConfigError(
            "the address holds credentials (USER:PASSWORD@); leave them out, and use ssh://git@HOST/PATH for what is "
            "private"
        )
    path, at, revision = parts.path.partition("@")
    if at and not REVISION.fullmatch(revision):
        raise ConfigError(f"{revision!r} is not a revision; write ADDRESS@BRANCH, @TAG or @COMMIT")
    if scheme == "http" and host not in LOCAL_HOSTS:
        raise ConfigError("http:// can be changed on its way; take https://")
    if scheme not in ("https", "ssh", "http", "file"):
        raise ConfigError(f"{scheme or 'that'}:// is not an address to install from; accepted: {ACCEPTED}")
    if (
        (scheme != "file" and not HOST.fullmatch(host))
        or (scheme == "file" and parts.netloc)
        or not PATH.fullmatch(path)
    ):
        raise ConfigError(
            f"the host or the path of that address has characters that it must not have; accepted: {ACCEPTED}"
        )
    if path.endswith(ARCHIVES):
        raise ConfigError(f"{Path(path).name} is an archive, which is not taken; give the repository that it is of")
    return Place("git", f"{scheme}://{parts.netloc}{path}", revision or None)

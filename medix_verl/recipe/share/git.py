# SPDX-License-Identifier: Apache-2.0
"""One commit of a git repository as a source of recipes. Nothing is checked out, and no program of it runs.

The commit is fetched into a bare repository without hooks, only over the scheme of its address, without redirects and
submodules. Files are read from git objects, so no link is created and no filter runs. User and system settings are not
read: addresses are not rewritten, and no credential helper is called.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medix_verl.errors import DataError, SetupError
from medix_verl.recipe.share.bundle import Entry, Origin
from medix_verl.secrets import scrub_text

__all__ = ["GitSource", "git_source"]

LARGEST_PACK = 64 << 20
LIMIT_S = 120.0
KINDS = {"100644": "file", "100755": "file", "120000": "link"}
SETTINGS = (
    "protocol.allow=never",
    "http.followRedirects=false",
    "core.hooksPath=/dev/null",
    "core.symlinks=false",
    "core.fsmonitor=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.unpackLimit=1",  # a single pack file, bounded by the file size limit
    "transfer.fsckObjects=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "credential.helper=",
)


class GitSource:
    """A fetched commit."""

    def __init__(self, repository: Path, address: str, commit: str) -> None:
        """Store a bare repository that contains the commit."""
        self.repository = repository
        self.commit = commit
        self.origin = Origin("git", address, commit)

    def entries(self) -> Iterator[Entry]:
        """The files of the commit; a submodule is one entry."""
        listed = _git(self.repository, "ls-tree", "-r", "-l", "-z", "--full-tree", self.commit)
        for line in listed.decode("utf-8", "surrogateescape").split("\0"):
            facts, tab, name = line.partition("\t")
            if tab:
                mode, _, _, size = facts.split()
                kind = KINDS.get(mode, "other")
                yield Entry(name, int(size) if size.isdigit() else 0, kind)  # type: ignore[arg-type]

    def read(self, name: str, most: int) -> bytes:
        """Read a file; its size was checked with its entry."""
        return _git(self.repository, "cat-file", "blob", f"{self.commit}:{name}")[: most + 1]


@contextmanager
def git_source(address: str, revision: str | None) -> Iterator[GitSource]:
    """Fetch one commit into a temporary folder that exists while the block runs.

    Args:
        address: Address from medix_verl.recipe.share.sources, without credentials.
        revision: A branch, tag or commit; None takes the repository's HEAD.

    Raises:
        SetupError: git is not installed.
        DataError: The repository cannot be fetched, or is too large.
    """
    if shutil.which("git") is None:
        raise SetupError("there is no git on this machine; install it, or copy the recipes' folder here and name it")
    with tempfile.TemporaryDirectory(prefix="medix-recipes-") as folder:
        repository = Path(folder)
        _git(repository, "init", "-q", "--bare", "--template=", str(repository))
        scheme = address.partition("://")[0]
        allowed = ("-c", f"protocol.{scheme}.allow=always")
        fetch = (
            "fetch",
            "-q",
            "--depth",
            "1",
            "--no-tags",
            "--no-recurse-submodules",
            "--",
            address,
            revision or "HEAD",
        )
        _git(repository, *allowed, *fetch, address=address)
        commit = _git(repository, "rev-parse", "--verify", "FETCH_HEAD^{commit}").decode().strip()
        yield GitSource(repository, address, commit)


def _git(repository: Path, *words: str, address: str = "") -> bytes:
    settings = [part for setting in SETTINGS for part in ("-c", setting)]
    command = ["git", "--git-dir", str(repository), *settings, *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            preexec_fn=_bound,
        )
    except subprocess.TimeoutExpired as error:
        found = f"{address or 'git'} did not answer within {LIMIT_S:g} s"
        raise DataError(f"{found}; try again, or clone it and name the folder") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = scrub_text(
            " ".join((lines or ["it was ended, as a repository of more than 64 MiB is"])[-1].split())[:300]
        )
        raise DataError(f"{address or 'git'} cannot be fetched ({why}); check the address and the revision")
    return done.stdout


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_PACK, LARGEST_PACK))


def _environment() -> dict[str, str]:
    """Environment for git: needed variables of this process, without those that change its behaviour."""
    kept = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oClearAllForwardings=yes",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "https:ssh:http:file",
    }

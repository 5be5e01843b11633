# SPDX-License-Identifier: Apache-2.0
"""One interface to the files of a data set: a local folder or file, or a Hugging Face hub repository.

`rows` streams the rows of a split, `member` returns a file next to them (in the folder, or inside one of its .zip or
.tar files), `path` returns a local copy of one file. Parquet files, and the Arrow files of `save_to_disk`, are streamed
by `arrow_rows`, with pictures as `{"bytes", "path"}`, not decoded. JSON and CSV are read by `row_files`, because types
must not be inferred. From the hub one commit is read, the newest when the source is opened. For a local source, the hub
is not contacted.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medix_verl.data.io.archives import Archives
from medix_verl.data.io.file_limits import refuse_bomb
from medix_verl.data.io.listing import FileInfo, Listing, hub_files, is_hub_id, local_files
from medix_verl.data.io.row_files import ROW_SUFFIXES, read_rows
from medix_verl.data.io.saved_sets import BOOKKEEPING, files_of_split, saved_splits
from medix_verl.data.schema import first_line
from medix_verl.errors import DataError, MedixError, SetupError

__all__ = ["Source"]


class Source:
    """The files of one data set at one location."""

    def __init__(
        self,
        place: str | Path,
        revision: str | None = None,
        options: Mapping[str, str] | None = None,
        listing: Listing | None = None,
    ) -> None:
        """List the files.

        Args:
            place: A folder, a file, or a hub id `owner/name`.
            revision: Branch, tag or commit of the hub repository; None: the newest commit of its main branch.
            options: The converter's options, resolved (see `base.resolve_options`).
            listing: The files; None: list them now.

        Raises:
            DataError: The local path does not exist.
            SetupError: The hub cannot be reached or refuses the repository.
        """
        self.place = str(place)
        self.options: Mapping[str, str] = dict(options or {})
        local = Path(place).expanduser()
        if listing is None:
            listing = local_files(local) if local.exists() or not is_hub_id(self.place) else None
        self.used: list[str] = []
        """Names of the files from which rows were read, added when reading starts."""
        self._listing = listing or hub_files(self.place, revision)
        self._archives = Archives(self._listing)
        self.notes: list[str] = []
        """The converter's notes for the user, without repetitions."""

    @property
    def local(self) -> bool:
        """Whether the source is local, so that nothing is fetched."""
        return self._listing.root is not None

    @property
    def root(self) -> Path | None:
        """The local folder to which paths in rows are relative; None for the hub."""
        return self._listing.root

    @property
    def commit(self) -> str:
        """The hub's commit; empty for a local source."""
        return self._listing.commit

    def note(self, line: str) -> None:
        """Add a line for the user; repeated lines are ignored."""
        if line not in self.notes:
            self.notes.append(line)

    def digest(self) -> str:
        """Hash of file names and sizes, and of modification times or the hub's commit."""
        lines = sorted(f"{item.name}\t{item.size}\t{item.stamp}" for item in self._listing.files)
        return hashlib.sha256("\n".join([self._listing.commit, *lines]).encode("utf-8", "replace")).hexdigest()

    def state(self) -> str:
        """Like `digest`, but also detects a file replaced with its old modification time; only for this machine."""
        lines = sorted(f"{item.name}\t{item.changed}" for item in self._listing.files)
        return hashlib.sha256("\n".join([self.digest(), *lines]).encode("utf-8", "replace")).hexdigest()

    def names(self, *patterns: str) -> list[str]:
        """Names of the files that match one of the glob patterns, at any depth, sorted."""
        return [item.name for item in self._listing.files if any(matches(item.name, wanted) for wanted in patterns)]

    def path(self, name: str) -> Path:
        """A local path of the file with this name; a hub file is downloaded first.

        Raises:
            DataError: There is no such file.
        """
        return self._listing.fetch(name)

    def member(self, name: str) -> bytes:
        """The content of a file next to the rows: in the folder, or in one of its .zip or .tar files.

        Args:
            name: Its path relative to the folder or the archive, or a unique suffix of that path.

        Raises:
            DataError: No file, or several files, match.
        """
        return self._archives.member(name)

    def rows(
        self,
        split: str,
        columns: Sequence[str],
        optional: Sequence[str] = (),
        config: str | None = None,
        files: str | Sequence[str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The rows of a split, in the order of the file names.

        Args:
            split: The set's own name of the split; it selects the files if `files` is None.
            columns: Required columns.
            optional: Optional columns; None in a row if they are missing.
            config: The subset; one of the folders in the file's path must have its name.
            files: Glob patterns, if the file names do not contain the split's name.

        Raises:
            DataError: There is no such file, or a required column is missing.
        """
        for name in self._row_files(split, config, [files] if isinstance(files, str) else files):
            self.used.append(name)
            if name.lower().endswith((".parquet", ".arrow")):
                yield from self._columnar_rows(name, columns, optional)
            else:
                yield from checked_rows(read_rows(self.path(name)), name, columns, optional)

    def _row_files(self, split: str, config: str | None, files: Sequence[str] | None) -> list[str]:
        listed = [item for item in self._listing.files if item.name.lower().endswith(ROW_SUFFIXES)]
        row_files = [item for item in listed if item.name.rsplit("/", 1)[-1] not in BOOKKEEPING]
        found = pick(row_files, split, config, files)
        only = self._listing.only
        if only is not None and (files is None or only in found or only.endswith(".arrow")):
            return [only]
        if not found:
            saved = saved_splits(self._listing)
            found = files_of_split(saved, split, config)
            if saved and not found:
                got = ", ".join(f"{item.folder or '.'} ({item.split or 'no name'})" for item in saved[:5])
                raise DataError(f"{self.place} has no saved split {split!r}: save_to_disk wrote {got}; check --source")
        if not found:
            wanted = (
                " or ".join(files) if files else f"{config + '/' if config else ''}{split}-*.parquet, {split}.json..."
            )
            got = ", ".join(item.name for item in row_files[:5]) or "no .parquet, .json, .jsonl, .csv or .tsv at all"
            raise DataError(
                f"{self.place} has no file of the split {split!r}: expected {wanted}; got {got}; check --source"
            )
        return found

    def _columnar_rows(self, name: str, columns: Sequence[str], optional: Sequence[str]) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        from medix_verl.data.io.arrow_rows import arrow_rows, parquet_rows

        is_parquet = name.lower().endswith(".parquet")
        try:
            if is_parquet and self.local:
                with pq.ParquetFile(self.path(name)) as opened:
                    refuse_bomb(opened, self.path(name))
            with self._listing.open(name) as file:
                yield from (parquet_rows if is_parquet else arrow_rows)(file, name, columns, optional)
        except MedixError:
            raise
        except Exception as cause:  # damaged files and network failures raise exceptions of several libraries
            raise self._unreadable(name, "parquet" if is_parquet else "Arrow", cause) from cause

    def _unreadable(self, name: str, kind: str, cause: Exception) -> MedixError:
        from pyarrow import ArrowException

        if self.local or isinstance(cause, ArrowException):
            return DataError(f"{name} is not a readable {kind} file ({first_line(cause)}); get it again")
        remedy = "type the same command again: it goes on where it was"
        return SetupError(f"{self.place}: {name} could not be read ({first_line(cause)}); {remedy}")


def pick(row_files: Sequence[FileInfo], split: str, config: str | None, files: Sequence[str] | None) -> list[str]:
    """Names of a split's row files; if it exists in several formats, only those of the preferred format."""
    names = [item.name for item in row_files]
    if files is not None:
        return [name for name in names if any(matches(name, pattern) for pattern in files)]
    found = [name for name in names if has_split(name, split) and (config is None or config in name.split("/")[:-1])]
    for suffix in ROW_SUFFIXES:
        of_format = [name for name in found if name.lower().endswith(suffix)]
        if of_format:
            return of_format
    return []


def has_split(name: str, split: str) -> bool:
    """Whether a file belongs to a split: `train.json`, `train-00000-of-00003.parquet`, `train/0000.parquet`."""
    *folders, last = name.split("/")
    stem = last.rsplit(".", 1)[0]
    return stem == split or stem.startswith(f"{split}-") or split in folders


def matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*/{pattern}")


def checked_rows(
    rows: Iterator[dict[str, Any]], name: str, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        if number == 0:
            check_columns(list(row), name, columns)
        yield {column: row.get(column) for column in (*columns, *optional)}


def check_columns(got: Sequence[str], name: str, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in got]
    if missing:
        raise DataError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(got)}, expected {', '.join(columns)}: "
            "is it a file of this data set?"
        )

# SPDX-License-Identifier: Apache-2.0
"""Where a data set's files are: a local folder or file, or a repository of the Hugging Face hub, behind one face.

`rows` streams the rows of a split, `member` gives a file that lies beside them (in the folder, or inside a .zip or
.tar there), `path` a local copy of one file. Parquet is read by Hugging Face `datasets` as a stream, with pictures as
`{"bytes", "path"}` and never decoded; JSON and CSV by `rowfiles`, because their types must not be guessed. Of the hub
one commit is read, the newest when the source is opened; nothing is asked of it for a local place.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medix_verl.data.archives import Archives
from medix_verl.data.listing import FileInfo, Listing, hub_files, is_hub_id, local_files
from medix_verl.data.rowfiles import ROW_SUFFIXES, read_rows
from medix_verl.errors import DataError, SetupError

__all__ = ["Source"]

ROWS_AT_ONCE = 16
"""Rows of a parquet file that are in memory at once: pictures may have megabytes each."""


class Source:
    """The files of one data set, at one place."""

    def __init__(
        self,
        place: str | Path,
        revision: str | None = None,
        options: Mapping[str, str] | None = None,
        listing: Listing | None = None,
    ) -> None:
        """Look at the place.

        Args:
            place: A folder, a file, or a hub id `owner/name`.
            revision: A branch, tag or commit of the hub repository; None is the newest of its main branch.
            options: The converter's options, each resolved (see `base.resolve_options`).
            listing: What is there; None looks.

        Raises:
            DataError: A local place that is not there.
            SetupError: The hub cannot be reached, or does not give the repository.
        """
        self.place = str(place)
        self.options: Mapping[str, str] = dict(options or {})
        local = Path(place).expanduser()
        if listing is None:
            listing = local_files(local) if local.exists() or not is_hub_id(self.place) else None
        self._listing = listing or hub_files(self.place, revision)
        self._archives = Archives(self._listing)

    @property
    def local(self) -> bool:
        """Whether nothing is fetched from elsewhere."""
        return self._listing.root is not None

    @property
    def root(self) -> Path | None:
        """The local folder, at which relative paths of rows start; None for the hub."""
        return self._listing.root

    @property
    def commit(self) -> str:
        """The hub's commit; empty for a local place."""
        return self._listing.commit

    def digest(self) -> str:
        """Changes when a file of the source does: names, sizes, and times of change or the hub's commit."""
        lines = sorted(f"{item.name}\t{item.size}\t{item.stamp}" for item in self._listing.files)
        return hashlib.sha256("\n".join([self._listing.commit, *lines]).encode("utf-8", "replace")).hexdigest()

    def names(self, *patterns: str) -> list[str]:
        """Names of the files that match one of the glob patterns, at any depth, sorted."""
        return [item.name for item in self._listing.files if any(matches(item.name, wanted) for wanted in patterns)]

    def path(self, name: str) -> Path:
        """A local file with the content of the file of that name.

        Raises:
            DataError: There is no such file.
        """
        return self._listing.fetch(name)

    def member(self, name: str) -> bytes:
        """The content of a file beside the rows: one of the folder, or of a .zip or .tar that lies there.

        Args:
            name: Its path from the folder's or the archive's top, or the end of that path if only one file has it.

        Raises:
            DataError: There is no such file, or several.
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
        """The rows of a split, in the order of the files' names.

        Args:
            split: The set's own name of the split; files are found by it where `files` is None.
            columns: Columns that must be there.
            optional: Columns that may be; None in a row where they are not.
            config: The subset; its name must be a folder on the file's way.
            files: Glob patterns, where the files' names do not have the split's.

        Raises:
            DataError: No such file, or one with other columns.
        """
        for name in self._row_files(split, config, [files] if isinstance(files, str) else files):
            if name.lower().endswith(".parquet"):
                yield from self._parquet_rows(name, columns, optional)
            else:
                yield from checked_rows(read_rows(self.path(name)), name, columns, optional)

    def _row_files(self, split: str, config: str | None, files: Sequence[str] | None) -> list[str]:
        row_files = [item for item in self._listing.files if item.name.lower().endswith(ROW_SUFFIXES)]
        found = pick(row_files, split, config, files)
        only = self._listing.only
        if only is not None and (files is None or only in found):
            return [only]
        if not found:
            wanted = (
                " or ".join(files) if files else f"{config + '/' if config else ''}{split}-*.parquet, {split}.json..."
            )
            got = ", ".join(item.name for item in row_files[:5]) or "no .parquet, .json, .jsonl, .csv or .tsv at all"
            raise DataError(
                f"{self.place} has no file of the split {split!r}: expected {wanted}; got {got}; check --source"
            )
        return found

    def _parquet_rows(self, name: str, columns: Sequence[str], optional: Sequence[str]) -> Iterator[dict[str, Any]]:
        import datasets
        import pyarrow as pa
        from pyarrow.dataset import ParquetFragmentScanOptions

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
        # Unbuffered, Arrow reads a whole row group of pictures at once, which is gigabytes in some sets.
        options = ParquetFragmentScanOptions(use_buffered_stream=True, buffer_size=1 << 20, pre_buffer=False)
        try:
            stream = datasets.load_dataset(
                "parquet",
                data_files=[self._listing.address(name)],
                split="train",
                streaming=True,
                batch_size=ROWS_AT_ONCE,
                fragment_scan_options=options,
            )
            check_columns(list(stream.features), name, columns)
            present = [*columns, *(column for column in optional if column in stream.features)]
            stream = stream.select_columns(present).decode(False)
            for row in stream:
                yield {column: row.get(column) for column in (*columns, *optional)}
        except (pa.ArrowInvalid, datasets.exceptions.DatasetGenerationError) as cause:
            raise DataError(f"{name} is no readable parquet file ({first_line(cause)}); get it again") from cause
        except OSError as cause:
            if self.local:
                raise DataError(f"{name} is no readable parquet file ({first_line(cause)}); get it again") from cause
            remedy = "type the same command again: it goes on where it was"
            raise SetupError(f"{self.place}: {name} could not be read ({first_line(cause)}); {remedy}") from cause


def pick(row_files: Sequence[FileInfo], split: str, config: str | None, files: Sequence[str] | None) -> list[str]:
    """Names of the row files of a split; where a split is there in several formats, those of the preferred one."""
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
    """Whether a file is of a split: `train.json`, `train-00000-of-00003.parquet`, `train/0000.parquet`."""
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


def first_line(cause: BaseException) -> str:
    return (str(cause).splitlines() or [type(cause).__name__])[0]

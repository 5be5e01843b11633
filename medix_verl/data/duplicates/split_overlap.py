# SPDX-License-Identifier: Apache-2.0
"""Find rows, pictures or patients shared by training and validation files, in seconds: no picture is read.

Rows are equal if question, options, answer and the names of their pictures are equal (normalised, see `fingerprints`).
Pictures and patients are compared by the name that their data set gives them. A picture saved again under another name
is found by `medix-verl check --against`, which decodes all pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.data.duplicates.fingerprints import fold, hash_texts
from medix_verl.data.io.file_limits import rows_at_once
from medix_verl.data.mixture.spec import is_mixture, read_mixture
from medix_verl.data.schema import check_file, path_columns

__all__ = ["Overlap", "find_overlap"]

DEMO = "medix_demo"
"""Excluded: the demo draws all its files from the same few questions, as its documentation says."""
BATCH = 1024
COLUMNS = ["id", "data_source", "question", "answer", "options", "meta"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """What training rows have in common with validation rows."""

    rows: int = 0
    """Training rows that are also validation rows."""
    pictures: int = 0
    """Pictures that are in both."""
    patients: int = 0
    """Patients that are in both."""
    example: str = ""
    """Id of the first training row that shares something."""
    unseen: tuple[str, ...] = ()
    """Files that do not exist on this machine."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.pictures or self.patients)

    def __str__(self) -> str:
        counts = {"rows": self.rows, "pictures": self.pictures, "patients": self.patients}
        shared = " and ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"training and validation share {shared or 'nothing'}" + (f" (row {self.example!r})" if self else "")


def find_overlap(train: Sequence[str | Path], val: Sequence[str | Path]) -> Overlap:
    """Compare the files of a run.

    Args:
        train: Parquet files, or one mixture file.
        val: The same.

    Raises:
        MedixError: A file is not a sample file or a mixture file.
    """
    unseen: list[str] = []
    known: set[bytes] = {key for _, keys in keys_of(val, unseen) for key in keys}
    rows, example = 0, ""
    shared: dict[bytes, set[bytes]] = {b"picture": set(), b"patient": set()}
    if known:
        for name, keys in keys_of(train, unseen):
            hits = [key for key in keys if key in known]
            example = example or (name if hits else "")
            rows += any(key.startswith(b"row") for key in hits)
            for kind, found in shared.items():
                found.update(key for key in hits if key.startswith(kind))
    return Overlap(rows, len(shared[b"picture"]), len(shared[b"patient"]), example, tuple(dict.fromkeys(unseen)))


def keys_of(names: Sequence[str | Path], unseen: list[str]) -> Iterator[tuple[str, list[bytes]]]:
    """Each row's id and its comparison keys."""
    for path, sources in parquet_files(names):
        if "://" in path or not Path(path).exists():
            unseen.append(path)
            continue
        for row in rows_of(path):
            if row["data_source"] != DEMO and (sources is None or row["data_source"] in sources):
                yield str(row["id"]), keys_of_row(row)


def parquet_files(names: Sequence[str | Path]) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Each parquet file, including those of a mixture, with the data sources used from it (None: all)."""
    for name in map(str, names):
        path = name if "://" in name else str(Path(name).expanduser())
        if is_mixture(path) and Path(path).exists():
            yield from ((source.path, source.data_sources) for source in read_mixture(path).sources)
        else:
            yield path, None


def rows_of(path: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    check_file(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows_at_once(file, BATCH), columns=[*COLUMNS, *path_columns(file)]):
            yield from batch.to_pylist()


def keys_of_row(row: dict[str, Any]) -> list[bytes]:
    try:
        meta = json.loads(row["meta"] or "{}")
    except ValueError:  # reported by the check of the file
        meta = {}
    meta = meta if isinstance(meta, dict) else {}
    shown = [(item or {}).get("path") for item in row.get("images") or ()]
    names = meta.get("image_id")
    pictures = [str(name) for name in names] if isinstance(names, list) else [str(path) for path in shown if path]
    origin = str(row["data_source"]).split("/")[0]
    texts = [fold(str(row["question"])), *sorted(map(fold, row["options"] or ())), fold(str(row["answer"]))]
    # Pictures without a name could be any picture, so the row gets no row key.
    keys = [b"row" + hash_texts([*texts, "", *pictures])] if pictures or not shown else []
    keys += [b"picture" + hash_texts([origin, name]) for name in pictures]
    if meta.get("patient_id"):
        keys.append(b"patient" + hash_texts([origin, str(meta["patient_id"])]))
    return keys

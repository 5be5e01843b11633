# SPDX-License-Identifier: Apache-2.0
"""MBZUAI/medix-rl-data, MediX-R1's training and test set, to the sample schema.

Each shard has the columns `id`, `image` (list of encoded pictures), `source`, `problem` and `solution`; a solution is
the modality tag and the answer, `<X_RAY>pneumonia`. A tag is taken off only when it is one of the sixteen, so that
answers such as `lesion > 3 cm` stay whole (the official reward cuts them at the first `>`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from medix_verl.data.parquet import write_samples
from medix_verl.errors import DataError
from medix_verl.types import MODALITIES, ImageRef, Sample

__all__ = ["convert", "to_sample"]

_COLUMNS = ["id", "image", "source", "problem", "solution"]
_TAG = re.compile(r"^\s*<\s*([A-Za-z_]+)\s*>\s*")
_SPLITS = {"train": "train", "test": "val"}
_ROWS_AT_ONCE = 64


def convert(origin: Path, out: Path) -> Iterator[tuple[str, Path, int]]:
    """Write `train.parquet` and `val.parquet` (the published test split).

    Args:
        origin: folder that holds the shards `train-*.parquet` and `test-*.parquet`, at any depth.
        out: folder to write to.

    Yields:
        Name of the split, its file, and its number of rows.

    Raises:
        DataError: a split has no shards, or a shard other columns than the published ones.
    """
    shards = {split: sorted(origin.rglob(f"{name}-*.parquet")) for name, split in _SPLITS.items()}
    for split, files in shards.items():
        if not files:
            names = ", ".join(f"{name}-*.parquet" for name in _SPLITS)
            raise DataError(f"no shards of the split {split} under {origin}: expected {names}; check --from")
    out.mkdir(parents=True, exist_ok=True)
    for split, files in shards.items():
        path = out / f"{split}.parquet"
        total = sum(pq.read_metadata(file).num_rows for file in files)
        samples = (to_sample(row, split) for file in files for row in _rows(file))
        write_samples(tqdm(samples, total=total, desc=split, delay=2.0), path)
        yield split, path, total


def to_sample(row: dict[str, Any], split: str) -> Sample:
    """One published row as a Sample.

    Raises:
        DataError: the row has no answer; the message has its id.
    """
    solution = str(row["solution"] or "")
    match = _TAG.match(solution)
    is_tag = match is not None and match[1].upper() in MODALITIES
    answer = (solution[match.end() :] if match is not None and is_tag else solution).strip()
    if not answer:
        raise DataError(f"row {row['id']} has no answer in its solution {solution!r}: drop the row")
    return Sample(
        id=str(row["id"]),
        data_source=f"medix_rl_data/{row['source']}",
        question=str(row["problem"]).replace("<image>", "").strip(),
        answer=answer,
        modality=match[1].upper() if match is not None and is_tag else None,
        images=tuple(ImageRef(bytes=image["bytes"]) for image in row["image"] or ()),
        split=split,
        meta={"licence": "CC-BY-NC-SA-4.0"},
    )


def _rows(shard: Path) -> Iterator[dict[str, Any]]:
    file = pq.ParquetFile(shard)
    missing = [column for column in _COLUMNS if column not in file.schema_arrow.names]
    if missing:
        raise DataError(
            f"{shard} has no column {', '.join(missing)}; it has {', '.join(file.schema_arrow.names)}: "
            "is it a shard of MBZUAI/medix-rl-data?"
        )
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=_COLUMNS):
        yield from batch.to_pylist()

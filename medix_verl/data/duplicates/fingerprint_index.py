# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of a whole file as arrays: about 150 bytes a row, so that millions of rows fit in memory.

A 16-byte hash is a pair of uint64. The pictures of all rows are in flat arrays, indexed by offsets. The word runs of
long questions are kept only for the evaluation files (`gram_table`); for the file that is checked, `in_parts` yields
them part by part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from medix_verl.data.duplicates.fingerprints import Fingerprint

__all__ = ["GramTable", "Marks", "first_equal", "gram_table", "in_parts", "join_parts", "row_keys"]

PART_ROWS = 16_384
Item = tuple[str, Fingerprint]


@dataclass(frozen=True, slots=True)
class Marks:
    """Fingerprints of n rows with m pictures."""

    ids: pa.Array
    """n strings."""
    text: np.ndarray
    """uint64 (n, 2)."""
    question: np.ndarray
    """uint64 (n, 2)."""
    offsets: np.ndarray
    """int64 (n + 1): the pictures of row i are offsets[i] to offsets[i + 1] - 1."""
    images: np.ndarray
    """uint64 (m, 2)."""
    perceptual: np.ndarray
    """uint64 (m,); 0 for a picture without structure."""
    detail: np.ndarray
    """uint64 (m, 4)."""

    def __len__(self) -> int:
        return len(self.text)

    @property
    def counts(self) -> np.ndarray:
        """Number of pictures of each row."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """The row of each picture."""
        return np.repeat(np.arange(len(self)), self.counts)


@dataclass(frozen=True, slots=True)
class GramTable:
    """Runs of 13 words of the long questions of n rows, for lookup and counting."""

    values: np.ndarray
    """uint64, ascending."""
    rows: np.ndarray
    """int64: the row of each value."""
    sizes: np.ndarray
    """int64 (n,): number of distinct runs of each row."""


def in_parts(items: Iterable[Item]) -> Iterator[tuple[Marks, GramTable]]:
    """Arrays of PART_ROWS rows at a time; row numbers start at 0 in each part."""
    stream = iter(items)
    while part := list(islice(stream, PART_ROWS)):
        yield marks_of(part), gram_table(part)


def marks_of(part: list[Item]) -> Marks:
    marks = [item[1] for item in part]
    return Marks(
        ids=pa.array([item[0] for item in part], pa.large_string()),
        text=words_from([one.text for one in marks], 2),
        question=words_from([one.question for one in marks], 2),
        offsets=np.concatenate([[0], np.cumsum([len(one.images) for one in marks], dtype=np.int64)]).astype(np.int64),
        images=words_from([image for one in marks for image in one.images], 2),
        perceptual=np.array([value for one in marks for value in one.perceptual], dtype=np.uint64),
        detail=words_from([value for one in marks for value in one.detail], 4),
    )


def words_from(hashes: list[bytes], width: int) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), dtype="<u8").astype(np.uint64).reshape(-1, width)


def gram_table(part: list[Item]) -> GramTable:
    """The word runs of some rows."""
    sizes = np.array([len(marks.grams) // 8 for _, marks in part], dtype=np.int64)
    values = words_from([marks.grams for _, marks in part], 1)[:, 0]
    order = np.argsort(values, kind="stable")
    return GramTable(values[order], np.repeat(np.arange(len(part)), sizes)[order], sizes)


def join_parts(parts: list[Marks]) -> Marks:
    """Concatenate the parts; row numbers continue across parts."""
    if not parts:
        return marks_of([])
    sizes = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[1:] + size for part, size in zip(parts, sizes, strict=False)]
    return Marks(
        ids=pa.concat_arrays([part.ids for part in parts]),
        text=np.concatenate([part.text for part in parts]),
        question=np.concatenate([part.question for part in parts]),
        offsets=np.concatenate([[0], *offsets]).astype(np.int64),
        images=np.concatenate([part.images for part in parts]),
        perceptual=np.concatenate([part.perceptual for part in parts]),
        detail=np.concatenate([part.detail for part in parts]),
    )


def row_keys(texts: np.ndarray, marks: Marks) -> np.ndarray:
    """One key per row, uint64 (n, 2): of its text hash and its pictures in order."""
    places = np.arange(len(marks.images)) - np.repeat(marks.offsets[:-1], marks.counts)
    # Odd weights by position: the same pictures in another order give another key. Sums wrap around.
    weighted = marks.images * ((places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1))[:, None]
    sums = np.concatenate([np.zeros((1, 2), np.uint64), np.cumsum(weighted, axis=0, dtype=np.uint64)])
    folded = sums[marks.offsets[1:]] - sums[marks.offsets[:-1]]
    return np.asarray(texts + folded * np.uint64(0xD6E8FEB86659FD93))


def first_equal(asked: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each key, the lowest index of an equal one, or -1: int64 (n,).

    Args:
        asked: uint64 (n, 2).
        among: uint64 (m, 2).
    """
    if not len(among):
        return np.full(len(asked), -1, dtype=np.int64)
    order = np.argsort(among[:, 0], kind="stable")
    places = np.searchsorted(among[order, 0], np.ascontiguousarray(asked[:, 0]))
    found = order[np.minimum(places, len(order) - 1)]
    return np.where((among[found] == asked).all(axis=1), found, -1)

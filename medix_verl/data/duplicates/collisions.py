# SPDX-License-Identifier: Apache-2.0
"""Find duplicate rows within a file, and rows that collide with an evaluation file.

Within one file the first row is kept:

    exact           same question, options, answer, and the same pictures by their pixels
    near-exact      same texts, each picture near the other row's picture (scaled, JPEG, brighter, framed)
    same-question   same question about the same pictures, or of text-only rows, with another answer or other options

Between files a row gets the strongest kind that applies, and on ties the first file:

    exact, same-question   as above
    same-image             a picture of the row is in the file, whatever the question (the leak of VQA-RAD)
    near-image             a picture of the row is near a picture of the file
    near-text              two long text-only questions share at least `gram_share` of the shorter one's 13-word runs

GPT-3 (Brown et al. 2020, appendix C) counted one common run of 13 words as a collision. Exam questions share phrases of
that length, so a share of the shorter question is required here, as for PaLM (Chowdhery et al. 2022, section 8: 70 % of
the 8-word runs). A picture without structure (all black) is not a leak. QualitySpec defines which kinds drop a row;
these are checked first: an exact copy is also a same-question match, and is dropped if only that kind drops rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medix_verl.data.duplicates.fingerprint_index import (
    GramTable,
    Marks,
    first_equal,
    gram_table,
    in_parts,
    join_parts,
    row_keys,
)
from medix_verl.data.duplicates.fingerprints import Fingerprint
from medix_verl.data.duplicates.near_hashes import bits_apart, near_pairs
from medix_verl.data.prepare.checks import KINDS_BETWEEN, KINDS_WITHIN, QualitySpec

__all__ = ["Finding", "find_duplicates"]

NONE = -1


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that collides with another."""

    row: int
    """Index of the row among the given fingerprints, from 0."""
    id: str
    kind: str
    other_file: str | None
    """Name of the evaluation file; None: the same file."""
    other_id: str
    drop: bool
    """Whether the spec drops the row because of this finding."""


@dataclass(frozen=True, slots=True)
class EvaluationFile:
    name: str
    marks: Marks
    grams: GramTable


def find_duplicates(
    within: Iterable[tuple[str, Fingerprint]],
    against: Mapping[str, Iterable[tuple[str, Fingerprint]]],
    spec: QualitySpec,
) -> list[Finding]:
    """Find collisions: at most one finding per row with the evaluation files, and one within its own file.

    A row dropped because of an evaluation file is not checked within its file, so it is never another row's original.

    Args:
        within: Ids and fingerprints of the file, in the order of its rows.
        against: Name of an evaluation file -> its ids and fingerprints.
        spec: Distances, and the kinds that drop a row.

    Returns:
        Findings in row order.
    """
    files = [read_file(name, items) for name, items in against.items()]
    parts: list[Marks] = []
    overlaps: list[list[np.ndarray]] = [[] for _ in files]
    for marks, grams in in_parts(within):
        parts.append(marks)
        for number, file in enumerate(files):
            overlaps[number].append(near_texts(grams, file.grams, spec.gram_share))
    table = join_parts(parts)
    del parts
    found = between(table, files, [np.concatenate(rows) if rows else np.zeros(0, int) for rows in overlaps], spec)
    gone: np.ndarray = np.zeros(len(table), dtype=bool)
    gone[[finding.row for finding in found if finding.drop]] = True
    return sorted([*found, *inside(table, ~gone, spec)], key=lambda finding: (finding.row, finding.other_file is None))


def read_file(name: str, items: Iterable[tuple[str, Fingerprint]]) -> EvaluationFile:
    rows = list(items)
    return EvaluationFile(name, join_parts([marks for marks, _ in in_parts(rows)]), gram_table(rows))


def between(table: Marks, files: list[EvaluationFile], overlaps: list[np.ndarray], spec: QualitySpec) -> list[Finding]:
    found: dict[int, Finding] = {}
    matches = [collisions(table, file.marks, spec) for file in files]
    for kind in dropping_first(KINDS_BETWEEN, spec.drop_between):
        for number, file in enumerate(files):
            others = overlaps[number] if kind == "near-text" else matches[number][kind]
            for row in np.flatnonzero(others != NONE).tolist():
                if row not in found:
                    other = str(file.marks.ids[int(others[row])])
                    drop = kind in spec.drop_between
                    found[row] = Finding(row, str(table.ids[row]), kind, file.name, other, drop)
    return list(found.values())


def dropping_first(kinds: Sequence[str], drop: Collection[str]) -> list[str]:
    """The kinds that drop a row, then the others, each strongest first: a stronger kind implies the weaker ones."""
    return sorted(kinds, key=lambda kind: kind not in drop)


def collisions(table: Marks, other: Marks, spec: QualitySpec) -> dict[str, np.ndarray]:
    """Kind -> for each row of `table`, the first row of `other` that it collides with, or NONE."""
    return {
        "exact": first_equal(row_keys(table.text, table), row_keys(other.text, other)),
        "same-question": first_equal(row_keys(table.question, table), row_keys(other.question, other)),
        "same-image": same_images(table, other),
        "near-image": near_images(table, other, spec),
    }


def same_images(table: Marks, other: Marks) -> np.ndarray:
    shown, there = np.flatnonzero(table.perceptual), np.flatnonzero(other.perceptual)
    found = first_equal(table.images[shown], other.images[there])
    hits = np.flatnonzero(found != NONE)
    return first_rows(len(table), table.owners[shown[hits]], other.owners[there[found[hits]]])


def near_images(table: Marks, other: Marks, spec: QualitySpec) -> np.ndarray:
    shown, there = np.flatnonzero(table.perceptual), np.flatnonzero(other.perceptual)
    owners, other_owners = table.owners, other.owners
    # Many rows ask about the same picture: each distinct picture is searched once.
    _, first, back = np.unique(table.images[shown, 0], return_index=True, return_inverse=True)
    _, kept = np.unique(other.images[there, 0], return_index=True)
    asked, there = shown[first], there[np.sort(kept)]
    best: np.ndarray = np.full(len(asked), len(other), dtype=np.int64)
    for left, right in near_pairs(table.perceptual[asked], other.perceptual[there], spec.distance):
        close = bits_apart(table.detail[asked[left]], other.detail[there[right]]) <= spec.detail_distance
        np.minimum.at(best, left[close], other_owners[there[right[close]]])
    each = best[back]
    hits = np.flatnonzero(each < len(other))
    return first_rows(len(table), owners[shown[hits]], each[hits])


def first_rows(size: int, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each row, the lowest of its matches, or NONE."""
    best: np.ndarray = np.full(size, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(best, rows, others)
    return np.where(best == np.iinfo(np.int64).max, NONE, best)


def near_texts(asked: GramTable, other: GramTable, share: float) -> np.ndarray:
    """For each row, the row of `other` with the largest shared fraction of the shorter one's runs, at least `share`."""
    starts = np.asarray(np.searchsorted(other.values, asked.values, side="left"))
    ends = np.asarray(np.searchsorted(other.values, asked.values, side="right"))
    counts = ends - starts
    result: np.ndarray = np.full(len(asked.sizes), NONE, dtype=np.int64)
    common: dict[tuple[int, int], int] = {}
    for place in np.flatnonzero(counts).tolist():
        row, start = int(asked.rows[place]), int(starts[place])
        for match in other.rows[start : start + int(counts[place])].tolist():
            common[row, match] = common.get((row, match), 0) + 1
    best: dict[int, float] = {}
    for (row, match), runs in sorted(common.items()):
        shared = runs / min(int(asked.sizes[row]), int(other.sizes[match]))
        if shared >= share and shared > best.get(row, 0.0):
            best[row], result[row] = shared, match
    return result


def inside(table: Marks, alive: np.ndarray, spec: QualitySpec) -> list[Finding]:
    """Collisions among the rows that are not yet assigned; the strongest one for each row."""
    found: list[Finding] = []

    def note(kind: str, rows: np.ndarray, others: np.ndarray) -> None:
        for row, other in zip(rows.tolist(), others.tolist(), strict=True):
            drop = kind in spec.drop_within
            found.append(Finding(row, str(table.ids[row]), kind, None, str(table.ids[other]), drop))
        alive[rows] = False

    look: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        "exact": lambda: repeated(row_keys(table.text, table), alive),
        "near-exact": lambda: near_repeated(table, alive, spec),
        "same-question": lambda: repeated(row_keys(table.question, table), alive),
    }
    for kind in dropping_first(KINDS_WITHIN, spec.drop_within):
        note(kind, *look[kind]())
    return found


def repeated(keys: np.ndarray, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose key equals that of an earlier row, and the first row with that key."""
    rows = np.flatnonzero(alive)
    first = first_equal(keys[rows], keys[rows])
    later = np.flatnonzero(first < np.arange(len(rows)))
    return rows[later], rows[first[later]]


def near_repeated(table: Marks, alive: np.ndarray, spec: QualitySpec) -> tuple[np.ndarray, np.ndarray]:
    """Rows with the texts and near the pictures of an earlier row that is kept, and that earlier row."""
    rows = np.flatnonzero(alive & (table.counts > 0))
    rows = rows[table.perceptual[table.offsets[rows]] != 0]
    hashes, groups = table.perceptual[table.offsets[rows]], table.text[rows, 0]
    found: list[np.ndarray] = [np.zeros(0, dtype=np.uint64)]
    for left, right in near_pairs(hashes, hashes, spec.distance, groups, groups):
        earlier = left < right
        later, sooner = rows[right[earlier]].astype(np.uint64), rows[left[earlier]].astype(np.uint64)
        found.append(np.unique(later << np.uint64(32) | sooner))
    first: dict[int, int] = {}
    for pair in np.unique(np.concatenate(found)).tolist():
        row, other = pair >> 32, pair & 0xFFFFFFFF
        if row not in first and other not in first and all_near(table, row, other, spec):
            first[row] = other
    return np.array(list(first), dtype=np.int64), np.array(list(first.values()), dtype=np.int64)


def all_near(table: Marks, row: int, other: int, spec: QualitySpec) -> bool:
    """Whether two rows have the same number of pictures, each equal or near."""
    mine, theirs = (slice(int(table.offsets[one]), int(table.offsets[one + 1])) for one in (row, other))
    if mine.stop - mine.start != theirs.stop - theirs.start:
        return False
    same = (table.images[mine] == table.images[theirs]).all(axis=1)
    near = bits_apart(table.perceptual[mine], table.perceptual[theirs]) <= spec.distance
    near &= bits_apart(table.detail[mine], table.detail[theirs]) <= spec.detail_distance
    near &= (table.perceptual[mine] != 0) & (table.perceptual[theirs] != 0)
    return bool((same | near).all())

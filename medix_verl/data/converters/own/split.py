# SPDX-License-Identifier: Apache-2.0
"""Assign rows of a user's table to splits: by the column `split`, or by a hash of patient, pictures or content.

All rows of a table without that column are train. Requesting val or test would return the same rows again and is
refused, unless the file is named after that split (`val.csv`). `--split-by` splits the table by a hash, so that each
row is in exactly one split, the same in every preparation and on every machine:

    patient   rows of one `patient_id` stay together
    picture   rows that share a picture, directly or through other rows, stay together; rows without one as by `row`
    row       rows with the same question about the same pictures stay together
    none      every row is in the requested split
    any       the column `split` decides if it exists; otherwise every row is test (evaluation)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.data.converters.base import Option, Refused
from medix_verl.data.duplicates.fingerprints import fold
from medix_verl.errors import ConfigError, DataError

__all__ = ["OPTIONS", "SPLIT_WORDS", "Groups", "Splitting", "row_key", "splitting_of"]

WAYS = ("auto", "patient", "picture", "row", "none", "any")
SPLIT_WORDS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}
OPTIONS: Mapping[str, Option] = {
    "split_by": Option("auto", "how a table without a column split is divided, also --split-by", WAYS),
    "val_share": Option("0.1", "with split_by: the share of val, 0 to 1, also --val-share"),
    "test_share": Option("0", "with split_by: the share of test, 0 to 1, also --test-share"),
}
REMEDY = "type --split-by patient (or picture, row) for both, which divides it by a hash"


@dataclass(frozen=True, slots=True)
class Splitting:
    """How a table is split."""

    by: str
    """One of WAYS."""
    val: float
    test: float

    def split_of(self, key: str) -> str:
        """Return the split of all rows with this key, by its hash."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        return "val" if place < self.val else "test" if place < self.val + self.test else "train"

    def check(self, split: str, table: Path, has_column: bool) -> None:
        """Refuse a split that the table cannot provide.

        Args:
            split: The requested split.
            table: The table's file.
            has_column: Whether its rows have a column `split`.

        Raises:
            DataError: The column and `--split-by` are both given, or the rows would be in two splits.
            ConfigError: The split's share of the rows is 0.
        """
        if has_column:
            if self.by not in ("auto", "any"):
                raise DataError(f"{table} has a column split, and --split-by is {self.by}; leave out one of the two")
            return
        if self.by == "any" and split != "test":
            raise DataError(f"{table} has no column split, and so all of its rows are of test; add the column")
        if self.by == "auto" and split != "train" and split not in splits_named(table):
            raise DataError(
                f"{table} has no column split, so that its rows would be in {split} and in train; {REMEDY}, or "
                f"--split-by none if this file is of {split} alone"
            )
        if self.by in ("patient", "picture", "row") and split == "test" and not self.test:
            raise ConfigError("--split-by gives nothing to test; add --test-share 0.1, for each split alike")


def splitting_of(options: Mapping[str, str]) -> Splitting:
    """Read the options.

    Raises:
        ConfigError: A share is not a number from 0 to below 1, or nothing is left for train.
    """
    val, test = share_of(options, "val_share"), share_of(options, "test_share")
    if val + test >= 1:
        raise ConfigError(f"--val-share {val:g} and --test-share {test:g} leave nothing to train; their sum is below 1")
    return Splitting(options["split_by"], val, test)


def share_of(options: Mapping[str, str], key: str) -> float:
    try:
        share = float(options[key])
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ConfigError(f"--{key.replace('_', '-')} is {options[key]!r}; accepted: a number from 0 to below 1")
    return share


def splits_named(table: Path) -> set[str]:
    """Return the split names found among the words of the table's file name and as its folder's name."""
    words = [table.parent.name.lower(), *re.findall("[a-z]+", table.stem.lower())]
    return {SPLIT_WORDS.get(word, word) for word in words}


def row_key(values: Mapping[str, Any], pictures: Iterable[str]) -> str:
    """Return a key that is equal for rows with the same question about the same pictures."""
    return "\n".join(["row", fold(str(values.get("question", ""))), *pictures])


def patient_of(values: Mapping[str, Any], name: str, line: int) -> str | Refused:
    """Return the row's patient as a key; a Refused if it has none, since its split would be arbitrary."""
    patient = str(values.get("patient_id", "")).strip()
    if not patient:
        return Refused(name, "no patient", f"line {line}: --split-by patient needs a patient_id in every row")
    return f"patient\n{patient}"


class Groups:
    """Groups of connected names (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def join(self, names: Iterable[str]) -> None:
        """Merge the groups of all these names."""
        roots = [self.of(name) for name in names]
        for root in roots[1:]:
            # The smaller name becomes the root, so that the key does not depend on the order of the rows.
            first, second = sorted((self.of(roots[0]), self.of(root)))
            self._parent[second] = first

    def of(self, name: str) -> str:
        """Return the group's key: the smallest of its names."""
        root = name
        while (above := self._parent.setdefault(root, root)) != root:
            root = above
        while self._parent[name] != root:
            name, self._parent[name] = self._parent[name], root
        return root

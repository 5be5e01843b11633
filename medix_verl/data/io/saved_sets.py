# SPDX-License-Identifier: Apache-2.0
"""Find the Arrow files of each split in folders written by `save_to_disk` of Hugging Face `datasets`.

A saved split is a folder with `state.json` (the names of its `data-*.arrow`, in order, and its split) and
`dataset_info.json`; a saved DatasetDict has one such folder per split. These JSON files contain no rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from medix_verl.data.io.listing import Listing
from medix_verl.errors import DataError

__all__ = ["BOOKKEEPING", "SavedSplit", "files_of_split", "saved_splits"]

STATE = "state.json"
BOOKKEEPING = frozenset({STATE, "dataset_info.json", "dataset_infos.json", "dataset_dict.json"})
"""JSON files with metadata and without rows."""


@dataclass(frozen=True, slots=True)
class SavedSplit:
    """One folder of `save_to_disk`."""

    folder: str
    """Path relative to the source's root; empty for the root itself."""
    split: str | None
    """The split's name when it was saved; None if it had none."""
    files: tuple[str, ...]


def saved_splits(listing: Listing) -> list[SavedSplit]:
    """Return the saved splits of a source.

    Raises:
        DataError: A `state.json` cannot be read, or names a missing file.
    """
    names = {item.name for item in listing.files}
    if not any(name.endswith(".arrow") for name in names):
        return []
    states = [name for name in sorted(names) if name.rsplit("/", 1)[-1] == STATE]
    folders = [name.removesuffix(STATE) for name in states]
    return [read_state(listing, folder, names) for folder in folders if f"{folder}dataset_info.json" in names]


def read_state(listing: Listing, folder: str, names: set[str]) -> SavedSplit:
    try:
        state = json.loads(listing.fetch(f"{folder}{STATE}").read_text(encoding="utf-8"))
        files = tuple(f"{folder}{item['filename']}" for item in state["_data_files"])
        split = state.get("_split")
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise DataError(
            f"{folder}{STATE} is none of save_to_disk ({type(cause).__name__}); save the set again"
        ) from cause
    lost = [name for name in files if name not in names]
    if lost:
        raise DataError(f"{folder}{STATE} names {lost[0]}, which is not there; copy the whole folder again")
    return SavedSplit(folder.rstrip("/"), split if isinstance(split, str) else None, files)


def files_of_split(saved: Sequence[SavedSplit], split: str, config: str | None) -> list[str]:
    """Return a split's files: from the folder of that name, else the one saved under it, else the only unnamed one."""
    inside = [item for item in saved if config is None or config in item.folder.split("/")]
    named = [item for item in inside if item.folder.rsplit("/", 1)[-1] == split]
    found = named or [item for item in inside if item.split == split]
    if not found and len(inside) == 1 and inside[0].split is None:
        found = inside
    return [name for item in found for name in item.files]

# SPDX-License-Identifier: Apache-2.0
"""Lookup tables of a DICOM file: modality (stored values to units), VOI (to grey levels), palette (to colours).

pydicom's own functions do not read every valid encoding: they count the entries of an 8-bit table modulo 256, cannot
read a modality table given as bytes without the file's byte order, and read a first value of -1024 that is stored as an
unsigned word as 64512 (pixels/processing.py of 3.0.2). This module reads every encoding that the standard allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medix_verl.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Range", "Table", "look_up", "modality_table", "palette_colours", "voi_table"]

Range = tuple[float, float]
"""Lowest and highest value that can occur, whether or not a pixel has it."""
COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup table."""

    first: int
    """The value that the first entry maps. Lower values use the first entry, values past the end use the last."""
    entries: np.ndarray
    """float64 (n,)."""


def modality_table(item: Dataset, stored: Range) -> Table:
    """The table of an item of ModalityLUTSequence, for stored values within a range.

    Raises:
        DataError: The table is incomplete.
    """
    return read_table(item.get("LUTDescriptor"), item.get("LUTData"), is_little(item), stored, "modality table")


def voi_table(item: Dataset, units: Range) -> Table:
    """The table of an item of VOILUTSequence, for values after the rescale.

    Raises:
        DataError: The table is incomplete.
    """
    return read_table(item.get("LUTDescriptor"), item.get("LUTData"), is_little(item), units, "VOI table")


def palette_colours(raw: np.ndarray, dataset: Dataset, stored: Range) -> np.ndarray:
    """Apply a colour palette; returns uint8 (rows, columns, 3).

    Args:
        raw: Stored values, (rows, columns).
        dataset: The file.
        stored: The range of stored values.

    Raises:
        DataError: A palette is incomplete.
    """
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        from pydicom.pixels import apply_color_lut

        found = np.asarray(apply_color_lut(raw, dataset))[..., :3]
        return eight_bits(found, found.dtype == np.uint8)
    bands = []
    wide = False
    for colour in COLOURS:
        name = f"{colour}PaletteColorLookupTable"
        descriptor, data = dataset.get(f"{name}Descriptor"), dataset.get(f"{name}Data")
        table = read_table(descriptor, data, is_little(dataset), stored, f"{colour.lower()} palette")
        wide = wide or not (isinstance(data, bytes) and len(data) < 2 * len(table.entries))
        bands.append(look_up(raw, table))
    return eight_bits(np.stack(bands, axis=-1), not wide)


def eight_bits(colours: np.ndarray, narrow: bool) -> np.ndarray:
    """Colours as uint8. Some files store 8-bit entries in the lower half of 16-bit words, whatever they state."""
    return (colours if narrow or colours.max() < 256 else colours // 256).astype(np.uint8)


def look_up(values: np.ndarray, table: Table) -> np.ndarray:
    """Table entries for the values: float64 of the same shape."""
    places = np.clip(np.round(values).astype(np.int64) - table.first, 0, len(table.entries) - 1)
    return np.asarray(table.entries[places])


def read_table(descriptor: Any, data: Any, little: bool, values: Range, what: str) -> Table:
    """Read a table in any encoding: numbers or bytes, entries of 8 or 16 bits, first value signed or unsigned.

    Args:
        descriptor: Number of entries, first value, bits per entry; or its six bytes.
        data: The entries, as numbers or bytes.
        little: Whether the bytes are little-endian.
        values: Range of the values that the table maps.
        what: Name of the table in error messages.
    """
    remedy = "fix the file or set window to full" if what == "VOI table" else "fix the file or leave it out"
    word = "<u2" if little else ">u2"
    if isinstance(descriptor, bytes):
        descriptor = np.frombuffer(descriptor[: len(descriptor) // 2 * 2], dtype=word)
    if descriptor is None or isinstance(descriptor, (str, int)) or len(descriptor) < 2:
        raise DataError(f"the {what} has no descriptor of three numbers; {remedy}")
    # A count of 40,000 read as a signed word is -25,536.
    count = (int(descriptor[0]) & 0xFFFF) or 65536
    if isinstance(data, bytes):
        kind = "u1" if count <= len(data) < 2 * count else word
        found = np.frombuffer(data[: len(data) // np.dtype(kind).itemsize * np.dtype(kind).itemsize], dtype=kind)
    else:
        found = np.asarray([] if data is None else data, dtype=np.int64).ravel() & 0xFFFF
    if len(found) < count:
        raise DataError(f"the {what} has {len(found)} of {count} entries; {remedy}")
    return Table(first_value(int(descriptor[1]), count, values), found[:count].astype(np.float64))


def first_value(word: int, count: int, values: Range) -> int:
    """First mapped value of a table; files store it as a signed or an unsigned 16-bit word.

    It is read as signed if values below 0 can occur (DICOM PS3.3 C.11.1.1.1 and C.11.2.1.1), unless only the other
    reading overlaps the range: a file without value representations does not say which one it uses, and some files use
    the wrong one.
    """
    low, high = values
    unsigned = word & 0xFFFF
    signed = unsigned - 0x10000 if unsigned & 0x8000 else unsigned
    wanted, other = (signed, unsigned) if low < 0 else (unsigned, signed)

    def meets(first: int) -> bool:
        return first <= high and first + count > low

    return other if meets(other) and not meets(wanted) else wanted


def is_little(dataset: Dataset) -> bool:
    """Whether the file's words are little-endian; True for a dataset that was not read from a file."""
    return dataset.original_encoding[1] is not False

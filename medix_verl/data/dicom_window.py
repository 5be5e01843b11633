# SPDX-License-Identifier: Apache-2.0
"""Grey levels for display: from the values of a DICOM frame to 0..255.

A file says how it wants to be shown: a rescale to physical units, then a VOI table or one of its windows. Another of
its windows, a window of one's own (in the units after the rescale: Hounsfield units for a CT) or the frame's whole
range can be asked for. A window that the file does not have is refused, never replaced by another one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medix_verl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Window", "grey_levels", "parse_window", "rescaled", "spread"]

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_OWN = re.compile(rf"({_NUMBER})/({_NUMBER})")
_ACCEPTED = "accepted: file, file:N (N counts the file's windows from 0), CENTRE/WIDTH such as 40/400, full"


@dataclass(frozen=True, slots=True)
class Window:
    """Which values become black and which white."""

    index: int = 0
    """Which of the windows (or VOI tables) that the file offers."""
    centre: float | None = None
    """Centre of a window of one's own, in units after the rescale; None goes by the file."""
    width: float | None = None
    whole: bool = False
    """Spread the frame's own range, whatever the file says."""


def parse_window(text: str) -> Window:
    """Read `file`, `file:N`, `CENTRE/WIDTH` or `full`.

    Raises:
        ConfigError: The text is none of these, or the width is not above 0.
    """
    if text in ("file", "full"):
        return Window(whole=text == "full")
    if found := re.fullmatch(r"file:(\d{1,4})", text):
        return Window(index=int(found[1]))
    found = _OWN.fullmatch(text)
    if found is None or float(found[2]) <= 0:
        raise ConfigError(f"window is {text!r}; {_ACCEPTED}")
    return Window(centre=float(found[1]), width=float(found[2]))


def rescaled(stored: np.ndarray, tags: Dataset) -> np.ndarray:
    """Stored values in physical units, float64, by the modality table or slope and intercept.

    Raises:
        DataError: The rescale would make every value the same, or none a number.
    """
    from pydicom.pixels import apply_modality_lut

    slope, intercept = tags.get("RescaleSlope"), tags.get("RescaleIntercept")
    numbers = [float(value) for value in (slope, intercept) if value not in (None, "")]
    if (slope not in (None, "") and float(slope) == 0) or not all(map(math.isfinite, numbers)):
        raise DataError("rescale slope is 0 or no finite number; mend the file's RescaleSlope or leave the file out")
    return np.asarray(apply_modality_lut(stored, tags), dtype=np.float64)


def grey_levels(values: np.ndarray, tags: Dataset, window: Window, padding: np.ndarray | None = None) -> np.ndarray:
    """Grey levels of a frame, uint8, bright where its values are high.

    Args:
        values: Rescaled values, shape (rows, columns).
        tags: What the file says of display: VOILUTSequence, WindowCenter, WindowWidth, VOILUTFunction.
        window: What is asked for.
        padding: True where a pixel is filling outside the picture; it does not count for the picture's own range.

    Raises:
        DataError: The file has no window of that number.
    """
    if window.whole:
        return spread(values, padding)
    if window.centre is not None and window.width is not None:
        return through(values, window.centre, window.width, "LINEAR")
    if tables := tags.get("VOILUTSequence"):
        check_index(window.index, len(tables), "VOI tables")
        return by_table(values, tags, window.index)
    centres, widths = numbers_of(tags, "WindowCenter"), numbers_of(tags, "WindowWidth")
    pairs = list(zip(centres, widths, strict=False))
    if not pairs and window.index == 0:
        return spread(values, padding)
    check_index(window.index, len(pairs), "windows")
    centre, width = pairs[window.index]
    if width <= 0:
        return spread(values, padding)
    return through(values, centre, width, str(tags.get("VOILUTFunction") or "LINEAR"))


def check_index(index: int, count: int, what: str) -> None:
    if index >= count:
        has = f"has {what} 0 to {count - 1}" if count else f"has no {what}"
        raise DataError(f"window file:{index} is not there: the file {has}; {_ACCEPTED}")


def by_table(values: np.ndarray, tags: Dataset, index: int) -> np.ndarray:
    """Grey levels by a VOI table; its highest entry is white.

    Not the highest of the bits that its descriptor claims: files with 16 claimed and 12 used would be nearly black.
    Not pydicom's own apply_voi (3.0.2, pixels/processing.py): it counts the entries of an 8-bit table modulo 256.
    """
    item = tags.VOILUTSequence[index]
    count, first = int(item.LUTDescriptor[0]) or 65536, int(item.LUTDescriptor[1])
    entries = table_entries(item, count)
    shown = entries[np.clip(values.round().astype(np.int64) - first, 0, count - 1)]
    top = float(entries.max()) or 1.0
    return (np.clip(shown / top, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def table_entries(item: Dataset, count: int) -> np.ndarray:
    data: Any = item.LUTData
    if isinstance(data, bytes):
        little = getattr(item, "original_encoding", (None, True))[1] is not False
        wide = "<u2" if little else ">u2"
        data = np.frombuffer(data, dtype="u1" if len(data) < 2 * count else wide)
    entries = np.asarray(data, dtype=np.float64).ravel()
    if len(entries) < count:
        raise DataError(f"the VOI table has {len(entries)} of {count} entries; mend the file or set window to full")
    return entries[:count]


def through(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Grey levels through one window (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        # The exponent is bounded: exp overflows far outside the window, where the answer is 0 or 1 anyway.
        share = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -60.0, 60.0)))
    elif function == "LINEAR_EXACT" or width <= 1:
        share = (values - centre) / width + 0.5
    else:
        share = (values - (centre - 0.5)) / (width - 1.0) + 0.5
    return (np.clip(share, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def spread(values: np.ndarray, padding: np.ndarray | None = None) -> np.ndarray:
    """Scale an array's own range to 0..255, as uint8; a flat array becomes 0.

    Args:
        values: Any real array.
        padding: Same shape; True where a value is filling: it goes to the nearer end and does not count for the range.
    """
    inside = values if padding is None or padding.all() else values[~padding]
    low, high = float(inside.min()), float(inside.max())
    scaled = (np.clip(values, low, high) - low) * (255.0 / (high - low) if high > low else 0.0)
    return scaled.round().astype(np.uint8)


def numbers_of(tags: Dataset, keyword: str) -> list[float]:
    """The values of a tag that may hold one number, several or none."""
    value: Any = tags.get(keyword)
    if value is None or value == "":
        return []
    return (
        [float(item) for item in value] if hasattr(value, "__len__") and not isinstance(value, str) else [float(value)]
    )

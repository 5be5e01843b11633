# SPDX-License-Identifier: Apache-2.0
"""Grey levels for display: maps the values of a DICOM frame to 0..255.

A file states how to display it: a rescale to physical units, then a VOI table or one of its windows. The user can also
choose another window of the file, a custom window (in rescaled units: Hounsfield units for a CT) or the frame's full
range. A window that the file does not have is refused, never replaced by another one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medix_verl.data.dicom.lookup_tables import Range, Table, look_up, modality_table, voi_table
from medix_verl.errors import ConfigError, DataError

__all__ = ["Window", "finite", "grey_levels", "parse_window", "rescaled", "spread"]

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_OWN = re.compile(rf"({_NUMBER})/({_NUMBER})")
_ACCEPTED = "accepted: file, file:N (N counts the file's windows from 0), CENTRE/WIDTH such as 40/400, full"


@dataclass(frozen=True, slots=True)
class Window:
    """Which values become black and which become white."""

    index: int = 0
    """Index of the file's window or VOI table."""
    centre: float | None = None
    """Centre of a custom window, in rescaled units; None: use the file's windows."""
    width: float | None = None
    whole: bool = False
    """Use the frame's full range, whatever the file states."""


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


def rescaled(stored: np.ndarray, tags: Mapping[str, Any], possible: Range) -> tuple[np.ndarray, Range]:
    """Rescale stored values to physical units, by the modality table or by slope and intercept.

    Args:
        stored: Shape (rows, columns).
        tags: The file's display tags (see `decode.frame_tags`).
        possible: The lowest and highest stored value that can occur.

    Returns:
        float64 values of the same shape, and the range of values that can occur after the rescale.

    Raises:
        DataError: The slope is 0, a number is not finite, or the modality table is incomplete.
    """
    slopes, intercepts = numbers_of(tags, "RescaleSlope"), numbers_of(tags, "RescaleIntercept")
    numbers = [*slopes, *intercepts]
    if 0 in slopes or max(len(slopes), len(intercepts)) > 1 or not all(map(math.isfinite, numbers)):
        raise DataError("rescale slope is 0 or no finite number; fix the file's RescaleSlope or leave the file out")
    if tables := tags.get("ModalityLUTSequence"):
        table = modality_table(tables[0], possible)
        return look_up(finite(stored), table), (float(table.entries.min()), float(table.entries.max()))
    values: np.ndarray = stored.astype(np.float64)
    if not slopes or not intercepts:
        return values, possible
    low, high = sorted(end * slopes[0] + intercepts[0] for end in possible)
    return values * slopes[0] + intercepts[0], (low, high)


def grey_levels(
    values: np.ndarray, tags: Mapping[str, Any], window: Window, units: Range, padding: np.ndarray | None = None
) -> np.ndarray:
    """Grey levels of a frame, uint8; high values are bright.

    Args:
        values: Rescaled values, shape (rows, columns).
        tags: The file's display tags: VOILUTSequence, WindowCenter, WindowWidth, VOILUTFunction.
        window: The requested window.
        units: The range of values that can occur.
        padding: True where a pixel is padding outside the picture; padding is excluded from the picture's range.

    Raises:
        DataError: The file has no window of that number, or no value is finite.
    """
    values = finite(values)
    if window.whole:
        return spread(values, padding)
    if window.centre is not None and window.width is not None:
        return through(values, window.centre, window.width, "LINEAR")
    if tables := tags.get("VOILUTSequence"):
        check_index(window.index, len(tables), "VOI tables")
        return by_table(values, voi_table(tables[window.index], units))
    centres, widths = numbers_of(tags, "WindowCenter"), numbers_of(tags, "WindowWidth")
    pairs = list(zip(centres, widths, strict=False))
    if not pairs and window.index == 0:
        return spread(values, padding)
    check_index(window.index, len(pairs), "windows")
    centre, width = pairs[window.index]
    if width > 0 and math.isfinite(centre) and math.isfinite(width):
        return through(values, centre, width, str(tags.get("VOILUTFunction") or "LINEAR").strip().upper())
    if window.index == 0:
        # The file's window is invalid: treated as if it had none.
        return spread(values, padding)
    raise DataError(f"window file:{window.index} is not a window: its centre or width is not a number; {_ACCEPTED}")


def check_index(index: int, count: int, what: str) -> None:
    if index >= count:
        has = f"has {what} 0 to {count - 1}" if count else f"has no {what}"
        raise DataError(f"window file:{index} is not there: the file {has}; {_ACCEPTED}")


def by_table(values: np.ndarray, table: Table) -> np.ndarray:
    """Grey levels by a VOI table; the highest entry is white.

    The bit depth in its descriptor is not used: files that state 16 bits and use 12 would be nearly black.
    """
    top = float(table.entries.max()) or 1.0
    return (np.clip(look_up(values, table) / top, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def through(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Grey levels through one window (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        # The exponent is clipped: exp overflows far outside the window, where the result is 0 or 1 anyway.
        share = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -60.0, 60.0)))
    elif function != "LINEAR_EXACT" and width == 1:
        share = (values > centre - 0.5).astype(np.float64)
    elif function == "LINEAR_EXACT" or width < 1:
        share = (values - centre) / width + 0.5
    else:
        share = (values - (centre - 0.5)) / (width - 1.0) + 0.5
    return (np.clip(share, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def finite(values: np.ndarray) -> np.ndarray:
    """An array without NaN and infinity: NaN and -inf become the lowest finite value, +inf the highest.

    Args:
        values: Any shape; integers are returned unchanged.

    Raises:
        DataError: No value is finite.
    """
    if values.dtype.kind != "f":
        return values
    known = np.isfinite(values)
    if known.all():
        return values
    if not known.any():
        raise DataError("no pixel value is a finite number; leave the picture out")
    low, high = float(values[known].min()), float(values[known].max())
    return np.nan_to_num(values, nan=low, posinf=high, neginf=low)


def spread(values: np.ndarray, padding: np.ndarray | None = None) -> np.ndarray:
    """Scale an array's own range to 0..255, as uint8; a constant array becomes 0.

    Args:
        values: Any real array.
        padding: Same shape; True where a value is padding: it is clipped and excluded from the range.
    """
    inside = values if padding is None or padding.all() else values[~padding]
    low, high = float(inside.min()), float(inside.max())
    if high > low and not (math.isfinite(high - low) and math.isfinite(255.0 / (high - low))):
        # Near the limits of float64; scaling by a power of two is exact.
        _, exponent = math.frexp(max(abs(low), abs(high)))
        values, low, high = np.ldexp(values, -exponent), math.ldexp(low, -exponent), math.ldexp(high, -exponent)
    scaled = (np.clip(values, low, high) - low) * (255.0 / (high - low) if high > low else 0.0)
    return scaled.round().astype(np.uint8)


def numbers_of(tags: Mapping[str, Any], keyword: str) -> list[float]:
    """The values of a tag that may contain one number, several or none; NaN for a value that is not a number."""
    value: Any = tags.get(keyword)
    if value is None or value == "":
        return []
    several = hasattr(value, "__len__") and not isinstance(value, str)
    return [number_of(item) for item in (value if several else [value])]


def number_of(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan

# SPDX-License-Identifier: Apache-2.0
"""Remove frames and bars added around a picture, so that a framed copy has the same hashes.

A bar is a block of single-colour lines at an edge that ends abruptly: the second line after it (the first may be
blurred by JPEG) has mostly other colours. The black around a head in an MRI ends gradually, so it is kept, and so is a
frame of the same colour as the picture's own edge.
"""

from __future__ import annotations

import numpy as np

__all__ = ["unframed"]

TOLERANCE = 12
"""Grey levels within which two colours count as equal, because JPEG changes colours slightly."""
UNIFORM = 0.98
"""Minimum share of a line's pixels that have the bar's colour."""
INSIDE = 0.5
"""Maximum (exclusive) share of bar-coloured pixels in the line where the picture begins."""
MOST = 0.4
"""Maximum size of one bar, as a fraction of the side."""


def unframed(grey: np.ndarray) -> np.ndarray:
    """The part inside bars at any of the four edges; the whole picture if there are none.

    Args:
        grey: uint8 of shape (height, width).
    """
    top, bottom = bar(grey), bar(grey[::-1])
    rows = grey[top : len(grey) - bottom]
    left, right = bar(rows.T), bar(rows.T[::-1])
    return rows[:, left : grey.shape[1] - right]


def bar(lines: np.ndarray) -> int:
    """Number of leading lines that form a bar."""
    colour = float(np.median(lines[0]))
    if share_of(lines[:1], colour)[0] < UNIFORM:
        return 0
    shares = share_of(lines, colour)
    inside = np.flatnonzero(shares < UNIFORM)
    if not len(inside) or inside[0] > MOST * len(lines):
        return 0
    first = int(inside[0])
    return first if shares[min(first + 1, len(lines) - 1)] < INSIDE else 0


def share_of(lines: np.ndarray, colour: float) -> np.ndarray:
    """For each line, the share of pixels that have a colour."""
    return np.asarray((np.abs(lines.astype(np.float32) - colour) <= TOLERANCE).mean(axis=1))

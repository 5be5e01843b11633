# SPDX-License-Identifier: Apache-2.0
"""Lines of progress on standard error, which stand above a progress bar where there is one."""

from __future__ import annotations

import sys

from tqdm import tqdm

__all__ = ["say"]


def say(line: str) -> None:
    """Show one line of progress."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()

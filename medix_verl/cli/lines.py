# SPDX-License-Identifier: Apache-2.0
"""What a person sees on standard error while a command works: lines of progress, and the seconds of a silent wait; and
a value of the configuration as it would be typed.

On a terminal only is anything shown that moves; a log file gets the lines and nothing else.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

__all__ = ["plain", "say", "waiting"]

PATIENCE_S = 2.0
"""Silence that needs no explanation."""
TICK_S = 1.0


def plain(value: Any) -> str:
    """A value as Hydra's command line has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def say(line: str) -> None:
    """Show one line of progress."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


@contextmanager
def waiting(what: str, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Count the seconds while something runs that cannot say how far it is; the line is gone when it ends.

    Args:
        what: What is going on.
        patience_s: Seconds before anything is shown.
    """
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_count, args=(what, patience_s, over), name="medix-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _count(what: str, patience_s: float, over: threading.Event) -> None:
    if over.wait(patience_s):
        return
    with tqdm(desc=what, bar_format="{desc}: {elapsed}", leave=False, file=sys.stderr) as bar:
        bar.start_t -= patience_s
        bar.refresh()
        while not over.wait(TICK_S):
            bar.refresh()

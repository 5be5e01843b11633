# SPDX-License-Identifier: Apache-2.0
"""Terminal output of a command: progress lines, elapsed seconds while it waits, escaping of control characters.

Animated output is shown on a terminal only; a log file gets only the lines. Ids, names and paths come from untrusted
data: an escape sequence in them would move the cursor or set the window title.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from medix_verl.secrets import SECRET, find_secrets, scrub_text

__all__ = ["EscapedOutput", "escaped", "say", "waiting"]

_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, direction marks and lone surrogates, without line feed and tab."""

PATIENCE_S = 2.0
"""Seconds before a wait is shown."""
TICK_S = 1.0


def escaped(text: str) -> str:
    """A text with its control characters escaped: `\\x1b` for the escape character."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class EscapedOutput:
    """Standard output that escapes texts and removes the environment's secrets; other attributes are the wrapped one's.

    Output may be data or JSON, so nothing is removed here by its pattern or key: code that prints a configuration or a
    message removes those secrets itself (medix_verl.secrets).
    """

    def __init__(self, wrapped: TextIO) -> None:
        """Wrap an output stream."""
        self._wrapped = wrapped
        self._secrets = sorted(find_secrets({}, os.environ)[0], key=len, reverse=True)

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        for secret in self._secrets:
            text = text.replace(secret, SECRET)
        return self._wrapped.write(escaped(text))

    def writelines(self, lines: Any) -> None:
        """Write texts, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the wrapped output."""
        return getattr(self._wrapped, name)


def say(line: str) -> None:
    """Show one line of progress, without secrets."""
    tqdm.write(escaped(scrub_text(line)), file=sys.stderr)
    sys.stderr.flush()


@contextmanager
def waiting(what: str, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Show the elapsed seconds of an operation without progress reports; the line is removed at the end.

    Args:
        what: Description of the operation.
        patience_s: Seconds before the line is shown.
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

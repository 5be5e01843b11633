# SPDX-License-Identifier: Apache-2.0
"""A journal of finished calls, so that nothing that was paid for is asked twice: one JSON line a call.

A line is written before its value is used, and a killed process leaves at most a torn last line, which is dropped
when the file is opened again. The first value under a key stays, so that a resumed run sees what the first one saw.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError

__all__ = ["Journal", "key_of"]


def key_of(*parts: Any) -> str:
    """A key for a call: SHA-256 over everything that changes its answer; any JSON values."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=list)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Journal:
    """An open journal; one process at a time writes to it, from one thread.

    It holds where each line begins and not what it says, so that its memory does not grow with the answers' length.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file, and find out what is there.

        Raises:
            DataError: A line other than the last one is damaged.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.places: dict[str, int] = {}
        """Key -> offset of its line."""
        self.written = 0
        self.found = 0
        self._end = self.load() if path.exists() else 0
        self._file = path.open("ab")
        # What a killed process left of its last line must not become the head of ours.
        self._file.truncate(self._end)
        self._reader = path.open("rb")

    def load(self) -> int:
        """Read the file; returns how many of its bytes are whole lines."""
        whole = 0
        with self.path.open("rb") as source:
            for number, raw in enumerate(source, start=1):
                if not raw.endswith(b"\n"):
                    break
                try:
                    line = json.loads(raw)
                    key, _ = line["key"], line["value"]
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(
                        f"{self.path} line {number} is damaged ({type(error).__name__}); "
                        "remove the line, and only its call is made again"
                    ) from error
                self.places.setdefault(key, whole)
                whole += len(raw)
        return whole

    def get(self, key: str) -> Any:
        """The value under a key, or None."""
        place = self.places.get(key)
        if place is None:
            return None
        self._reader.seek(place)
        value = json.loads(self._reader.readline())["value"]
        self.found += value is not None
        return value

    def put(self, key: str, value: Any) -> None:
        """Keep a value; it is in the operating system's hands when this returns, and outlives a killed process."""
        line = (json.dumps({"key": key, "value": value}, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")
        self._file.write(line)
        self._file.flush()
        self.places.setdefault(key, self._end)
        self._end += len(line)
        self.written += 1

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()
        self._reader.close()

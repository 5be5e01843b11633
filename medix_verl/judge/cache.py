# SPDX-License-Identifier: Apache-2.0
"""Verdicts that were given before, by key (medix_verl.judge.question says what a key is made of).

In memory the least recently used ones go first; behind it there may be a file that outlives the run
(medix_verl.judge.store). Only verdicts are kept: what could not be judged is asked again.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.store import Store
from medix_verl.types import Verdict

__all__ = ["Cache", "open_cache"]


class Cache:
    """A bounded memory, with or without a file behind it."""

    def __init__(self, size: int, store: Store | None = None) -> None:
        self.size = size
        self.store = store
        self.memory: OrderedDict[bytes, Verdict] = OrderedDict()

    def get(self, key: bytes) -> Verdict | None:
        """The verdict under a key, or None."""
        found = self.memory.get(key)
        if found is not None:
            self.memory.move_to_end(key)
            return found
        if self.store is not None:
            found = self.store.get(key)
            if found is not None:
                self.remember(key, found)
        return found

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Keep a verdict; what is none is not kept."""
        if verdict.correct is None:
            return
        self.remember(key, verdict)
        if self.store is not None:
            self.store.put(key, verdict)

    def remember(self, key: bytes, verdict: Verdict) -> None:
        """Keep in memory only."""
        if self.size == 0:
            return
        self.memory[key] = verdict
        self.memory.move_to_end(key)
        if len(self.memory) > self.size:
            self.memory.popitem(last=False)

    def close(self) -> None:
        """Write what is not written yet."""
        if self.store is not None:
            self.store.close()


def open_cache(spec: JudgeSpec) -> Cache:
    """The cache that a recipe asks for.

    Raises:
        ConfigError: The file is no cache of ours, or cannot be opened.
    """
    if spec.cache == "none":
        return Cache(0)
    return Cache(spec.cache_size, None if spec.cache == "memory" else Store(Path(spec.cache)))

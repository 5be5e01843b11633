# SPDX-License-Identifier: Apache-2.0
"""The mock judge as a process of its own: a command or a training run blocks the one that tests it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Mock:
    """A mock judge that runs until it is killed."""

    def __init__(self, *flags: str, port: int = 0) -> None:
        words = [sys.executable, "-m", "medix_verl.judge.mock", "--port", str(port), *flags]
        self.flags = flags
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    @property
    def stats(self) -> dict[str, Any]:
        """What the server has counted."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats", timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def kill(self) -> None:
        """End the process; once more does nothing."""
        self.process.kill()
        self.process.wait()


@contextmanager
def mock_judges(make: Callable[..., Mock] = Mock) -> Iterator[Callable[..., Any]]:
    """Gives what starts a mock judge, by default a plain one; all are killed at the end."""
    started: list[Mock] = []

    def start(*flags: str) -> Mock:
        started.append(make(*flags))
        return started[-1]

    try:
        yield start
    finally:
        for mock in started:
            mock.kill()

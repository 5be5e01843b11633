# SPDX-License-Identifier: Apache-2.0
"""An event loop whose clock jumps to the next timer: minutes of waiting are tested in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Jumping(selectors.DefaultSelector):
    """Waits for nothing: the time that it should wait is added to a clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on that clock."""

    def __init__(self) -> None:
        self.selector = Jumping()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def run(work: Coroutine[Any, Any, Result]) -> tuple[Result, float]:
    """Run to the end; returns the result and the seconds that it took on the loop's clock."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work), loop.time()
    finally:
        loop.close()

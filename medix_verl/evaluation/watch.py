# SPDX-License-Identifier: Apache-2.0
"""Notices that a server is down for good, so that an evaluation ends in bounded time.

So many failures in a row, with no success between them, and the watch trips: it keeps the cause, and everything that
asks it afterwards is refused at once. One success forgets the failures before it.
"""

from __future__ import annotations

from medix_verl.errors import RunStoppedError

__all__ = ["Watch"]


class Watch:
    """Counts the failures of one service."""

    def __init__(self, what: str, limit: int) -> None:
        """Begin to count.

        Args:
            what: Who is watched, for the message: `the judge`.
            limit: Failures in a row that are one too many.
        """
        self.what = what
        self.limit = limit
        self.failures = 0
        self.cause = ""

    @property
    def tripped(self) -> bool:
        """Whether the service counts as down."""
        return bool(self.cause)

    def check(self) -> None:
        """Refuse to go on once the service counts as down.

        Raises:
            RunStoppedError: It does.
        """
        if self.cause:
            raise RunStoppedError(self.cause)

    def succeed(self) -> None:
        """The service answered."""
        self.failures = 0

    def fail(self, cause: str) -> None:
        """The service failed."""
        self.failures += 1
        if self.failures >= self.limit:
            self.stop(f"{self.what} failed {self.failures} times in a row, the last: {cause}")

    def stop(self, cause: str) -> None:
        """Trip at once, for a cause that is certain; the first cause stays."""
        self.cause = self.cause or cause

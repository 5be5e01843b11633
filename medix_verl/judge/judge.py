# SPDX-License-Identifier: Apache-2.0
"""The one thing that every judge can do: say whether a candidate answer matches a reference."""

from typing import Protocol

from medix_verl.types import Reference, Verdict

__all__ = ["Judge"]


class Judge(Protocol):
    """Asks somebody whether an answer is right. A judge that cannot tell returns a Verdict without `correct`."""

    async def ask(self, candidate: str, reference: Reference) -> Verdict:
        """Judge one candidate answer; never raises for a failure of the service behind it.

        Raises:
            ConfigError: The row is credentialed, and somebody who is asked is not local.
        """
        ...

    async def close(self) -> None:
        """Release connections; the judge may not be asked again."""
        ...

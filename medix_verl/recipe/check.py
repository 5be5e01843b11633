# SPDX-License-Identifier: Apache-2.0
"""The result of one check of a recipe or machine: name, status, finding, and the fix to type."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from medix_verl.errors import MedixError
from medix_verl.secrets import scrub_text

__all__ = ["Check", "as_line", "caught", "first_cause"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report."""

    name: str
    status: Literal["ok", "warn", "FAIL"]
    found: str
    todo: str = ""
    """What to type; never empty if the status is FAIL."""


def as_line(check: Check) -> str:
    """`status name found -> what to type`, without secrets."""
    todo = f"  -> {check.todo}" if check.todo else ""
    return f"{check.status:<4}  {check.name:<21}  {scrub_text(f'{check.found}{todo}')}"


def first_cause(error: BaseException) -> str:
    """One line for the root cause of an exception chain."""
    seen = {id(error)}
    while (deeper := error.__cause__ or error.__context__) is not None and id(deeper) not in seen:
        error = deeper
        seen.add(id(error))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextlib.contextmanager
def caught() -> Iterator[list[str]]:
    """Collect the error of a block as one line; verl's printed output is discarded."""
    found: list[str] = []
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield found
    except MedixError as error:
        found.append(str(error))
    except Exception as error:  # noqa: BLE001 - verl asserts, raises ValueError, TypeError and more; each is a finding
        found.append(first_cause(error))

# SPDX-License-Identifier: Apache-2.0
"""Flags with list values, `--tasks a,b`, for every command.

Several words (`--tasks a b`) and a repeated flag are accepted too: all entries are collected. A word that is an
existing file is not split at commas, nor is `own:TABLE` if the table exists.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ListAction", "list_flag", "split_list"]

_PAIRS = re.compile(r",(?=[\w.-]+=)")
"""The comma between two TASK=PATH entries; a path may contain commas."""


def split_list(word: str) -> list[str]:
    """The entries of one word."""
    places = (word, word.partition(":")[2])
    if "," not in word or any(os.path.exists(os.path.expanduser(place)) for place in places if place):
        return [word]
    parts = _PAIRS.split(word) if "=" in word else word.split(",")
    return [part.strip() for part in parts if part.strip()]


class ListAction(argparse.Action):
    """Collects the entries of all words of a flag, which may be repeated."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add to the entries of earlier words; a default is replaced."""
        words = [values] if isinstance(values, str) else list(values or ())
        typed: set[str] = namespace.__dict__.setdefault("_lists", set())
        before = list(getattr(namespace, self.dest)) if self.dest in typed else []
        typed.add(self.dest)
        make: Callable[[str], Any] = self.entry
        setattr(namespace, self.dest, [*before, *(make(part) for word in words for part in split_list(str(word)))])

    entry: Callable[[str], Any] = str


class PathListAction(ListAction):
    """The same for paths."""

    entry = Path


def list_flag(parser: Any, *flags: str, of: type[str] | type[Path] = str, **more: Any) -> argparse.Action:
    """Declare a flag with a list value.

    Args:
        parser: A parser or an argument group.
        flags: The flag's spellings.
        of: The type of an entry.
        more: Arguments of `add_argument`; the defaults are `nargs="+"` and an empty list.
    """
    action = PathListAction if of is Path else ListAction
    made: argparse.Action = parser.add_argument(*flags, **{"nargs": "+", "default": [], **more, "action": action})
    return made

# SPDX-License-Identifier: Apache-2.0
"""Shell completion of commands, flags and names, by argcomplete.

    eval "$(register-python-argcomplete medix-verl)"

The shell calls the program with `_ARGCOMPLETE` set and the line in `COMP_LINE`. Existing names are completed: recipes
for `--recipe`, tasks for `--tasks`, sets for `prepare`. Without argcomplete nothing is completed.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterable, Iterator

__all__ = ["complete", "is_wanted", "line_typed"]


def is_wanted() -> bool:
    """Whether the shell asks for completions."""
    return "_ARGCOMPLETE" in os.environ


def line_typed() -> list[str]:
    """The words typed so far after the program's name."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT") or 0) or None]
    try:
        return shlex.split(line)[1:]
    except ValueError:  # an open quote
        return line.split()[1:]


def complete(parser: argparse.ArgumentParser) -> None:
    """Print the completions and end the program.

    Raises:
        SystemExit: Always, if argcomplete is installed.
    """
    try:
        import argcomplete
    except ImportError:
        return
    for action in actions_of(parser):
        named = NAMES.get(action.dest)
        if named is not None:
            action.completer = completer(named)  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every flag of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from actions_of(child)


def completer(named: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    """A completer for the last entry of a comma-separated list."""

    def entries(prefix: str, **_: object) -> list[str]:
        before, comma, _last = prefix.rpartition(",")
        return [f"{before}{comma}{name}" for name in named()]

    return entries


def recipe_names() -> list[str]:
    """Every recipe and overlay."""
    from medix_verl.recipe.index import recipe_files

    return sorted(recipe_files())


def task_names() -> list[str]:
    """Every task and task group."""
    from medix_verl.evaluation.tasks.table import offered_names, tasks

    return [*tasks(), *offered_names(), "all", "llm", "vlm", "published"]


def set_names() -> list[str]:
    """Every data set."""
    from medix_verl.data.converters.registry import names

    return list(names())


NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "recipe": recipe_names,
    "parent": recipe_names,
    "one": recipe_names,
    "two": recipe_names,
    "tasks": task_names,
    "without": task_names,
    "evaluate": task_names,
    "name": lambda: [*set_names(), *recipe_names()],
}
"""Argument's destination -> its possible names; `name` is a data set for `prepare` and a recipe for `recipe`."""

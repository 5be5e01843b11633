# SPDX-License-Identifier: Apache-2.0
"""Finds the recipes that are installed, and refuses command lines that would train without one by a typing error.

Hydra takes `+recipes=medix` as a plain new key, and verl would then train on its own defaults (a PPO critic, another
reward) without a word. Only the command line shows the difference between that and a key that somebody wants.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib import resources

from medix_verl.errors import ConfigError

__all__ = ["GROUP", "SEARCH_PATH", "check_overrides", "recipe_names"]

GROUP = "recipe"
SEARCH_PATH = "pkg://medix_verl.recipes"

_FOREIGN_FOLDER = re.compile(r"^(?:\+{0,2}hydra\.searchpath=|--config-dir\b|-cd\b)")
_ADDED = re.compile(r"^\+{1,2}(?P<key>[^=@.\s]+)(?:@[^=]*)?=(?P<value>.*)$", re.DOTALL)


def recipe_names() -> list[str]:
    """Names that `+recipe=NAME` accepts, sorted."""
    folder = resources.files("medix_verl.recipes").joinpath(GROUP)
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def check_overrides(overrides: Sequence[str]) -> None:
    """Stop on a mistyped recipe group or name.

    Where the command line brings a folder of configurations of its own, the recipes in it are not known here, and
    Hydra, which finds them, is the one to say that a name is missing.

    Args:
        overrides: command-line words as Hydra gets them; flags and other overrides are passed over.

    Raises:
        ConfigError: a word adds a key that is not `recipe` but is spelled like it or is given a recipe's name, or
            names a recipe that is not installed.
    """
    names = recipe_names()
    all_known = not any(_FOREIGN_FOLDER.match(word) for word in overrides)
    for word in overrides:
        match = _ADDED.match(word)
        if match is None:
            continue
        key, values = match["key"], re.findall(r"[\w./-]+", match["value"])
        if key == GROUP:
            if all_known:
                _check_names(word, values, names)
        elif difflib.get_close_matches(key.lower(), [GROUP], cutoff=0.75) or set(values) & set(names):
            raise ConfigError(
                f"'{word}' would add a plain key '{key}' and train on verl's defaults: the group is called '{GROUP}', "
                f"its recipes are {', '.join(names)}; type +{GROUP}={_closest(values, names)}"
            )


def _check_names(word: str, values: list[str], names: list[str]) -> None:
    for value in values:
        if value not in names:
            raise ConfigError(
                f"'{word}' names no recipe: '{value}' is none of {', '.join(names)}; "
                f"type +{GROUP}={_closest([value], names)}"
            )


def _closest(values: Sequence[str], names: Sequence[str]) -> str:
    for value in values:
        found = difflib.get_close_matches(value, names, n=1, cutoff=0.4)
        if found:
            return found[0]
    return names[0] if names else "NAME"

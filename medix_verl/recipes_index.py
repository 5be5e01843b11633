# SPDX-License-Identifier: Apache-2.0
"""Finds the recipes that are installed, and refuses command lines that would train without one by a typing error.

Recipes come with this package, lie in the folders of the variable MEDIX_RECIPES (`FOLDER/recipe/NAME.yaml`; several are
separated as in PATH), or come with any package that names itself in the entry point group `medix_verl.recipes`. What
their heads say, and which may stand in one list, is read by recipe_heads.

Hydra takes `+recipes=medix` as a plain new key, and verl would then train on its own defaults (a PPO critic, another
reward) without a word. Only the command line shows the difference between that and a key that somebody wants.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.errors import ConfigError
from medix_verl.recipe_heads import Head, check_list, read_head

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = [
    "ENTRY_POINTS",
    "GROUP",
    "SEARCH_PATH",
    "VARIABLE",
    "check_overrides",
    "recipe_files",
    "recipe_heads",
    "search_paths",
]

GROUP = "recipe"
PACKAGE = "medix_verl.recipes"
SEARCH_PATH = f"pkg://{PACKAGE}"
VARIABLE = "MEDIX_RECIPES"
ENTRY_POINTS = "medix_verl.recipes"

_FOREIGN_FOLDER = re.compile(r"^(?:\+{0,2}hydra\.searchpath=|--config-dir\b|-cd\b)")
_ADDED = re.compile(r"^\+{1,2}(?P<key>[^=@.\s]+)(?:@[^=]*)?=(?P<value>.*)$", re.DOTALL)


def search_paths() -> dict[str, Traversable]:
    """Where Hydra looks for recipes, ours first -> the folder that has `recipe/`.

    Raises:
        ConfigError: A folder of MEDIX_RECIPES, or a package of the entry point group, has no folder `recipe`.
    """
    places: dict[str, Traversable] = {SEARCH_PATH: resources.files(PACKAGE)}
    for text in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        folder = Path(text).expanduser().absolute()
        if not (folder / GROUP).is_dir():
            raise ConfigError(f"{VARIABLE} names {text}, which has no folder '{GROUP}'; type mkdir -p {text}/{GROUP}")
        places[f"file://{folder}"] = folder
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            root = resources.files(entry.value)
        except ImportError as error:
            raise ConfigError(
                f"the entry point {entry.name} of {ENTRY_POINTS} names {entry.value}, which cannot be imported "
                f"({error}); mend or uninstall that package"
            ) from error
        if not root.joinpath(GROUP).is_dir():
            raise ConfigError(f"the package {entry.value} of {ENTRY_POINTS} has no folder '{GROUP}'; uninstall it")
        places[f"pkg://{entry.value}"] = root
    return places


def recipe_files() -> dict[str, Traversable]:
    """Every recipe and overlay by its name, sorted.

    Raises:
        ConfigError: Two places have a recipe of one name, of which Hydra would silently take the first.
    """
    found: dict[str, Traversable] = {}
    for place, folder in search_paths().items():
        for entry in folder.joinpath(GROUP).iterdir():
            if not entry.name.endswith(".yaml"):
                continue
            name = entry.name[: -len(".yaml")]
            if name in found:
                raise ConfigError(f"{place} has a recipe '{name}', which there is already; give it another name")
            found[name] = entry
    return dict(sorted(found.items()))


def recipe_heads() -> dict[str, Head]:
    """The head of every recipe and overlay by its name, sorted."""
    return {name: read_head(name, file.read_text(encoding="utf-8")) for name, file in recipe_files().items()}


def check_overrides(overrides: Sequence[str]) -> None:
    """Stop on a mistyped recipe group or name.

    Where the command line brings a folder of configurations of its own, the recipes in it are not known here, and
    Hydra, which finds them, is the one to say that a name is missing.

    Args:
        overrides: command-line words as Hydra gets them; flags and other overrides are passed over.

    Raises:
        ConfigError: a word adds a key that is not `recipe` but is spelled like it or is given a recipe's name, or
            names a recipe that is not installed, or a list that recipe_heads.check_list refuses.
    """
    heads = recipe_heads()
    names = list(heads)
    all_known = not any(_FOREIGN_FOLDER.match(word) for word in overrides)
    for word in overrides:
        match = _ADDED.match(word)
        if match is None:
            continue
        key, values = match["key"], re.findall(r"[\w./-]+", match["value"])
        if key == GROUP:
            if all_known:
                _check_names(word, values, names)
                check_list(values, heads)
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

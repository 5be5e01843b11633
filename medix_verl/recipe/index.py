# SPDX-License-Identifier: Apache-2.0
"""Finds the installed recipes, and refuses command lines that would train without a recipe because of a typing error.

Sources of recipes: this package; the folders in the variable MEDIX_RECIPES (`FOLDER/recipe/NAME.yaml`; several are
separated as in PATH); the folder of `medix-verl recipe install`; and packages with an entry point in the group
`medix_verl.recipes`, which are not imported. A recipe of a namespace is one folder deeper (`recipe/lab/ours.yaml`) and
is called `lab/ours`. medix_verl.recipe.heads reads heads and checks which recipes may be combined.

Hydra accepts `+recipes=medix` as a plain new key, and verl would then silently train on its own defaults (a PPO critic,
another reward). Only the command line distinguishes this from a key that the user wants.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError
from medix_verl.recipe.heads import PPO, SFT, Head, check_list, read_head, trainer_of
from medix_verl.recipe.locate import package_folders

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = [
    "ENTRY_POINTS",
    "GROUP",
    "NAMESPACE",
    "SEARCH_PATH",
    "VARIABLE",
    "asks_for_recipe",
    "check_in_force",
    "check_overrides",
    "check_trainer",
    "names_of_ours",
    "own_folders",
    "recipe_files",
    "recipe_heads",
    "search_paths",
    "staged",
    "stands_on_verl",
    "store",
]

GROUP = "recipe"
PACKAGE = "medix_verl.recipes"
SEARCH_PATH = f"pkg://{PACKAGE}"
VARIABLE = "MEDIX_RECIPES"
ENTRY_POINTS = "medix_verl.recipes"
SUFFIX = ".yaml"
NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""Syntax of a namespace."""

_STAGED: ContextVar[tuple[Path, str] | None] = ContextVar("staged", default=None)
_FOREIGN_FOLDER = re.compile(r"^(?:\+{0,2}hydra\.searchpath=|--config-(?:dir|path)\b|-c[dp]\b)")
_OF_VERL = re.compile(r"\bppo_trainer\b|\bsft_trainer_engine\b|\bverl[./]trainer[./]config\b")
"""Text in a primary configuration that is based on verl's."""
_ADDED = re.compile(r"^\+{1,2}(?P<key>[^=@.\s]+)(?:@[^=]*)?=(?P<value>.*)$", re.DOTALL)


def own_folders() -> list[Path]:
    """The folders of MEDIX_RECIPES, in order."""
    return [Path(text).expanduser() for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]


def store() -> Path:
    """The folder into which `medix-verl recipe install` installs; it may not exist."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "medix-verl"


@contextmanager
def staged(folder: Path, namespace: str) -> Iterator[None]:
    """While the block runs, take the recipes of a namespace from one more folder, and hide those of other folders."""
    token = _STAGED.set((folder, namespace))
    try:
        yield
    finally:
        _STAGED.reset(token)


def search_paths() -> dict[str, Traversable]:
    """Hydra search path entry, ours first -> the folder that contains `recipe/`.

    Raises:
        ConfigError: A folder of MEDIX_RECIPES, or a package of the entry point group, has no folder `recipe`.
    """
    places: dict[str, Traversable] = {SEARCH_PATH: resources.files(PACKAGE)}
    if (stage := _STAGED.get()) is not None:
        places[_file(stage[0])] = stage[0].absolute()
    for folder in own_folders():
        if not (folder / GROUP).is_dir():
            raise ConfigError(
                f"{VARIABLE} names {folder}, which has no folder '{GROUP}'; type mkdir -p {folder}/{GROUP}"
            )
        places[_file(folder)] = folder.absolute()
    if (store() / GROUP).is_dir():
        places[_file(store())] = store().absolute()
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            folders = package_folders(entry.value)
        except ConfigError as error:
            raise ConfigError(
                f"the entry point {entry.name} of {ENTRY_POINTS} names {entry.value}, which cannot be found "
                f"({error}); fix or uninstall that package"
            ) from error
        # file:// and not pkg://, because Hydra would import the package to find it.
        found = [folder for folder in folders if (folder / GROUP).is_dir()]
        if not found:
            raise ConfigError(f"the package {entry.value} of {ENTRY_POINTS} has no folder '{GROUP}'; uninstall it")
        places.update({_file(folder): folder.absolute() for folder in found})
    return places


def _file(folder: Path) -> str:
    return f"file://{folder.absolute()}"


def recipe_files() -> dict[str, Traversable]:
    """Every recipe and overlay by name, sorted; in a namespace the name is `NAMESPACE/NAME`.

    Raises:
        ConfigError: Two places have a recipe of the same name; Hydra would silently take the first.
    """
    found: dict[str, Traversable] = {}
    stage = _STAGED.get()
    for place, folder in search_paths().items():
        for name, entry in _files_below(folder.joinpath(GROUP)):
            if stage is not None and name.startswith(f"{stage[1]}/") and place != _file(stage[0]):
                continue
            if name in found:
                raise ConfigError(f"{place} has a recipe '{name}', which there is already; give it another name")
            found[name] = entry
    return dict(sorted(found.items()))


def _files_below(group: Traversable) -> Iterator[tuple[str, Traversable]]:
    """Recipes in a folder `recipe`, and in the namespaces in it."""
    for entry in group.iterdir():
        if entry.name.endswith(SUFFIX):
            yield entry.name[: -len(SUFFIX)], entry
        elif NAMESPACE.fullmatch(entry.name) and entry.is_dir():
            inside = (file for file in entry.iterdir() if file.name.endswith(SUFFIX))
            yield from ((f"{entry.name}/{file.name[: -len(SUFFIX)]}", file) for file in inside)


def recipe_heads() -> dict[str, Head]:
    """The head of every recipe and overlay by name, sorted."""
    return {name: read_head(name, file.read_text(encoding="utf-8")) for name, file in recipe_files().items()}


def stands_on_verl(place: str) -> bool:
    """Whether a primary configuration's folder is verl's, or has a file that is based on verl's configuration.

    Args:
        place: Place as written in Hydra: `pkg://verl.trainer.config`, `file:///FOLDER` or a folder.
    """
    if re.search(r"(?:^|[/.])verl[/.]", place):
        return True
    scheme, _, rest = place.rpartition("://")
    try:
        folder = resources.files(rest) if scheme == "pkg" else Path(rest)
        files = [entry for entry in folder.iterdir() if entry.name.endswith((".yaml", ".yml"))]
        return any(_OF_VERL.search(entry.read_text(encoding="utf-8")) for entry in files)
    except (ImportError, OSError, ValueError):
        return False


def asks_for_recipe(words: Sequence[str]) -> bool:
    """Whether a command line names the group of recipes, or a similar word."""
    return any(_is_like_the_group(match["key"]) for word in words if (match := _ADDED.match(word)))


def names_of_ours(words: Sequence[str]) -> list[str]:
    """The known recipes that a command line adds; options of another group `recipe` are ignored."""
    matches = [match for word in words if (match := _ADDED.match(word)) and match["key"] == GROUP]
    return [name for match in matches for name in re.findall(r"[\w./-]+", match["value"]) if name in recipe_files()]


def check_in_force(config: Any) -> None:
    """Refuse a composed configuration in which a recipe is a plain key.

    Args:
        config: The composed configuration; a mapping.

    Raises:
        ConfigError: Its key `recipe` names known recipes, or the recipe in it is for another trainer of verl.
    """
    said = (config.get("medix") or {}).get("trainer")
    if said and said != PPO and "actor_rollout_ref" in config:
        raise ConfigError(
            f"the recipe in this configuration is for verl.trainer.{said}, and reinforcement learning would train on "
            f"verl's defaults: type torchrun --standalone --nproc-per-node N -m verl.trainer.{said} ..."
        )
    value = config.get(GROUP)
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, Sequence) else []
    if names and all(name in recipe_files() for name in names):
        raise ConfigError(
            f"`{GROUP}: {', '.join(names)}` is a plain key here, and verl would train on its own defaults: put "
            f"`- {GROUP}: {names[0]}` into the `defaults` of your configuration, or type +{GROUP}={names[0]}; a "
            "program of your own must `import verl` before Hydra composes"
        )


PROGRAMS = {"main_ppo": PPO, "main_ppo_v0": PPO, "sft_trainer": SFT, "sft_trainer_ray": SFT}
"""verl's programs -> the trainer stated by recipes for them."""


def check_trainer(program: str, words: Sequence[str]) -> None:
    """Refuse a recipe that is for another program of verl.

    Args:
        program: Name of the running file, without suffix.
        words: Its command line.

    Raises:
        ConfigError: A recipe is for another program.
    """
    heads = recipe_heads()
    for name in names_of_ours(words) if program in PROGRAMS else ():
        if (said := trainer_of(name, heads)) not in (None, PROGRAMS[program]):
            names = ", ".join(one for one in heads if trainer_of(one, heads) == PROGRAMS[program])
            raise ConfigError(
                f"'{name}' is for verl.trainer.{said}, and this is verl.trainer.{program}: type python -m "
                f"verl.trainer.{said} +recipe={name}; recipes for {program}: {names}"
            )


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse a mistyped recipe group or name.

    If the command line adds its own folder of configurations, the recipes in it are not known here, and a missing name
    is reported by Hydra.

    Args:
        overrides: Command-line words as passed to Hydra; flags and other overrides are ignored.

    Raises:
        ConfigError: A word adds a key that is not `recipe` but is spelled like it or is given a recipe's name, names a
            recipe that is not installed, or names a list that heads.check_list refuses.
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
        elif _is_like_the_group(key) or set(values) & set(names):
            raise ConfigError(
                f"'{word}' would add a plain key '{key}' and train on verl's defaults: the group is called '{GROUP}', "
                f"its recipes are {', '.join(names)}; type +{GROUP}={_closest(values, names)}"
            )


def _is_like_the_group(key: str) -> bool:
    return bool(difflib.get_close_matches(key.lower(), [GROUP], cutoff=0.75))


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

# SPDX-License-Identifier: Apache-2.0
"""User recipes: creates one from a template, and makes a recipe in any file visible to Hydra."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medix_verl.errors import ConfigError
from medix_verl.recipe.heads import PPO, read_head, trainer_of
from medix_verl.recipe.index import GROUP, NAMESPACE, VARIABLE, own_folders, recipe_files, recipe_heads

__all__ = ["NAME", "begin", "name_of", "names_of", "placed"]

NAME = re.compile(r"[A-Za-z][\w-]*", re.ASCII)

QUALIFIED = re.compile(f"{NAMESPACE.pattern}/{NAME.pattern}", re.ASCII)
"""A name in a namespace, such as lab/ours."""
TEMPLATE = """# @package _global_
#
# What it is, and why.
#
#   python -m verl.trainer.{trainer} +recipe={name}
#
# table: MODEL | ALGORITHM | GPUS | nothing yet
# requires: verl>=0.9.0,<0.10; medix-verl>=0.1

defaults:
  - /recipe/{parent}
  - _self_

# Only what differs; `medix-verl recipe show {parent}` lists the keys.
trainer: {{experiment_name: {plain}}}
"""


def begin(name: str, parent: str, folder: Path | None) -> Path:
    """Write the file of a new recipe that is based on `parent`.

    Raises:
        ConfigError: The name is taken or not valid, or the parent is not a recipe.
    """
    heads = recipe_heads()
    namespace, _, plain = name.rpartition("/")
    sound = NAME.fullmatch(plain) and (not namespace or NAMESPACE.fullmatch(namespace))
    if not sound or name in heads:
        why = "is taken" if name in heads else "must be letters, digits, _ and -, a letter first, or NAMESPACE/NAME"
        raise ConfigError(f"the name '{name}' {why}; type another one")
    if parent not in heads or heads[parent].is_overlay:
        names = ", ".join(head.name for head in heads.values() if not head.is_overlay)
        raise ConfigError(f"--from {parent}: accepted are {names}")
    place = folder or next(iter(own_folders()), Path("recipes_of_mine"))
    path = place / GROUP / f"{name}.yaml"
    if path.exists():
        raise ConfigError(f"{path} is there already; type another name or folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer = trainer_of(parent, heads) or PPO
    path.write_text(TEMPLATE.format(name=name, plain=plain, parent=parent, trainer=trainer), encoding="utf-8")
    return path


@contextmanager
def placed(word: str) -> Iterator[list[str]]:
    """Names under which Hydra finds a recipe while the block runs, for a file, a name or a list of names.

    Raises:
        ConfigError: There is neither such a file nor such a recipe, or Hydra would not find it or misplace its keys.
    """
    path = Path(word)
    if not path.is_file():
        names = names_of(word)
        if word.endswith((".yaml", ".yml")) or not all(QUALIFIED.fullmatch(name) for name in names if os.sep in name):
            raise ConfigError(f"there is no file {word}; type medix-verl recipe new NAME --from medix")
        yield names
        return
    if path.suffix != ".yaml":
        raise ConfigError(f"{path} does not end in .yaml, and Hydra would not find it; rename it")
    text, name = path.read_text(encoding="utf-8"), name_of(path)
    if not read_head(name, text).has_place:
        raise ConfigError(f"{path} must begin with the line '# @package _global_', else its keys land under recipe")
    known = recipe_files().get(name)
    if known is not None and known.read_text(encoding="utf-8") == text:
        yield [name]
        return
    with tempfile.TemporaryDirectory() as folder:
        below = (Path(folder) / GROUP / name).parent
        below.mkdir(parents=True)
        # Copy the other recipes of the folder too: they may be its parents.
        for neighbour in {path, *path.parent.glob("*.yaml")}:
            if neighbour == path or name_of(neighbour) not in recipe_files():
                (below / neighbour.name).write_bytes(neighbour.read_bytes())
        with _also_from(folder):
            yield [name]


def name_of(path: Path) -> str:
    """Name of the recipe in a file: `lab/ours` for FOLDER/recipe/lab/ours.yaml, else the file's stem."""
    above = Path(os.path.abspath(path)).parent
    return f"{above.name}/{path.stem}" if above.parent.name == GROUP and NAMESPACE.fullmatch(above.name) else path.stem


def names_of(text: str) -> list[str]:
    """The names of `NAME`, `A,B` or `[A,B]`."""
    names = [part.strip() for part in text.strip("[]").split(",") if part.strip()]
    if not names:
        raise ConfigError(f"{text!r} names no recipe; type medix-verl recipe list")
    return names


@contextmanager
def _also_from(folder: str) -> Iterator[None]:
    """Add a folder to MEDIX_RECIPES while the block runs."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = os.pathsep.join(filter(None, (before, folder)))
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before

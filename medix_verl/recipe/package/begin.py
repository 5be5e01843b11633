# SPDX-License-Identifier: Apache-2.0
"""Creates a package with a recipe, a term, a judge, prompts, a data set and a task, each with an entry point.

The files are copied from `template/`; the package's name replaces @NAME@ in texts and NAME in paths.
"""

from __future__ import annotations

import keyword
import sys
from collections.abc import Iterator
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.errors import ConfigError
from medix_verl.recipe.index import NAMESPACE
from medix_verl.rewards.term import REDUCERS

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["begin_package"]

PLACEHOLDER, PLACE, SUFFIX = "@NAME@", "NAME", ".tmpl"
LONGEST = 20


def begin_package(name: str, folder: Path | None = None) -> Path:
    """Write a package and return its folder, which contains pyproject.toml.

    Args:
        name: Name of the package and of its recipe namespace, and prefix of its other names.
        folder: Parent folder; the package is FOLDER/NAME. None is the current folder.

    Raises:
        ConfigError: The name is not valid for a package, or already taken.
    """
    why = _why_not(name)
    if why:
        raise ConfigError(f"the name {name!r} {why}; take lower-case letters, digits and _, a letter first, as lab")
    target = (folder or Path()) / name
    if target.exists():
        raise ConfigError(f"{target} is there already; type another name, or --folder")
    for place, text in _files(resources.files(__package__).joinpath("template"), ""):
        path = target / place.replace(PLACE, name) if PLACE in place else target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(PLACEHOLDER, name), encoding="utf-8")
    return target


def _why_not(name: str) -> str:
    if not NAMESPACE.fullmatch(name) or len(name) > LONGEST or keyword.iskeyword(name):
        return f"is none of a package, or is longer than {LONGEST} characters"
    if name.startswith("medix"):
        return "begins as ours do"
    if name in sys.stdlib_module_names or find_spec(name) is not None:
        return "is that of a package that is installed already"
    found = next((word for word in REDUCERS if word in name), None)
    return f"contains {found!r}, by which verl would reduce the metrics of its term" if found else ""


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    """Path -> text of each file of the template."""
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield f"{prefix}{entry.name[: -len(SUFFIX)]}", entry.read_text(encoding="utf-8")

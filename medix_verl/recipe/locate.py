# SPDX-License-Identifier: Apache-2.0
"""Finds the folder of an installed package without importing it: its `__init__` is untrusted code.

`importlib.util.find_spec("a.b")` imports `a`, and so does `importlib.resources.files`. Here each part of the name is
passed to the finders of `sys.meta_path`, which also know editable installations; no package is loaded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

from medix_verl.errors import ConfigError

__all__ = ["package_folders"]

DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def package_folders(dotted: str) -> list[Path]:
    """The folders of a package; a namespace package may have several.

    Args:
        dotted: Package name, such as `lab.recipes`.

    Raises:
        ConfigError: There is no such package, or it is not in a folder.
    """
    if not DOTTED.fullmatch(dotted):
        raise ConfigError(f"{dotted!r} is not a package name; write it as lab.recipes")
    places: list[str] | None = None
    parts = dotted.split(".")
    for size in range(1, len(parts) + 1):
        name = ".".join(parts[:size])
        spec = _spec(name, places)
        if spec is None or spec.submodule_search_locations is None:
            raise ConfigError(f"there is no package {name}")
        places = list(spec.submodule_search_locations)
    found = [Path(place) for place in places or () if Path(place).is_dir()]
    if not found:
        raise ConfigError(f"the package {dotted} lies in no folder, as one in an archive")
    return found


def _spec(name: str, places: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, places) if hasattr(finder, "find_spec") else None
        if spec is not None:
            return spec
    return None

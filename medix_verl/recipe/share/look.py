# SPDX-License-Identifier: Apache-2.0
"""Lists what the recipes of a bundle would load, send and read, by composing them without loading what they name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medix_verl.errors import DataError
from medix_verl.recipe import index
from medix_verl.recipe.code import foreign_code, foreign_hydra
from medix_verl.recipe.compose import compose_recipes, typed
from medix_verl.recipe.share.bundle import Bundle
from medix_verl.recipe.share.contents import faults_of
from medix_verl.recipe.share.reach import reach_of

__all__ = ["check_contents", "listed_of", "staged", "write_namespace"]


def check_contents(bundle: Bundle) -> None:
    """Refuse texts that must not be shared.

    Raises:
        DataError: With the first fault and the number of further faults.
    """
    found = faults_of(bundle)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise DataError(f"{found[0]}{more}")


def listed_of(bundle: Bundle, stage: Path) -> list[str]:
    """`KEY=VALUE` for code, addresses and variables of each recipe, and for its code files (`code=lab/terms.py`).

    Args:
        bundle: Its recipes must be visible, see `staged`.
        stage: The namespace's temporary folder, replaced by the namespace in every line.

    Raises:
        ConfigError: A recipe does not compose, or requires other versions.
    """
    found: dict[str, None] = {}
    for name in bundle.heads:
        config = compose_recipes([name])
        found.update(dict.fromkeys([*foreign_hydra(typed([name])), *foreign_code(config), *reach_of(config)]))
    found.update(dict.fromkeys(f"code={file}" for file in bundle.code))
    return list(dict.fromkeys(line.replace(str(stage), bundle.namespace) for line in found))


def write_namespace(bundle: Bundle, folder: Path) -> None:
    """Create the folder and write the files of the namespace into it."""
    folder.mkdir(parents=True)
    for name, text in bundle.inside.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")


@contextmanager
def staged(bundle: Bundle) -> Iterator[Path]:
    """Make the bundle's recipes visible from a temporary folder while the block runs; yields the namespace's folder."""
    with tempfile.TemporaryDirectory(prefix="medix-recipes-") as top:
        folder = Path(top) / index.GROUP / bundle.namespace
        write_namespace(bundle, folder)
        with index.staged(Path(top), bundle.namespace):
            yield folder

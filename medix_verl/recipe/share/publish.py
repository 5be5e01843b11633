# SPDX-License-Identifier: Apache-2.0
"""Publishes the recipes of one namespace to a folder (such as a git clone to be pushed) or to the Hugging Face hub.

The published files and the refusals are the same as for `install`. Each recipe must compose and pass verl's checks; the
names that users have to accept on installation are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medix_verl.errors import ConfigError, DataError
from medix_verl.recipe.code import not_accepted
from medix_verl.recipe.compose import compose_recipes
from medix_verl.recipe.share.bundle import Bundle, collect
from medix_verl.recipe.share.folder import FolderSource
from medix_verl.recipe.share.hub import upload
from medix_verl.recipe.share.look import check_contents, listed_of, staged
from medix_verl.recipe.share.sources import HUB_ID
from medix_verl.recipe.validate import faults
from medix_verl.runtime.files import write_text

__all__ = ["Published", "publish"]


@dataclass(frozen=True, slots=True)
class Published:
    """Result of a publication."""

    bundle: Bundle
    where: str
    listed: tuple[str, ...]
    """Lines `KEY=VALUE` that have to be accepted by name on installation."""
    others: tuple[str, ...] = ()
    """Other files in the target's namespace folder, which were kept."""


def publish(folder: Path, to: str, private: bool = False) -> Published:
    """Publish the recipes of a folder.

    Args:
        folder: Contains `recipe/NAMESPACE/NAME.yaml`.
        to: A folder (an existing one, or a path that begins with `/`, `.` or `~`), or OWNER/NAME on the hub.
        private: Whether a newly created hub repository is private.

    Raises:
        ConfigError: A recipe does not compose, verl refuses it, or the target is not valid.
        DataError: It contains something that must not be shared.
    """
    if not folder.expanduser().is_dir():
        raise ConfigError(f"there is no folder {folder}; give the one that has recipe/NAMESPACE/NAME.yaml")
    source = FolderSource(folder.expanduser().absolute())
    bundle = collect(source)
    check_contents(bundle)
    listed = tuple(_checked(bundle))
    target = Path(to).expanduser()
    if target.is_dir() or to.startswith(("/", ".", "~")):
        return Published(bundle, str(target), listed, tuple(_write(bundle, target, source.folder)))
    if not HUB_ID.fullmatch(to) or target.exists():
        raise ConfigError(f"--to {to} is neither a folder nor a hub id; type ./{to.strip('./')}, or OWNER/NAME")
    commit = upload(to, bundle.files, f"Recipes of {bundle.namespace}", private)
    return Published(bundle, f"{to}@{commit}", listed)


def _checked(bundle: Bundle) -> list[str]:
    """The lines to accept on installation, after checking each recipe."""
    with staged(bundle) as stage:
        listed = listed_of(bundle, stage)
        for name, head in bundle.heads.items():
            config = compose_recipes([name])
            found = [] if head.is_part or not_accepted(listed, False) else faults(config)
            if found:
                raise ConfigError(f"{name}: {found[0]}; type medix-verl recipe check {name}")
    return listed


def _write(bundle: Bundle, target: Path, source: Path) -> list[str]:
    """Write each file atomically; returns the other files in the namespace's folder."""
    top = target / "recipe" / bundle.namespace
    if target.absolute() == source:
        raise ConfigError("--to is the folder that is published; give another")
    for place in (target, target / "recipe", top):
        if place.is_symlink():
            raise DataError(f"{place} is a link; publish into a folder")
        place.mkdir(parents=True, exist_ok=True)
    for name, text in bundle.files.items():
        write_text(target / name, text)
    known = {Path(name).name for name in bundle.inside}
    return sorted(path.name for path in top.iterdir() if path.name not in known)

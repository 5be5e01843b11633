# SPDX-License-Identifier: Apache-2.0
"""Installs the recipes of one namespace from a folder, a git repository or the hub, without executing their code.

The code they would load, the addresses they would send rows to and the variables they would read are listed. Recipes
are installed only if each line is accepted by name. The namespace's folder is written under a temporary name, then
renamed.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

from medix_verl.errors import ConfigError, DataError
from medix_verl.recipe.code import not_accepted, trust_word
from medix_verl.recipe.index import GROUP, search_paths, store
from medix_verl.recipe.share.bundle import Bundle, Origin, Source, collect
from medix_verl.recipe.share.folder import FolderSource
from medix_verl.recipe.share.git import git_source
from medix_verl.recipe.share.hub import HubSource
from medix_verl.recipe.share.installed import RECORD, Installed, digest_of
from medix_verl.recipe.share.look import check_contents, listed_of, staged, write_namespace
from medix_verl.recipe.share.sources import Place, read_place

__all__ = ["Done", "install"]


@dataclass(frozen=True, slots=True)
class Done:
    """Result of an installation."""

    bundle: Bundle
    origin: Origin
    folder: Path
    accepted: tuple[str, ...]


def install(word: str, trust: Collection[str] = (), into: Path | None = None, replace: bool = False) -> Done:
    """Install from a folder, an address or a hub id.

    Args:
        word: Source, in the syntax of medix_verl.recipe.share.sources.
        trust: Accepted names.
        into: Folder in which `recipe/NAMESPACE` is created; None is index.store().
        replace: Whether installed recipes of this namespace may be replaced.

    Raises:
        ConfigError: `word` is not a valid source; the namespace is taken; a recipe does not compose or requires other
            versions; or it would load, send or read something that is not accepted.
        DataError: The contents of the source are refused.
    """
    with _source(read_place(word)) as source:
        bundle = collect(source)
        origin = source.origin
    check_contents(bundle)
    into = (into or store()).expanduser().absolute()
    folder = into / GROUP / bundle.namespace
    _check_place(bundle.namespace, folder, into, replace)
    with staged(bundle) as stage:
        listed = listed_of(bundle, stage)
    left = not_accepted(listed, trust)
    if left:
        words = " ".join(dict.fromkeys(f"--trust {trust_word(line)}" for line in left))
        raise ConfigError(
            f"these recipes would load code, send rows or read variables of this machine: {'; '.join(left)}; read "
            f"them in {origin.describe()}, then add {words}"
        )
    _write(bundle, origin, tuple(listed), folder)
    return Done(bundle, origin, folder, tuple(listed))


@contextmanager
def _source(place: Place) -> Iterator[Source]:
    if place.kind == "folder":
        yield FolderSource(Path(place.place))
    elif place.kind == "hub":
        yield HubSource(place.place, place.revision)
    else:
        with git_source(place.place, place.revision) as source:
            yield source


def _check_place(namespace: str, folder: Path, into: Path, replace: bool) -> None:
    """Refuse a namespace that exists in another folder, or whose folder was not created by an installation."""
    for place, root in search_paths().items():
        other = Path(str(root)).absolute()
        if other != into and (other / GROUP / namespace).is_dir():
            raise ConfigError(f"the namespace {namespace} is taken by {place}; remove that, or install elsewhere")
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not (folder / RECORD).is_file():
        raise ConfigError(f"{folder} is there, and was not installed; move it away")
    if not replace:
        raise ConfigError(f"{namespace} is installed already; type --replace, or rm -r {folder}")


def _write(bundle: Bundle, origin: Origin, accepted: tuple[str, ...], folder: Path) -> None:
    """Write the namespace's folder under a temporary name, then rename it; restores the old one on failure."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    files = {name: digest_of(text.encode("utf-8")) for name, text in bundle.inside.items()}
    record = Installed(origin.place, origin.commit, when, files, accepted)
    part, old = (folder.with_name(f".{folder.name}-{uuid4().hex}") for _ in range(2))
    try:
        write_namespace(bundle, part)
        (part / RECORD).write_text(record.as_json(), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise DataError(f"{folder} cannot be written ({error.strerror}); choose another with --folder") from error
    finally:
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)

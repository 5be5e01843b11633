# SPDX-License-Identifier: Apache-2.0
"""Collects the recipes of one namespace and the files they list from a folder, git or the hub, within size limits.

    recipe/lab/ours.yaml    `lab/ours`; also ours.lock.json, README.md and LICENSE in this folder and at the top
    recipe/lab/judge.txt    if the head of a recipe has `# files: judge.txt`: prompts (.txt, .jinja), code (.py)

Other files are left out and reported. The whole bundle is refused if it has an unsafe path, a link among the recipes, a
recipe without a namespace or in a reserved one, or anything too large.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from medix_verl.errors import DataError
from medix_verl.recipe.heads import Head, read_head
from medix_verl.recipe.index import GROUP, NAMESPACE
from medix_verl.recipe.lock import SUFFIX as LOCK
from medix_verl.recipe.own import NAME

__all__ = ["CODE", "Bundle", "Entry", "Origin", "Source", "collect"]

CODE = ".py"
LISTED = (CODE, ".txt", ".jinja")
PLAIN = ("README.md", "LICENSE")
RESERVED = "medix"
"""Prefix of our own recipes' names."""
FILE = re.compile(r"[A-Za-z0-9_][\w.-]{0,99}", re.ASCII)
MOST_ENTRIES, MOST_FILES = 20_000, 200
MOST_BYTES, MOST_BYTES_IN_ALL = 1 << 20, 8 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a source, before its content is read."""

    name: str
    """Path from the top, with `/`."""
    size: int
    kind: Literal["file", "link", "other"] = "file"
    """`other`: a submodule, a pipe, a device."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of recipes, without credentials."""

    kind: Literal["folder", "git", "hub"]
    place: str
    commit: str = ""

    def describe(self) -> str:
        """Text for the user."""
        return f"{self.place} at {self.commit}" if self.commit else self.place


class Source(Protocol):
    """A source of files."""

    origin: Origin

    def entries(self) -> Iterable[Entry]:
        """List the files without reading them."""

    def read(self, name: str, most: int) -> bytes:
        """Read at most `most` + 1 bytes of a file."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The collected files."""

    namespace: str
    files: Mapping[str, str]
    """Path from the top, with `/` -> text."""
    left_out: tuple[str, ...]
    heads: Mapping[str, Head] = field(default_factory=dict)
    """Name of a recipe, such as `lab/ours` -> its head."""

    @property
    def inside(self) -> dict[str, str]:
        """Files in the namespace's folder: name -> text."""
        top = f"{GROUP}/{self.namespace}/"
        return {name.removeprefix(top): text for name, text in self.files.items() if name.startswith(top)}

    @property
    def code(self) -> list[str]:
        """Code files, such as `lab/terms.py`."""
        return [f"{self.namespace}/{name}" for name in self.inside if name.endswith(CODE)]


def collect(source: Source) -> Bundle:
    """Collect the recipes of a source and the files they list.

    Raises:
        DataError: The source has no recipes, or contains something that is refused; then nothing is collected.
    """
    entries = _entries(source)
    namespace = _namespace(entries)
    top = f"{GROUP}/{namespace}/"
    wanted = [name for name in entries if _is_plain(name, top)]
    texts = {name: _text(source, entries[name]) for name in wanted}
    heads = {
        f"{namespace}/{name[len(top) : -len('.yaml')]}": read_head(name[len(GROUP) + 1 : -len(".yaml")], text)
        for name, text in texts.items()
        if name.startswith(top) and name.endswith(".yaml")
    }
    for recipe, head in heads.items():
        for file in head.files:
            if not FILE.fullmatch(file) or not file.endswith(LISTED):
                raise DataError(f"{recipe} lists {file!r} in `# files:`; accepted are {', '.join(LISTED)} beside it")
            if top + file not in entries:
                raise DataError(f"{recipe} lists {file} in `# files:`, and there is no {top}{file}")
            texts[top + file] = _text(source, entries[top + file])
    _check_amount(texts)
    left = tuple(sorted(name for name in entries if name not in texts))
    return Bundle(namespace, dict(sorted(texts.items())), left, heads)


def _entries(source: Source) -> dict[str, Entry]:
    """The entries by name, after checks of names and kinds."""
    found: dict[str, Entry] = {}
    folded: dict[str, str] = {}
    for entry in source.entries():
        if len(found) >= MOST_ENTRIES:
            raise DataError(f"{source.origin.place} has more than {MOST_ENTRIES} files; share recipes by themselves")
        parts = entry.name.split("/")
        if not entry.name.isprintable() or "\\" in entry.name or {"", ".", ".."} & set(parts):
            raise DataError(f"{source.origin.place} has a file called {entry.name!r}, which leads elsewhere; refused")
        if parts[0] == GROUP:
            if entry.kind != "file":
                what = "a link" if entry.kind == "link" else "no file"
                raise DataError(f"{source.origin.place}: {entry.name} is {what}; recipes are plain files")
            other = folded.setdefault(entry.name.lower(), entry.name)
            if other != entry.name:
                raise DataError(f"{source.origin.place}: {other} and {entry.name} differ in capitals alone; rename one")
        found[entry.name] = entry
    return found


def _namespace(entries: Iterable[str]) -> str:
    """The namespace of the recipes; there must be exactly one."""
    recipes = [name for name in entries if name.startswith(f"{GROUP}/") and name.endswith((".yaml", ".yml"))]
    for name in recipes:
        parts = name.split("/")
        if len(parts) != 3:
            raise DataError(
                f"{name} has no namespace, and could take the name of another's; move it to {GROUP}/NAMESPACE/"
            )
        if not NAMESPACE.fullmatch(parts[1]) or parts[1].startswith(RESERVED):
            raise DataError(f"the namespace {parts[1]!r} cannot be used; take lower-case letters, not {RESERVED}...")
        if not NAME.fullmatch(parts[2].removesuffix(".yaml")):
            raise DataError(f"{name}: a recipe is called NAME.yaml, of letters, digits, _ and -; rename it")
    spaces = sorted({name.split("/")[1] for name in recipes})
    if not spaces:
        raise DataError(
            f"there is no {GROUP}/NAMESPACE/NAME.yaml; type medix-verl recipe new NAMESPACE/NAME --folder ."
        )
    if len(spaces) > 1:
        raise DataError(f"there are recipes of {', '.join(spaces)}; share each namespace by itself")
    return spaces[0]


def _is_plain(name: str, top: str) -> bool:
    """Whether a file is collected without being listed."""
    if name in PLAIN:
        return True
    inside = name.removeprefix(top)
    known = inside in PLAIN or inside.endswith((".yaml", LOCK))
    return name.startswith(top) and FILE.fullmatch(inside) is not None and known


def _text(source: Source, entry: Entry) -> str:
    if entry.size > MOST_BYTES:
        raise DataError(f"{entry.name} has {entry.size} bytes; a file of a recipe has {MOST_BYTES} at most")
    data = source.read(entry.name, MOST_BYTES)
    if len(data) > MOST_BYTES:
        raise DataError(f"{entry.name} has more than the {MOST_BYTES} bytes that a file of a recipe may have")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{entry.name} is not a text in UTF-8; it cannot be shared with a recipe") from error
    if "\0" in text:
        raise DataError(f"{entry.name} has null characters, and is not a text; it cannot be shared with a recipe")
    return text


def _check_amount(texts: Mapping[str, str]) -> None:
    if len(texts) > MOST_FILES or sum(map(len, texts.values())) > MOST_BYTES_IN_ALL:
        raise DataError(
            f"more than {MOST_FILES} files, or {MOST_BYTES_IN_ALL} bytes in all; share fewer recipes at once"
        )

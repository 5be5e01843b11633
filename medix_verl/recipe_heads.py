# SPDX-License-Identifier: Apache-2.0
"""What a recipe says of itself in the comments above its first key, and which recipes may stand in one list.

A recipe's head has a line `# table: MODEL | ALGORITHM | GPUS | WHAT WAS RUN`, an overlay's has
`# overlay: WHAT IT CHANGES | WHAT WAS RUN`, and either may have `# not with: NAME, NAME`. A file without such lines is
taken as it is: it is somebody's own, and nothing is known against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medix_verl.errors import ConfigError

__all__ = ["Head", "check_list", "lineage", "read_head"]

_PARENT = re.compile(r"^  - (?P<name>[\w-]+)\s*(?:#.*)?$", re.MULTILINE)
_HEADER = re.compile(r"#+\s*@(?P<key>\S+)(?:\s+(?P<value>\S+))?")
_GROUP_PLACES = ("_group_", "recipe", None)
"""What a package line may say and still leave the keys below `recipe`."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one recipe file."""

    name: str
    text: str
    """What it is, in the file's own words, as one paragraph."""
    command: str
    """The command to type; empty where the head has none."""
    is_overlay: bool
    """True where it changes another recipe and is none by itself."""
    columns: tuple[str, ...]
    """What follows `table:` or `overlay:`."""
    not_with: tuple[str, ...]
    parents: tuple[str, ...]
    """Recipes of its `defaults` list, in order."""
    has_place: bool = True
    """False where no `# @package` line says whose keys its keys are."""


def read_head(name: str, text: str) -> Head:
    """Read the head of a recipe file's text."""
    block = text.split("\n\n", 1)[0].splitlines()
    lines = [line[1:].strip() for line in block if line.startswith("#") and not line.startswith("# @package")]
    marked = {
        key: line.partition(":")[2] for line in lines for key in ("table", "overlay", "not with") if _is(line, key)
    }
    prose = " ".join(line for line in lines if line and not _is_command(line) and not _is(line, *marked))
    command = " ".join(line.rstrip("\\ ") for line in lines if _is_command(line))
    columns = marked.get("overlay", marked.get("table", ""))
    return Head(
        name=name,
        text=prose.removeprefix("Overlay: ").removeprefix("Overlay, "),
        command=command,
        is_overlay="overlay" in marked,
        columns=tuple(part.strip() for part in columns.split("|")) if columns else (),
        not_with=tuple(part.strip() for part in marked.get("not with", "").split(",") if part.strip()),
        parents=_parents(text),
        has_place=_has_place(text),
    )


def lineage(name: str, heads: Mapping[str, Head]) -> list[str]:
    """A recipe and everything that it stands on, itself first."""
    found = [name]
    for parent in heads[name].parents if name in heads else ():
        found += [ancestor for ancestor in lineage(parent, heads) if ancestor not in found]
    return found


def check_list(names: Sequence[str], heads: Mapping[str, Head]) -> None:
    """Refuse a list of recipes that would not be what it says.

    Args:
        names: As typed in `+recipe=[...]`, all of them known.
        heads: The head of every recipe.

    Raises:
        ConfigError: A file without a `# @package` line, an overlay before or without the recipe that it changes, two
            that exclude each other, or a recipe that begins anew and would silently undo the one before it.
    """
    for name in names:
        _check_place(name, heads)
    overlays = [name for name in names if heads[name].is_overlay]
    recipes = [name for name in names if name not in overlays]
    if (overlays and list(names) != [*recipes, *overlays]) or (not recipes and overlays):
        raise ConfigError(
            f"'{','.join(names)}' has {overlays[0]}, an overlay, which changes the recipe before it; "
            f"type +recipe=[{','.join([*(recipes or ['medix']), *overlays])}]"
        )
    for place, later in enumerate(names):
        for earlier in names[:place]:
            _check_exclusion(earlier, later, heads)
            if not heads[later].is_overlay:
                _check_undoing(earlier, later, heads)


def _check_place(name: str, heads: Mapping[str, Head]) -> None:
    lost = [above for above in lineage(name, heads) if above in heads and not heads[above].has_place]
    if lost:
        raise ConfigError(
            f"the file of recipe '{lost[0]}' has no line '# @package _global_' at its top: all of its keys would go "
            "below a key 'recipe', and verl would train without them; write that line first"
        )


def _check_exclusion(earlier: str, later: str, heads: Mapping[str, Head]) -> None:
    for one, other in ((earlier, later), (later, earlier)):
        for name in lineage(one, heads):
            excluded = set(heads[name].not_with) if name in heads else set()
            if found := excluded & set(lineage(other, heads)):
                raise ConfigError(
                    f"{one} and {other} exclude each other ({name} says: not with {sorted(found)[0]}); leave one out"
                )


def _check_undoing(earlier: str, later: str, heads: Mapping[str, Head]) -> None:
    above = lineage(later, heads)
    again = [name for name in lineage(earlier, heads) if name in above]
    if again and earlier not in above:
        overlays = [name for name in above if name in heads and heads[name].is_overlay]
        raise ConfigError(
            f"{later} begins anew from {again[0]} and would undo {earlier}; type +recipe="
            + (f"[{','.join([earlier, *overlays])}]" if overlays else later)
        )


def _has_place(text: str) -> bool:
    """Whether Hydra sees a package: it reads lines `# @KEY VALUE` and empty ones, and stops at the first other line."""
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _HEADER.match(line)
        if found is None:
            return False
        if found["key"] == "package":
            return found["value"] not in _GROUP_PLACES
    return False


def _is(line: str, *keys: str) -> bool:
    return any(line.startswith(f"{key}:") for key in keys)


def _is_command(line: str) -> bool:
    return line.startswith(("python ", "medix-verl ", "export "))


def _parents(text: str) -> tuple[str, ...]:
    """Plain names of the `defaults` block, and of `defaults: [a, b]`; `_self_` and overrides of groups are none."""
    inline = re.search(r"^defaults: *\[(?P<names>[^\]]*)\]", text, re.MULTILINE)
    block = re.search(r"^defaults: *(?:#.*)?\n(?P<lines>(?:(?: .*|#.*)?\n)+)", text, re.MULTILINE)
    if inline is not None:
        names = [part.strip() for part in inline["names"].split(",")]
    else:
        names = [match["name"] for match in _PARENT.finditer(block["lines"])] if block is not None else []
    return tuple(name for name in names if name and name != "_self_" and ":" not in name)

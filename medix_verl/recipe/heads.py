# SPDX-License-Identifier: Apache-2.0
"""Reads the head of a recipe (the comments above its first key), and checks which recipes may be combined in a list.

Lines of a head:
- `# table: MODEL | ALGORITHM | GPUS | WHAT WAS RUN`: a recipe.
- `# overlay: WHAT IT CHANGES | WHAT WAS RUN`: an overlay.
- `# part: WHAT IT IS | WHAT WAS RUN`: a part of a recipe, for any verl configuration.
- `# not with: NAME, NAME`: recipes that it excludes.
- `# instead of: NAME, NAME`: overlays that set the same keys. Only one of them may be typed, also on a recipe whose
  parents include another.
- `# trainer: sft_trainer`: for another trainer of verl than main_ppo.
- `# requires: verl>=0.9.0,<0.10; medix-verl>=0.1`: versions.
- `# files: judge.txt, terms.py`: files shared together with the recipe.
A file without such lines, such as a user's own recipe, is accepted without these checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medix_verl.errors import ConfigError
from medix_verl.recipe.requires import read_requires, unmet

__all__ = ["PPO", "SFT", "Head", "base_of", "check_list", "lineage", "read_head", "trainer_of"]

_PARENT = re.compile(r"^  - (?P<name>[\w/-]+)\s*(?:#.*)?$", re.MULTILINE)
_HEADER = re.compile(r"(?<!#)#+\s*@(?P<key>\S+)(?:\s+(?P<value>\S+))?")
_WORDS = re.compile(r"[\w-]+(?:/[\w-]+)?")
KINDS = ("overlay", "table", "part")
MARKED = (*KINDS, "not with", "instead of", "requires", "files", "trainer")
ABSOLUTE = "/recipe/"
PPO, SFT = "main_ppo", "sft_trainer"
"""Modules of verl.trainer that recipes support."""
_GROUP_PLACES = ("_group_", "recipe", None)
"""Values of a package line that leave the keys below `recipe`."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one recipe file."""

    name: str
    text: str
    """Description from the file, as one paragraph."""
    command: str
    """The command to type; empty if the head has none."""
    is_overlay: bool
    """True if it changes another recipe and cannot be used alone."""
    columns: tuple[str, ...]
    """Columns after `table:`, `overlay:` or `part:`."""
    not_with: tuple[str, ...]
    parents: tuple[str, ...]
    """Recipes in its `defaults` list, in order."""
    instead_of: tuple[str, ...] = ()
    """Overlays that set the same keys: without a check, the last one typed would silently win."""
    is_part: bool = False
    """True if it is not a complete recipe and can be added to any verl configuration."""
    relative: tuple[str, ...] = ()
    """Parents of a recipe in a namespace that are not written as /recipe/NAME: Hydra resolves them in one of two
    folders, depending on whether the recipe is typed alone or in a list."""
    requires: str = ""
    """Required versions, in the format of medix_verl.recipe.requires."""
    files: tuple[str, ...] = ()
    """Prompts and code in the same folder."""
    trainer: str | None = None
    """The module of verl.trainer stated in its head."""
    has_place: bool = True
    """False if no `# @package` line sets the place of its keys."""


def read_head(name: str, text: str) -> Head:
    """Read the head of a recipe file's text."""
    block = text.split("\n\n", 1)[0].splitlines()
    lines = [line[1:].strip() for line in block if line.startswith("#") and not line.startswith("# @package")]
    marked = {key: line.partition(":")[2] for line in lines for key in MARKED if _is(line, key)}
    prose = " ".join(line for line in lines if line and not _is_command(line) and not _is(line, *marked))
    command = " ".join(line.rstrip("\\ ") for line in lines if _is_command(line))
    parents = _parents(text)
    columns = next((marked[kind] for kind in KINDS if kind in marked), "")
    return Head(
        name=name,
        text=prose.removeprefix("Overlay: ").removeprefix("Overlay, "),
        command=command,
        is_overlay="overlay" in marked,
        is_part="part" in marked,
        columns=tuple(part.strip() for part in columns.split("|")) if columns else (),
        not_with=_names(marked.get("not with", "")),
        instead_of=_names(marked.get("instead of", "")),
        requires=marked.get("requires", "").strip(),
        files=_names(marked.get("files", "")),
        parents=tuple(parent.removeprefix(ABSOLUTE) for parent in parents),
        relative=tuple(parent for parent in parents if "/" in name and not parent.startswith("/")),
        trainer=marked["trainer"].strip() if "trainer" in marked else None,
        has_place=_has_place(text),
    )


def base_of(names: Sequence[str], heads: Mapping[str, Head]) -> str:
    """Base recipe for a list of overlays: the first recipe in one of their own commands, else `medix`."""
    commands = [word for name in names if name in heads for word in _WORDS.findall(heads[name].command)]
    return next(
        (word for word in commands if word in heads and not heads[word].is_overlay and word != "medix"), "medix"
    )


def lineage(name: str, heads: Mapping[str, Head]) -> list[str]:
    """A recipe and all its ancestors, each once, itself first; terminates on cycles."""
    found: list[str] = []
    left = [name]
    while left:
        one = left.pop(0)
        if one not in found:
            found.append(one)
            left = [*(heads[one].parents if one in heads else ()), *left]
    return found


def trainer_of(name: str, heads: Mapping[str, Head]) -> str | None:
    """The module of verl.trainer that a recipe is for; None if its head does not say: it may be any."""
    found = [heads[above] for above in lineage(name, heads) if above in heads]
    said = next((head.trainer for head in found if head.trainer), None)
    return said or (PPO if any(head.columns for head in found) else None)


def check_list(names: Sequence[str], heads: Mapping[str, Head]) -> None:
    """Refuse a list of recipes that would not have the stated effect.

    Args:
        names: As typed in `+recipe=[...]`, all of them known.
        heads: The head of every recipe.

    Raises:
        ConfigError: A file has no `# @package` line, an overlay comes before or without the recipe that it changes, two
            recipes exclude each other, a recipe starts from its base again and would silently undo the one before it,
            or a required version is not installed.
    """
    for name in names:
        _check_relative(name, heads)
        _check_requires(name, heads)
        _check_place(name, heads)
    _check_trainers(names, heads)
    overlays = [name for name in names if heads[name].is_overlay]
    recipes = [name for name in names if name not in overlays]
    if (overlays and list(names) != [*recipes, *overlays]) or (not recipes and overlays):
        raise ConfigError(
            f"'{','.join(names)}' has {overlays[0]}, an overlay, which changes the recipe before it; "
            f"type +recipe=[{','.join([*(recipes or [base_of(overlays, heads)]), *overlays])}]"
        )
    for place, later in enumerate(names):
        for earlier in names[:place]:
            _check_exclusion(earlier, later, heads)
            if later in heads[earlier].instead_of or earlier in heads[later].instead_of:
                raise ConfigError(
                    f"{earlier} and {later} set the same keys, and one would undo the other; leave one out"
                )
            if not heads[later].is_overlay:
                _check_undoing(earlier, later, heads)


def _check_trainers(names: Sequence[str], heads: Mapping[str, Head]) -> None:
    by = {trainer: name for name in reversed(names) if (trainer := trainer_of(name, heads))}
    if len(by) > 1:
        (one, first), (other, second) = sorted(by.items())[:2]
        raise ConfigError(f"{first} is for verl.trainer.{one} and {second} for verl.trainer.{other}; leave one out")


def _check_place(name: str, heads: Mapping[str, Head]) -> None:
    lost = [above for above in lineage(name, heads) if above in heads and not heads[above].has_place]
    if lost:
        raise ConfigError(
            f"the file of recipe '{lost[0]}' has no line '# @package _global_' at its top: all of its keys would go "
            "below a key 'recipe', and verl would train without them; write that line first"
        )


def _check_requires(name: str, heads: Mapping[str, Head]) -> None:
    for above in lineage(name, heads):
        try:
            lines = list(unmet(read_requires(heads[above].requires))) if above in heads else []
        except ConfigError as error:
            raise ConfigError(f"recipe '{above}': {error}") from error
        if lines:
            raise ConfigError(f"recipe '{above}' requires {lines[0]}")


def _check_relative(name: str, heads: Mapping[str, Head]) -> None:
    for above in lineage(name, heads):
        for parent in heads[above].relative if above in heads else ():
            raise ConfigError(f"recipe '{above}' stands on '{parent}'; in a namespace, write - {ABSOLUTE}{parent}")


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
            f"{later} begins again from {again[0]} and would undo {earlier}; type +recipe="
            + (f"[{','.join([earlier, *overlays])}]" if overlays else later)
        )


def _has_place(text: str) -> bool:
    """Whether Hydra reads a package: it reads lines `# @KEY VALUE` and empty lines, up to the first other line."""
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _HEADER.match(line)
        if found is None:
            return False
        if found["key"] == "package":
            return found["value"] not in _GROUP_PLACES
    return False


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is(line: str, *keys: str) -> bool:
    return any(line.startswith(f"{key}:") for key in keys)


def _is_command(line: str) -> bool:
    return line.startswith(("python ", "torchrun ", "medix-verl ", "export "))


def _parents(text: str) -> tuple[str, ...]:
    """Plain names in a `defaults` block or in `defaults: [a, b]`, without `_self_` and overrides of groups."""
    inline = re.search(r"^defaults: *\[(?P<names>[^\]]*)\]", text, re.MULTILINE)
    block = re.search(r"^defaults: *(?:#.*)?\n(?P<lines>(?:(?: .*|#.*)?\n)+)", text, re.MULTILINE)
    if inline is not None:
        names = [part.strip() for part in inline["names"].split(",")]
    else:
        names = [match["name"] for match in _PARENT.finditer(block["lines"])] if block is not None else []
    return tuple(name for name in names if name and name != "_self_" and ":" not in name)

# SPDX-License-Identifier: Apache-2.0
"""Lists, shows, compares, begins and checks recipes: what `+recipe=NAME` adds to verl's configuration.

Recipes come with medix-verl, from the folders of the variable MEDIX_RECIPES (FOLDER/recipe/NAME.yaml), and from any
installed package with an entry point in the group medix_verl.recipes. NAME may be a list: medix,medix_lora. `check`
exits with 1 where verl would refuse the recipe or where it would fail later; nothing is trained. `show` also takes a
run's folder, and prints the command that repeats the run.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.cli.lines import plain, waiting
from medix_verl.errors import ConfigError
from medix_verl.recipe_heads import Head, read_head
from medix_verl.recipes_index import GROUP, VARIABLE, recipe_files, recipe_heads

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["add_arguments", "begin", "check", "run", "tables"]

NAME = re.compile(r"[A-Za-z][\w-]*")
COMPOSING = "composing with verl's own configuration"
TABLES = (("recipe", "model", "algorithm", "GPUs", "what was run"), ("overlay", "what it changes", "what was run"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands of `medix-verl recipe`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    listing = commands.add_parser("list", help="every recipe and overlay, with model, algorithm, GPUs and what was run")
    listing.add_argument("--markdown", action="store_true", help="as the tables of recipes/README.md")
    show = commands.add_parser("show", help="what a recipe is and changes; or a run was, and how to repeat it")
    show.add_argument("name", metavar="NAME|RUN_DIR")
    show.add_argument("--full", action="store_true", help="the whole configuration, resolved, as YAML")
    diff = commands.add_parser("diff", help="the keys in which two recipes differ")
    diff.add_argument("one", metavar="A")
    diff.add_argument("two", metavar="B")
    new = commands.add_parser("new", help="begin a recipe of your own: FOLDER/recipe/NAME.yaml")
    new.add_argument("name", metavar="NAME")
    new.add_argument("--from", dest="parent", metavar="PARENT", default="medix", help="recipe that it stands on")
    new.add_argument("--folder", type=Path, help=f"default: the first of {VARIABLE}, else ./recipes_of_mine")
    checking = commands.add_parser("check", help="say what verl would refuse in a recipe, by its file or its name")
    checking.add_argument("file", metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Run one subcommand."""
    if args.command == "list":
        heads = recipe_heads().values()
        print(tables(heads) if args.markdown else _lines(heads))
    elif args.command == "show":
        if _is_run(args.name):
            from medix_verl.cli.repeat import show_run

            show_run(Path(args.name), args.full)
        else:
            _show(_names(args.name), args.full)
    elif args.command == "diff":
        _diff(_names(args.one), _names(args.two))
    elif args.command == "new":
        begin(args.name, args.parent, args.folder)
    else:
        with waiting(COMPOSING):
            found = check(args.file)
        print("\n".join(f"FAIL  {line}" for line in found) or f"ok    {args.file}: composes, and verl accepts it")
        return 1 if found else 0
    return 0


def tables(heads: Iterable[Head]) -> str:
    """Two Markdown tables, of recipes and of overlays."""
    listed = list(heads)
    blocks = []
    for title, is_overlay in zip(TABLES, (False, True), strict=True):
        rows = [(f"`{head.name}`", *head.columns) for head in listed if head.is_overlay is is_overlay and head.columns]
        lines = [" | ".join(row) for row in (title, ("---",) * len(title), *rows)]
        blocks.append("\n".join(f"| {line} |" for line in lines))
    return "\n\n".join(blocks)


def begin(name: str, parent: str, folder: Path | None) -> Path:
    """Write the file of a new recipe that stands on `parent`, and say how to use it.

    Raises:
        ConfigError: A name that is taken or cannot be typed, or a parent that is no recipe.
    """
    heads = recipe_heads()
    if not NAME.fullmatch(name) or name in heads:
        why = "is taken" if name in heads else "must be letters, digits, _ and -, a letter first"
        raise ConfigError(f"the name '{name}' {why}; type another one")
    if parent not in heads or heads[parent].is_overlay:
        names = ", ".join(head.name for head in heads.values() if not head.is_overlay)
        raise ConfigError(f"--from {parent}: accepted are {names}")
    known = [Path(text).expanduser() for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    place = folder or next(iter(known), Path("recipes_of_mine"))
    path = place / GROUP / f"{name}.yaml"
    if path.exists():
        raise ConfigError(f"{path} is there already; type another name or folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEMPLATE.format(name=name, parent=parent), encoding="utf-8")
    if place.absolute() not in [one.absolute() for one in known]:
        print(f"export {VARIABLE}={':'.join(str(one.absolute()) for one in [*known, place])}")
    print(f"edit {path}\nmedix-verl recipe check {path}\npython -m verl.trainer.main_ppo +recipe={name}")
    return path


TEMPLATE = """# @package _global_
#
# What it is, and why.
#
#   python -m verl.trainer.main_ppo +recipe={name}
#
# table: MODEL | ALGORITHM | GPUS | nothing yet

defaults:
  - {parent}
  - _self_

# Only what differs; `medix-verl recipe show {parent}` lists the keys.
trainer: {{experiment_name: {name}}}
"""


def check(file: str) -> list[str]:
    """What would stop a run with the recipe in this file, or of this name; an empty list is sound.

    Raises:
        ConfigError: There is neither such a file nor such a recipe, or it does not compose.
    """
    from medix_verl.cli.composed import compose_recipes, faults, unknown_keys

    path = Path(file)
    if not path.is_file():
        if file.endswith((".yaml", ".yml")) or os.sep in file:
            raise ConfigError(f"there is no file {file}; type medix-verl recipe new NAME --from medix")
        config = compose_recipes(_names(file))
    else:
        config = _compose_file(path)
    return [*faults(config), *(f"{key}: verl has no such key; mend or remove it" for key in unknown_keys(config))]


def _compose_file(path: Path) -> DictConfig:
    """Compose a file that may lie anywhere, and whose neighbours it may stand on."""
    from medix_verl.cli.composed import compose_recipes

    if path.suffix != ".yaml":
        raise ConfigError(f"{path} does not end in .yaml, and Hydra would not find it; rename it")
    text = path.read_text(encoding="utf-8")
    if not read_head(path.stem, text).has_place:
        raise ConfigError(f"{path} must begin with the line '# @package _global_', else its keys land under recipe")
    known = recipe_files().get(path.stem)
    if known is not None and known.read_text(encoding="utf-8") == text:
        return compose_recipes([path.stem])
    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / GROUP).mkdir()
        for neighbour in {path, *path.parent.glob("*.yaml")}:
            if neighbour == path or neighbour.stem not in recipe_files():
                (Path(folder) / GROUP / neighbour.name).write_bytes(neighbour.read_bytes())
        os.environ[VARIABLE] = os.pathsep.join(filter(None, (before, folder)))
        try:
            return compose_recipes([path.stem])
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def _is_run(word: str) -> bool:
    """A path, and no name of a recipe that happens to be a folder here as well."""
    return word not in recipe_heads() and (os.sep in word or Path(word).exists())


def _show(names: list[str], full: bool) -> None:
    from omegaconf import OmegaConf

    from medix_verl.cli.composed import booking, changes, complete, compose_recipes, stock_of

    with waiting(COMPOSING):
        config = compose_recipes(names)
        stock = stock_of(config)
    if full:
        print(OmegaConf.to_yaml(config, resolve=True), end="")
        return
    heads, book = recipe_heads(), booking(config)
    for name in names:
        print(f"{name}: {heads[name].text}")
    print(f"\npython -m verl.trainer.main_ppo +recipe={_typed(complete(names))}")
    gpus = f"{book.nodes} x ({book.train} train, {book.generate} generate, {book.judge} judge)"
    print(f"GPUs: {'none' if config.trainer.device == 'cpu' else gpus}\n")
    for key, (_, value) in changes(stock, config).items():
        print(f"{key}={plain(value)}")


def _diff(one: list[str], two: list[str]) -> None:
    from medix_verl.cli.composed import changes, compose_recipes

    with waiting(COMPOSING):
        found = changes(compose_recipes(one), compose_recipes(two))
    for key, (before, after) in found.items():
        print(f"{key}: {plain(before)} -> {plain(after)}")
    print("1 key differs" if len(found) == 1 else f"{len(found)} keys differ", file=sys.stderr)


def _names(text: str) -> list[str]:
    names = [part.strip() for part in text.strip("[]").split(",") if part.strip()]
    if not names:
        raise ConfigError(f"{text!r} names no recipe; type medix-verl recipe list")
    return names


def _typed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"[{','.join(names)}]"


def _lines(heads: Iterable[Head]) -> str:
    listed = list(heads)
    width = max(len(head.name) for head in listed)
    rows = sorted(listed, key=lambda head: head.is_overlay)
    return "\n".join(f"{head.name:<{width}}  {_line(head)}" for head in rows)


def _line(head: Head) -> str:
    kind = "overlay: " if head.is_overlay else ""
    return kind + (" | ".join(head.columns) or "no head; see its file")

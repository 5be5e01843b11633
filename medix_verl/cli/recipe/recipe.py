# SPDX-License-Identifier: Apache-2.0
"""Lists, shows, compares, creates, checks, locks and shares recipes: what `+recipe=NAME` adds to verl's configuration.

Recipes come with medix-verl, from the folders of the variable MEDIX_RECIPES (FOLDER/recipe/NAME.yaml), from installed
packages with an entry point in the group medix_verl.recipes, and by `install`. NAME may be a list: medix,medix_lora; a
recipe of a namespace is NAMESPACE/NAME. `check` exits with 1 if verl would refuse the recipe or fail later; nothing is
trained. `show` also takes a run's folder, and prints the command that repeats the run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from medix_verl.cli.lines import waiting
from medix_verl.cli.recipe.share import COMMANDS as SHARING
from medix_verl.cli.recipe.share import add_commands
from medix_verl.recipe.check import as_line
from medix_verl.recipe.compose import plain
from medix_verl.recipe.heads import PPO, Head, trainer_of
from medix_verl.recipe.index import VARIABLE, own_folders, recipe_heads
from medix_verl.recipe.own import begin, names_of
from medix_verl.recipe.validate import look
from medix_verl.runs.compose import resolved
from medix_verl.secrets import find_secrets, scrub, without_secrets

__all__ = ["add_arguments", "run", "tables"]

TRUST = "load this code, which the recipe names and you have read; may be given again"
COMPOSING = "composing with verl's own configuration"
TABLES = (
    ("recipe", "model", "algorithm", "GPUs", "what was run"),
    ("overlay", "what it changes", "what was run"),
    ("part", "what it is", "what was run"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands of `medix-verl recipe`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    listing = commands.add_parser("list", help="every recipe and overlay, with model, algorithm, GPUs and what was run")
    listing.add_argument("--markdown", action="store_true", help="as the tables of recipes/README.md")
    show = commands.add_parser("show", help="what a recipe is and changes; or a run was, and how to repeat it")
    show.add_argument("name", metavar="NAME|RUN_DIR")
    show.add_argument("--full", action="store_true", help="the whole configuration, resolved but for variables")
    diff = commands.add_parser("diff", help="the keys in which two recipes differ")
    diff.add_argument("one", metavar="A")
    diff.add_argument("two", metavar="B")
    new = commands.add_parser("new", help="begin a recipe of your own: FOLDER/recipe/NAME.yaml")
    new.add_argument("name", metavar="NAME")
    new.add_argument("--from", dest="parent", metavar="PARENT", default="medix", help="recipe that it stands on")
    new.add_argument("--folder", type=Path, help=f"default: the first of {VARIABLE}, else ./recipes_of_mine")
    checking = commands.add_parser("check", help="say what verl would refuse in a recipe, by its file or its name")
    checking.add_argument("file", metavar="FILE|NAME")
    checking.add_argument("--trust", action="append", default=[], metavar="NAME", help=TRUST)
    add_commands(commands)
    for command in (show, diff, checking):
        command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides, as verl gets them")


def run(args: argparse.Namespace) -> int:
    """Run one subcommand."""
    if args.command in SHARING:
        return SHARING[args.command](args)
    if args.command == "list":
        heads = recipe_heads().values()
        print(tables(heads) if args.markdown else _lines(heads))
    elif args.command == "show":
        if _is_run(args.name):
            from medix_verl.cli.recipe.repeat import show_run

            show_run(Path(args.name), args.full)
        else:
            _show(names_of(args.name), args.full, args.overrides)
    elif args.command == "diff":
        _diff(names_of(args.one), names_of(args.two), args.overrides)
    elif args.command == "new":
        _new(args)
    else:
        with waiting(COMPOSING):
            found, others = look(args.file, args.overrides, args.trust)
        for line in map(as_line, others):
            print(line)
        print("\n".join(f"FAIL  {line}" for line in found) or f"ok    {args.file}: composes, and verl accepts it")
        return 1 if found or any(one.status == "FAIL" for one in others) else 0
    return 0


def tables(heads: Iterable[Head]) -> str:
    """Markdown tables of recipes, overlays and parts."""
    listed = list(heads)
    blocks = []
    for title in TABLES:
        rows = [(f"`{head.name}`", *head.columns) for head in listed if _kind(head) == title[0] and head.columns]
        if not rows and title == TABLES[-1]:
            continue
        lines = [" | ".join(row) for row in (title, ("---",) * len(title), *rows)]
        blocks.append("\n".join(f"| {line} |" for line in lines))
    return "\n\n".join(blocks)


def _new(args: argparse.Namespace) -> None:
    path = begin(args.name, args.parent, args.folder)
    place, known = path.parent.parent.absolute(), [folder.absolute() for folder in own_folders()]
    if place not in known:
        print(f"export {VARIABLE}={':'.join(map(str, [*known, place]))}")
    trainer = trainer_of(args.parent, recipe_heads()) or PPO
    print(f"edit {path}\nmedix-verl recipe check {path}\npython -m verl.trainer.{trainer} +recipe={args.name}")


def _is_run(word: str) -> bool:
    """Whether a word is a path; a recipe's name is not, even if a folder here has the same name."""
    known = recipe_heads()
    return not any(name in known for name in word.strip("[]").split(",")) and (os.sep in word or Path(word).exists())


def _show(names: list[str], full: bool, overrides: Sequence[str]) -> None:
    from omegaconf import OmegaConf

    from medix_verl.recipe.code import foreign_code, foreign_hydra
    from medix_verl.recipe.compose import booking, changes, complete, compose_recipes, starter_of, stock_of, typed

    with waiting(COMPOSING):
        config = compose_recipes(names, overrides)
        stock, code = stock_of(config), [*foreign_hydra([*typed(names), *overrides]), *foreign_code(config)]
    if full:
        values = resolved(config)
        print(OmegaConf.to_yaml(OmegaConf.create(without_secrets(values))), end="")
        return
    heads = recipe_heads()
    for name in names:
        print(f"{name}: {heads[name].text}")
    print(f"\n{starter_of(config)} +recipe={_typed(complete(names))}")
    print(f"GPUs: {'none' if config.trainer.device == 'cpu' else booking(config).words}\n")
    found = [f"loads code that is neither verl's nor ours: {line}" for line in code]
    found += [f"{key}={plain(value)}" for key, (_, value) in changes(stock, config).items()]
    for line in _scrubbed(found, [config]):
        print(line)


def _diff(one: list[str], two: list[str], overrides: Sequence[str]) -> None:
    from medix_verl.recipe.compose import changes, compose_recipes

    with waiting(COMPOSING):
        both = [compose_recipes(names, overrides) for names in (one, two)]
        found = changes(*both)
    for line in _scrubbed([f"{key}: {plain(old)} -> {plain(new)}" for key, (old, new) in found.items()], both):
        print(line)
    print("1 key differs" if len(found) == 1 else f"{len(found)} keys differ", file=sys.stderr)


def _scrubbed(lines: Iterable[str], configs: Iterable[Any]) -> list[str]:
    """Lines of keys and values, without the secrets of their configurations."""
    secrets = {secret for one in configs for secret in find_secrets(resolved(one), os.environ)[0]}
    return [str(scrub(line, secrets)) for line in lines]


def _typed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"[{','.join(names)}]"


def _kind(head: Head) -> str:
    return "overlay" if head.is_overlay else "part" if head.is_part else "recipe"


def _lines(heads: Iterable[Head]) -> str:
    listed = list(heads)
    width = max(len(head.name) for head in listed)
    rows = sorted(listed, key=lambda head: head.is_overlay)
    return "\n".join(f"{head.name:<{width}}  {_line(head)}" for head in rows)


def _line(head: Head) -> str:
    kind = "" if _kind(head) == "recipe" else f"{_kind(head)}: "
    return kind + (" | ".join(head.columns) or "no head; see its file")

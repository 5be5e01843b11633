# SPDX-License-Identifier: Apache-2.0
"""`medix-verl recipe lock | publish | install`: arguments and output."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medix_verl.cli.lines import waiting
from medix_verl.recipe.code import trust_word
from medix_verl.recipe.index import VARIABLE, own_folders, store

__all__ = ["COMMANDS", "add_commands"]

SHOWN = 10


def add_commands(commands: Any) -> None:
    """Add the three subcommands to `medix-verl recipe`."""
    lock = commands.add_parser("lock", help="write a run's versions, data, judge, prompts and texts beside its recipe")
    lock.add_argument("run", type=Path, metavar="RUN_DIR", help="the run's folder, with medix_run.json")
    lock.add_argument("--recipe", metavar="NAME", help="beside which recipe (default: the run's last that is not ours)")
    lock.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")
    publish = commands.add_parser("publish", help="share the recipes of one namespace: into a folder, or on the hub")
    publish.add_argument("folder", type=Path, metavar="DIR", help="has recipe/NAMESPACE/NAME.yaml")
    publish.add_argument("--to", required=True, metavar="FOLDER|OWNER/NAME", help="a clone to push, or a hub id")
    publish.add_argument("--private", action="store_true", help="a repository that is made on the hub is private")
    install = commands.add_parser("install", help="install recipes that were shared; nothing of them is executed")
    install.add_argument("source", metavar="URL|FOLDER|OWNER/NAME", help="of git or the hub, with @REVISION behind it")
    accepted = "accept this code, address or variable, which the refusal listed; may be given again"
    install.add_argument("--trust", action="append", default=[], metavar="NAME", help=accepted)
    install.add_argument("--folder", type=Path, help=f"default: {store()}, where recipes are always found")
    install.add_argument("--replace", action="store_true", help="take the place of an earlier installation")


def _lock(args: argparse.Namespace) -> int:
    from medix_verl.runs.lock import lock_run

    path = lock_run(args.run, args.recipe, args.out)
    print(f"{path}: a run of the recipe says what differs from it")
    return 0


def _publish(args: argparse.Namespace) -> int:
    from medix_verl.recipe.share.publish import publish

    with waiting("composing the recipes with verl's own configuration"):
        done = publish(args.folder, args.to, args.private)
    print(f"{', '.join(done.bundle.heads)}: published to {done.where}, {len(done.bundle.files)} files")
    if words := dict.fromkeys(f"--trust {trust_word(line)}" for line in done.listed):
        print(f"who installs it must accept: {' '.join(words)}")
    _left_out("left out", done.bundle.left_out)
    _left_out("there as well, and left as they are", done.others)
    return 0


def _install(args: argparse.Namespace) -> int:
    from medix_verl.recipe.share.install import install

    with waiting("fetching the recipes, and composing them with verl's own configuration"):
        done = install(args.source, args.trust, args.folder, args.replace)
    print(f"{', '.join(done.bundle.heads)}: installed from {done.origin.describe()} into {done.folder}")
    for line in done.accepted:
        print(f"accepted: {line}")
    _left_out("left out", done.bundle.left_out)
    known = [folder.absolute() for folder in own_folders()]
    if args.folder is not None and args.folder.expanduser().absolute() not in known:
        print(f"export {VARIABLE}={os.pathsep.join(map(str, [*known, args.folder.expanduser().absolute()]))}")
    print(f"python -m verl.trainer.main_ppo +recipe={next(iter(done.bundle.heads))}")
    return 0


def _left_out(what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        print(f"{what}: {', '.join(names[:SHOWN])}{more}")


COMMANDS = {"lock": _lock, "publish": _publish, "install": _install}
"""Subcommand -> the function that runs it."""

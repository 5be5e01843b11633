# SPDX-License-Identifier: Apache-2.0
"""Creates a package of your own: a recipe, a reward term, a judge, prompts, a data set and a task, as entry points.

Each part is a small working example, to be replaced by your own code; tests are included.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medix_verl.recipe.package.begin import begin_package

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl new`."""
    parser.add_argument("what", choices=("package",), help="a package; for a recipe alone: medix-verl recipe new")
    parser.add_argument("name", metavar="NAME", help="its name, as lab")
    parser.add_argument("--folder", type=Path, help="where FOLDER/NAME is made (default: here)")


def run(args: argparse.Namespace) -> int:
    """Write the package and print the next commands."""
    place = begin_package(args.name, args.folder)
    print(f"edit {place}, which has a README.md\npip install -e {place}\npytest {place / 'tests'}")
    print(f"python -m verl.trainer.main_ppo +recipe=[medix_cpu,{args.name}/first]")
    return 0

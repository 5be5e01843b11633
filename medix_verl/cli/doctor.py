# SPDX-License-Identifier: Apache-2.0
"""Checks this machine, one line a check: status, name, what was found, and what to type where something is amiss.

The exit status is 0 when nothing FAILs; a warning does not stop a run. With --gpu-memory it looks at no machine: it
estimates what a recipe needs on GPUs that need not be here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from medix_verl.cli.checks import Check, local_checks
from medix_verl.cli.lines import waiting
from medix_verl.cli.verl_checks import run_probe, verl_checks
from medix_verl.errors import ConfigError

__all__ = ["add_arguments", "as_json", "as_line", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `medix-verl doctor`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--fix", action="store_true", help="first mend CUDA builds that sit beside a CPU torch")
    chosen = "look into this recipe, or list with commas (default: medix; medix_cpu on a CPU)"
    parser.add_argument("--recipe", metavar="NAME", help=chosen)
    parser.add_argument("--gpu-memory", type=float, metavar="GIB", help="plan the recipe on GPUs of this memory")
    parser.add_argument("--gpus", type=int, metavar="N", help="with --gpu-memory: GPUs of a node, the judge's included")
    parser.add_argument("--nodes", type=int, metavar="M", help="with --gpu-memory: nodes")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the recipe, as verl gets them")


def run(args: argparse.Namespace) -> int:
    """Check, print, and return 0 when nothing FAILs."""
    if args.fix:
        _fix()
    checks = []
    for check in _plan(args) if _is_plan(args) else _all_checks(args):
        checks.append(check)
        if not args.json:
            # Line by line, because verl takes its time.
            print(as_line(check), flush=True)
    if args.json:
        print(as_json(checks))
    return 0 if _is_sound(checks) else 1


def as_line(check: Check) -> str:
    """`status name found -> what to type`."""
    todo = f"  -> {check.todo}" if check.todo else ""
    return f"{check.status:<4}  {check.name:<21}  {check.found}{todo}"


def as_json(checks: Iterable[Check]) -> str:
    """One object: `ok`, and `checks` with `name`, `status`, `found`, `todo`."""
    listed = list(checks)
    return json.dumps({"ok": _is_sound(listed), "checks": [asdict(check) for check in listed]})


def _all_checks(args: argparse.Namespace) -> Iterator[Check]:
    recipe = args.recipe.strip("[]") if args.recipe else None
    yield from local_checks()
    with waiting("asking verl, which takes its time to load, and the judge"):
        found = verl_checks(run_probe(recipe, args.overrides))
    yield from found


def _is_plan(args: argparse.Namespace) -> bool:
    if args.gpu_memory is None and (args.gpus is not None or args.nodes is not None):
        raise ConfigError("--gpus and --nodes plan a recipe, for which the GPUs' memory is needed; add --gpu-memory 80")
    return args.gpu_memory is not None


def _plan(args: argparse.Namespace) -> Iterator[Check]:
    from medix_verl.cli.plan_recipe import plan_recipe

    names = (args.recipe or "medix").strip("[]").split(",")
    with waiting("composing the recipe with verl's own configuration"):
        found = list(plan_recipe(names, args.gpus, args.nodes, args.gpu_memory, args.overrides))
    yield from found


def _is_sound(checks: Iterable[Check]) -> bool:
    return all(check.status != "FAIL" for check in checks)


def _fix() -> None:
    from medix_verl.cpu.environment import fix_mismatches

    with waiting("mending"):
        done = fix_mismatches()
    # On standard error, so that --json stays one object.
    for line in done or ["builds: nothing to mend"]:
        print(line, file=sys.stderr, flush=True)

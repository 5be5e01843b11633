# SPDX-License-Identifier: Apache-2.0
"""Checks this machine, one line per check: status, name, what was found, and what to type if there is a problem.

The exit status is 0 when nothing FAILs; a warning does not stop a run. With --gpu-memory this machine is not checked:
it estimates what a recipe needs on GPUs of that size, and with --bench what makes them wait.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from medix_verl.cli.lines import waiting
from medix_verl.errors import ConfigError
from medix_verl.recipe.check import Check, as_line
from medix_verl.recipe.checks.installation import run_probe, verl_checks
from medix_verl.recipe.checks.machine import local_checks
from medix_verl.recipe.heads import SFT, trainer_of
from medix_verl.recipe.index import recipe_heads
from medix_verl.secrets import without_secrets

__all__ = ["add_arguments", "as_json", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl doctor`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--fix", action="store_true", help="first fix CUDA builds that sit beside a CPU torch")
    model = "folder or hub id of the recipe's model: its tokenizer and chat template are looked at"
    parser.add_argument("--model", metavar="PATH", help=model)
    chosen = "look into this recipe, or list with commas (default: medix; medix_cpu on a CPU)"
    parser.add_argument("--recipe", metavar="NAME", help=chosen)
    trusted = "load this code, which the recipe names and you have read; may be given again"
    parser.add_argument("--trust", action="append", default=[], metavar="NAME", help=trusted)
    parser.add_argument("--gpu-memory", type=float, metavar="GIB", help="plan the recipe on GPUs of this memory")
    parser.add_argument("--gpus", type=int, metavar="N", help="with --gpu-memory: GPUs of a node, the judge's included")
    parser.add_argument("--nodes", type=int, metavar="M", help="with --gpu-memory: nodes")
    bench = "with --gpu-memory: a file of medix-verl bench; says which service makes GPUs wait (may be repeated)"
    parser.add_argument("--bench", type=Path, action="append", default=[], metavar="FILE", help=bench)
    step = "with --gpu-memory: seconds that a step's answers may take (timing_s/gen of a run, or update_actor)"
    parser.add_argument("--step-seconds", type=float, metavar="S", help=step)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the recipe, as verl gets them")


def run(args: argparse.Namespace) -> int:
    """Check, print, and return 0 if nothing FAILs."""
    if args.fix:
        _fix()
    checks = []
    for check in _plan(args) if _is_plan(args) else _all_checks(args):
        checks.append(check)
        if not args.json:
            # Line by line, because loading verl is slow.
            print(as_line(check), flush=True)
    if args.json:
        print(as_json(checks))
    return 0 if _is_sound(checks) else 1


def as_json(checks: Iterable[Check]) -> str:
    """One object: `ok`, and `checks` with `name`, `status`, `found`, `todo`."""
    listed = list(checks)
    return json.dumps({"ok": _is_sound(listed), "checks": without_secrets([asdict(check) for check in listed])})


def _all_checks(args: argparse.Namespace) -> Iterator[Check]:
    recipe = args.recipe.strip("[]") if args.recipe else None
    yield from local_checks()
    with waiting("asking verl, which takes its time to load, and the judge"):
        report = run_probe(recipe, _overrides(args), trust=args.trust)
        found = verl_checks(report)
    yield from found


def _overrides(args: argparse.Namespace) -> list[str]:
    """The overrides that were typed, and the model of --model."""
    if args.model is None:
        return list(args.overrides)
    path = str(Path(args.model).expanduser().absolute()) if Path(args.model).expanduser().is_dir() else args.model
    quoted = path.replace("\\", "\\\\").replace("'", "\\'")
    heads, names = recipe_heads(), (args.recipe or "").strip("[]").split(",")
    is_sft = SFT in {trainer_of(name, heads) for name in names if name in heads}
    return [*args.overrides, f"{'model' if is_sft else 'actor_rollout_ref.model'}.path='{quoted}'"]


def _is_plan(args: argparse.Namespace) -> bool:
    if args.gpu_memory is None and (args.bench or args.step_seconds is not None):
        raise ConfigError("--bench and --step-seconds plan a recipe on GPUs; add --gpu-memory 80")
    if args.gpu_memory is None and (args.gpus is not None or args.nodes is not None):
        raise ConfigError("--gpus and --nodes plan a recipe, for which the GPUs' memory is needed; add --gpu-memory 80")
    return args.gpu_memory is not None


def _plan(args: argparse.Namespace) -> Iterator[Check]:
    from medix_verl.recipe.bench.record import read_records
    from medix_verl.recipe.plan.from_recipe import plan_recipe

    names, records = (args.recipe or "medix").strip("[]").split(","), read_records(args.bench)
    asked = (args.gpus, args.nodes, args.gpu_memory, _overrides(args), args.trust, records, args.step_seconds)
    with waiting("composing the recipe with verl's own configuration"):
        found = list(plan_recipe(names, *asked))
    yield from found


def _is_sound(checks: Iterable[Check]) -> bool:
    return all(check.status != "FAIL" for check in checks)


def _fix() -> None:
    from medix_verl.cpu.environment import fix_mismatches

    with waiting("repairing the builds"):
        done = fix_mismatches()
    # To standard error, so that --json prints one object only.
    for line in done or ["builds: nothing to fix"]:
        print(line, file=sys.stderr, flush=True)

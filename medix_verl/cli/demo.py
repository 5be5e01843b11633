# SPDX-License-Identifier: Apache-2.0
"""Train a tiny vision-language model end to end on the CPU, through an unmodified verl, and write a report.

Data and models are built once in the output folder and reused. Ctrl-C ends the run and all its processes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medix_verl.cli.lines import say
from medix_verl.errors import ConfigError, MedixError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl demo`."""
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), help="folder of data, models and report")
    parser.add_argument("--steps", type=int, default=52, help="training steps (default: 52)")
    parser.add_argument("--judge", choices=("rule", "verl"), default="rule", help="verl: a tiny judge served by vLLM")
    parser.add_argument("--seed", type=int, default=0, help="of data, weights, warm-up and order")
    parser.add_argument("--lr", type=float, help="learning rate; 0: a control, in which nothing can be learnt")
    parser.add_argument("--time-limit", type=float, default=1500.0, metavar="S", help="seconds for one training")
    several = parser.add_mutually_exclusive_group()
    several.add_argument("--ablate", action="store_true", help="train once for each make-up of the reward, and compare")
    several.add_argument("--attack", action="store_true", help="train a policy that games a weak judge, and compare")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further overrides for verl")


def run(args: argparse.Namespace) -> int:
    """Run the demo and print its report."""
    from medix_verl.demo.run import DemoSpec, run_demo

    if args.steps < 1:
        raise ConfigError(f"--steps is {args.steps}, at least 1 is accepted: type --steps 52")
    if args.lr is not None and not 0 <= args.lr < 1:
        raise ConfigError(f"--lr is {args.lr:g}, 0 to below 1 is accepted: leave it out, or type --lr 0 for a control")
    if not args.time_limit > 0:
        raise ConfigError(
            f"--time-limit is {args.time_limit:g}, more than 0 seconds are accepted: type --time-limit 1500"
        )
    spec = DemoSpec(args.out, args.steps, args.judge, args.seed, args.lr, args.time_limit, tuple(args.overrides))
    args.out.mkdir(parents=True, exist_ok=True)
    if args.ablate:
        from medix_verl.demo.ablate import run_ablation

        run_ablation(spec, say=say)
        print((args.out / "ablation" / "ablation.md").read_text(encoding="utf-8"))
        return 0
    if args.attack:
        from medix_verl.demo.attack import run_attack

        run_attack(spec, say=say)
        print((args.out / "attack" / "attack.md").read_text(encoding="utf-8"))
        return 0
    run_demo(spec, say=say)
    print((args.out / "report.md").read_text(encoding="utf-8"))
    write_page(args.out)
    return 0


def write_page(folder: Path) -> None:
    """Leave the run's page beside its report; a page that fails does not fail a training that succeeded."""
    from medix_verl.report.run_files import find_run
    from medix_verl.report.run_page import write_run_page

    try:
        write_run_page(find_run(folder), folder / "report.html", sorted((folder / "data").glob("*.parquet")))
    except MedixError as error:
        say(f"there is no page of this run: {error}")
    else:
        say(f"open {folder / 'report.html'} in a browser: curves, validation and answers with their pictures")

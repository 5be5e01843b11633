# SPDX-License-Identifier: Apache-2.0
"""Turn a checkpoint of a training run into a model's folder in Hugging Face's format, check it, measure it.

    medix-verl export CHECKPOINT --out DIR                    CHECKPOINT: a run's folder, its global_step_N, or actor
    medix-verl export CHECKPOINT --out DIR --card             and a short model card (README.md)
    medix-verl export CHECKPOINT --out DIR --score FILE       and the reward of its answers to a parquet file (--recipe)
    medix-verl export CHECKPOINT --out DIR --evaluate NAME... and `medix-verl evaluate DIR --tasks NAME...`

verl's own merger does the merging (FSDP and Megatron), in a process of its own. The folder gets its name only when
every tensor of the model's class is there, of the right shape, and a number.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from medix_verl.cli.judge_flags import add_judge_flags, judge_words
from medix_verl.cli.lines import say, waiting
from medix_verl.errors import ConfigError
from medix_verl.rewards.metrics import part_metrics

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a run's folder, global_step_N, or actor")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model's folder; must not be there")
    parser.add_argument("--limit", type=float, default=3600.0, metavar="S", help="seconds to merge (default: 3600)")
    parser.add_argument("--card", action="store_true", help="write a model card into DIR")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="verl's metrics file, for the card")
    group = parser.add_argument_group("measuring it; what is written goes beside DIR")
    group.add_argument("--score", type=Path, metavar="FILE", help="parquet file whose questions it answers")
    group.add_argument("--evaluate", nargs="+", default=[], metavar="NAME", help="tasks of `medix-verl evaluate`")
    group.add_argument("--evaluate-args", default="", metavar="WORDS", help="further words for evaluate, in quotes")
    group.add_argument("--serve-args", default="", metavar="WORDS", help="further words for `vllm serve`, in quotes")
    group.add_argument("--prompt", default="medix", metavar="NAME", help="template of the question (default: medix)")
    group.add_argument("--max-tokens", type=int, default=4096, metavar="N", help="of an answer (default: 4096)")
    group.add_argument("--recipe", metavar="NAME", help="of --score: terms, weights and judge of this recipe or list")
    group.add_argument("--semantic", choices=("on", "off"), help="of --score (default: on, or the recipe's)")
    add_judge_flags(group)
    parser.set_defaults(judge=None)


def run(args: argparse.Namespace) -> int:
    """Export, and then measure.

    Raises:
        ConfigError: The flags do not fit together.
    """
    from medix_verl.runs.export import ExportSpec, export_checkpoint

    check(args)
    with waiting("exporting"):
        done = export_checkpoint(ExportSpec(args.checkpoint, args.out, args.limit), say)
    found = done.findings
    pictures = "with" if found["pictures"] else "without"
    print(
        f"{done.out}: {found['class']}, {found['parameters']:,} parameters in {found['tensors']} tensors "
        f"({', '.join(found['dtypes'])}), {pictures} a picture processor"
    )
    if args.card:
        from medix_verl.runs.model_card import write_model_card

        print(write_model_card(done, args.metrics))
    if args.score:
        score(done.out, args)
    if args.evaluate:
        evaluate(done.out, args)
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuse, before anything is done, what would fail after it.

    Raises:
        ConfigError: The flags do not fit together.
    """
    if args.limit <= 0:
        raise ConfigError(f"--limit is {args.limit:g}; give seconds above 0")
    if args.metrics is not None and not args.card:
        raise ConfigError("--metrics is for the model card; type --card too")
    if args.metrics is not None and not args.metrics.is_file():
        raise ConfigError(f"--metrics {args.metrics} is not there; give the file that verl's `file` logger wrote")
    if args.recipe is not None and args.score is None:
        raise ConfigError("--recipe is for --score; type --score FILE too")
    if args.recipe is not None:
        from medix_verl.cli.score_spec import recipe_reward
        from medix_verl.rewards.composite import CompositeReward
        from medix_verl.rewards.spec import RewardSpec

        CompositeReward(RewardSpec.from_mapping(recipe_reward(args.recipe)))  # makes the terms, and asks nobody
    if args.score is not None and not args.score.is_file():
        raise ConfigError(f"--score {args.score} is not there; give a parquet file (medix-verl prepare makes one)")
    if args.evaluate:
        from medix_verl.cli import evaluate as command
        from medix_verl.evaluation.judge_facts import judge_specs
        from medix_verl.evaluation.model_source import Model
        from medix_verl.evaluation.suite import askable

        spec = command.suite_of(Model(str(args.out)), evaluation_of(args.out, args))
        judge_specs(spec.judge)
        askable(spec, lambda line: None)
        command.check_extra()


def score(model: Path, args: argparse.Namespace) -> None:
    """Let the model answer a file's questions, and score the answers."""
    from medix_verl.cli import score as command
    from medix_verl.cli.answering import AnsweringSpec, answer_file

    answers, scores = (model.with_name(f"{model.name}.{name}.jsonl") for name in ("answers", "scores"))
    spec = AnsweringSpec(
        model, args.score, answers, args.prompt, tuple(shlex.split(args.serve_args)), max_tokens=args.max_tokens
    )
    log = model.with_name(f"{model.name}.server.log")
    say(f"serving {model}; the log is {log}")
    count = answer_file(spec, log)
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["score", str(answers), "--out", str(scores)]
    words += ["--semantic", args.semantic] if args.semantic else []
    words += ["--recipe", args.recipe] if args.recipe else []
    command.run(parser.parse_args([*words, *judge_words(args)]))
    print(f"{scores}: {count} answers, mean {means(scores)}")


def means(path: Path) -> str:
    """The mean score of a file of scores, and those of acc and of every term in it, each over what could be had."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    figures = part_metrics(rows, "")
    told = []
    for name in (key.split("/")[1] for key in figures if key.endswith("/valid")):
        mean, known = figures.get(f"/{name}/mean"), round(figures[f"/{name}/valid"] * len(rows))
        note = f"{len(rows) - known} unscored, and not in it" if name == "score" else f"of {known}"
        told.append(f"{name} {'none' if mean is None else f'{mean:.4f}'}" + f" ({note})" * (known < len(rows)))
    return ", ".join(told)


def evaluate(model: Path, args: argparse.Namespace) -> None:
    """Hand on to `medix-verl evaluate`."""
    from medix_verl.cli import evaluate as command

    command.run(evaluation_of(model, args))


def evaluation_of(model: Path, args: argparse.Namespace) -> argparse.Namespace:
    """The words of `medix-verl evaluate`."""
    from medix_verl.cli import evaluate as command

    parser = argparse.ArgumentParser(prog="medix-verl evaluate")
    command.add_arguments(parser)
    words = [str(model), "--tasks", *args.evaluate, "--out", str(model.with_name(f"{model.name}.evaluation"))]
    words += [*judge_words(args), "--prompt", args.prompt, "--max-tokens", str(args.max_tokens)]
    words += [f"--serve-args={args.serve_args}"] if args.serve_args else []
    return parser.parse_args([*words, *shlex.split(args.evaluate_args)])

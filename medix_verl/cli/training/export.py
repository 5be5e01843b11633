# SPDX-License-Identifier: Apache-2.0
"""Turn a checkpoint of a training run into a model's folder in Hugging Face's format, check it, measure it.

    medix-verl export CHECKPOINT --out DIR                    CHECKPOINT: a run's folder, its global_step_N, or actor
    medix-verl export CHECKPOINT --out DIR --card             and a short model card (README.md)
    medix-verl export CHECKPOINT --out DIR --score FILE       and the reward of its answers to a parquet file (--recipe)
    medix-verl export CHECKPOINT --out DIR --evaluate A,B     and `medix-verl evaluate DIR --tasks A,B`

verl's own merger merges the shards (FSDP and Megatron) in a separate process. The folder is renamed to DIR only when
every tensor of the model's class is present, has the right shape and is finite.

A checkpoint from another source may contain code: its files are pickles, which verl's merger would run. They are
loaded as tensors only; files that need more are reported and refused without --trust. The record of a run,
medix_run.json, does not prove who wrote a folder: anyone could have written it.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from medix_verl.cli.judge.judge_flags import add_judge_flags, judge_words
from medix_verl.cli.lines import say, waiting
from medix_verl.cli.lists import list_flag
from medix_verl.errors import ConfigError
from medix_verl.rewards.metrics import part_metrics

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a run's folder, global_step_N, or actor")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model's folder; must not be there")
    parser.add_argument("--limit", type=float, default=3600.0, metavar="S", help="seconds to merge (default: 3600)")
    trust = "run the code that the checkpoint brings (pickles, auto_map), where it cannot be exported without"
    parser.add_argument("--trust", action="store_true", help=trust)
    parser.add_argument("--card", action="store_true", help="write a model card (README.md) into DIR")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="verl's metrics file, for the card, if moved")
    group = parser.add_argument_group("measuring it; what is written goes beside DIR")
    group.add_argument("--score", type=Path, metavar="FILE", help="parquet file whose questions it answers")
    list_flag(group, "--evaluate", metavar="A,B", help="tasks of `medix-verl evaluate`")
    group.add_argument("--evaluate-args", default="", metavar="WORDS", help="further words for evaluate, in quotes")
    group.add_argument("--serve-args", default="", metavar="WORDS", help="further words for `vllm serve`, in quotes")
    group.add_argument("--prompt", metavar="NAME", help="template of the question (default: the training's, or medix)")
    group.add_argument("--max-tokens", type=int, default=4096, metavar="N", help="of an answer (default: 4096)")
    thinking = "whether the model's chat template opens the thinking (default: auto, from its tokenizer)"
    group.add_argument("--thinking", choices=("auto", "none", "open", "closed"), default="auto", help=thinking)
    group.add_argument("--recipe", metavar="NAME", help="of --score: terms, weights and judge of this recipe or list")
    group.add_argument("--semantic", choices=("on", "off"), help="of --score (default: on, or the recipe's)")
    add_judge_flags(group)
    parser.set_defaults(judge=None)


def run(args: argparse.Namespace) -> int:
    """Export, then measure.

    Raises:
        ConfigError: The flags cannot be combined.
    """
    from medix_verl.runs.checkpoints.export import ExportSpec, export_checkpoint
    from medix_verl.runs.checkpoints.model_card import write_model_card

    check(args)
    with waiting("exporting"):
        done = export_checkpoint(ExportSpec(args.checkpoint, args.out, args.limit, args.trust), say)
    found = done.findings
    pictures = "with" if found["pictures"] else "without"
    print(
        f"{done.out}: {found['class']}, {found['parameters']:,} parameters in {found['tensors']} tensors "
        f"({', '.join(found['dtypes'])}), {pictures} a picture processor"
    )
    if args.card:
        print(write_model_card(done, args.metrics))
    code = score(done.out, args) if args.score else 0
    if args.evaluate:
        evaluate(done.out, args)
    if args.card and args.evaluate:
        write_model_card(done, args.metrics, (evaluation_folder(done.out) / "table.md").read_text(encoding="utf-8"))
    return code


def evaluation_folder(model: Path) -> Path:
    """The folder for the evaluation of an exported model."""
    return model.with_name(f"{model.name}.evaluation")


def check(args: argparse.Namespace) -> None:
    """Refuse in advance what would fail after the export.

    Raises:
        ConfigError: The flags cannot be combined.
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
        from medix_verl.cli.scoring.score_spec import recipe_reward
        from medix_verl.rewards.composite import CompositeReward
        from medix_verl.rewards.spec import RewardSpec

        CompositeReward(RewardSpec.from_mapping(recipe_reward(args.recipe)))  # builds the terms, sends no requests
    if args.score is not None and not args.score.is_file():
        raise ConfigError(f"--score {args.score} is not there; give a parquet file (medix-verl prepare makes one)")
    if args.evaluate:
        from medix_verl.cli.evaluate import evaluate as command
        from medix_verl.evaluation.grading.judge_settings import judge_specs
        from medix_verl.evaluation.models.source import Model
        from medix_verl.evaluation.suite import askable

        words = evaluation_of(args.out, args)
        # The exported model was trained as its run's folder records.
        asked = command.asked_as(Model(str(args.checkpoint.resolve())), words)
        spec = command.suite_of(Model(str(args.out)), words, asked)
        judge_specs(spec.judge)
        askable(spec, lambda line: None)
        command.check_extra()


def score(model: Path, args: argparse.Namespace) -> int:
    """Let the model answer a file's questions, and score the answers; returns the exit status of `medix-verl score`."""
    from medix_verl.cli.evaluate.answering import AnsweringSpec, answer_file
    from medix_verl.cli.scoring import score as command
    from medix_verl.cli.scoring.score_spec import sees_pictures
    from medix_verl.evaluation.models.generation import GenerationSpec
    from medix_verl.evaluation.models.source import Model
    from medix_verl.evaluation.models.trained import as_trained
    from medix_verl.thinking import Thinking

    answers, scores = (model.with_name(f"{model.name}.{name}.jsonl") for name in ("answers", "scores"))
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["score", str(answers), "--out", str(scores)]
    words += ["--semantic", args.semantic] if args.semantic else []
    words += ["--recipe", args.recipe] if args.recipe else []
    words += ["--thinking", args.thinking] if args.thinking != "auto" else []
    scoring = parser.parse_args([*words, *judge_words(args)])
    asked = as_trained(Model(str(model)), args.prompt, args.thinking, GenerationSpec(max_tokens=args.max_tokens))
    for note in asked.notes:
        say(f"warning: {note}")
    spec = AnsweringSpec(
        *(model, args.score, answers, asked.template, tuple(shlex.split(args.serve_args))),
        generation=asked.generation,
        images=sees_pictures(scoring),
        thinking=Thinking(asked.thinking),
    )
    log = model.with_name(f"{model.name}.server.log")
    say(f"serving {model}; the log is {log}")
    count = answer_file(spec, log)
    code = command.run(scoring)
    if code == 0:
        print(f"{scores}: {count} answers, mean {means(scores)}")
    return code


def means(path: Path) -> str:
    """The mean score of a file of scores, and the means of acc and of every term, each over its available values."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    figures = part_metrics(rows, "")
    parts = []
    for name in (key.split("/")[1] for key in figures if key.endswith("/valid")):
        mean, known = figures.get(f"/{name}/mean"), round(figures[f"/{name}/valid"] * len(rows))
        note = f"{len(rows) - known} unscored, and not in it" if name == "score" else f"of {known}"
        parts.append(f"{name} {'none' if mean is None else f'{mean:.4f}'}" + f" ({note})" * (known < len(rows)))
    return ", ".join(parts)


def evaluate(model: Path, args: argparse.Namespace) -> None:
    """Run `medix-verl evaluate`."""
    from medix_verl.cli.evaluate import evaluate as command

    command.run(evaluation_of(model, args))


def evaluation_of(model: Path, args: argparse.Namespace) -> argparse.Namespace:
    """The arguments of `medix-verl evaluate`."""
    from medix_verl.cli.evaluate import evaluate as command

    parser = argparse.ArgumentParser(prog="medix-verl evaluate")
    command.add_arguments(parser)
    words = ["run", str(model), "--tasks", *args.evaluate, "--out", str(evaluation_folder(model))]
    words += [*judge_words(args), "--max-tokens", str(args.max_tokens)]
    words += ["--prompt", args.prompt] if args.prompt else []
    words += [f"--serve-args={args.serve_args}"] if args.serve_args else []
    words += ["--thinking", args.thinking]
    return parser.parse_args([*words, *shlex.split(args.evaluate_args)])

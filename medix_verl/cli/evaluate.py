# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on medical tasks, with the parser, the prompts and the judge of the training reward.

    medix-verl evaluate --list                                 the tasks: size, metric, licence, credential
    medix-verl evaluate MODEL --tasks all|llm|vlm|NAME...      MODEL: a hub id, a checkpoint's folder, or a server's URL
    medix-verl evaluate rejudge DIR --judge openai ...         judge again, without generating again
    medix-verl evaluate compare A B                            two evaluations of the same tasks, paired
    medix-verl evaluate export DIR --out FOLDER                the published leaderboard's files

A killed run goes on with --resume and repeats only what was under way. Answers that could not be judged are counted
beside every figure and are in none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.cli.judge_flags import add_judge_flags, given_settings
from medix_verl.cli.lines import say
from medix_verl.cli.sources import read_sources
from medix_verl.errors import ConfigError

if TYPE_CHECKING:
    from medix_verl.evaluation.model_source import Model
    from medix_verl.evaluation.suite import SuiteSpec
    from medix_verl.evaluation.tasks import TaskSpec

__all__ = ["add_arguments", "run"]

OTHERS = ("compare", "export", "rejudge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    # What lets credentialed data out must be typed in full.
    parser.allow_abbrev = False
    parser.add_argument("words", nargs="*", metavar="MODEL", help="or: compare A B, rejudge DIR, export DIR")
    parser.add_argument("--list", action="store_true", help="show the tasks and end")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="all, llm, vlm, published, or names of tasks")
    parser.add_argument("--without", nargs="+", metavar="NAME", default=[], help="tasks to leave out")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: outputs/evaluation/MODEL")
    parser.add_argument("--resume", action="store_true", help="go on with the evaluation in --out")
    parser.add_argument("--limit", type=int, metavar="N", help="questions of each task, chosen by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", choices=("real", "blank", "shuffled"), default="real", help="what is shown")
    parser.add_argument("--prompt", default="medix", metavar="NAME", help="template of the question (default: medix)")
    parser.add_argument(
        "--sources", "--source", nargs="+", default=[], metavar="TASK=PATH", help="local copies; or FILE.json, or DIR"
    )
    add_judging(parser)
    add_serving(parser)


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Declare who judges, and what may leave the machine."""
    group = parser.add_argument_group("judging")
    add_judge_flags(group, panel=True)
    group.add_argument("--protocol", choices=("published", "robust"), default="published", help="default: published")
    group.add_argument("--rounds", type=int, metavar="K", help="votes of a judge (default: 3)")
    group = parser.add_argument_group("credentialed data (MIMIC-CXR)")
    group.add_argument("--local-network", action="append", default=[], metavar="CIDR", help="private network to trust")
    group.add_argument("--allow-remote-credentialed", action="store_true", help="send it to remote addresses")


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Declare how the model is served and asked."""
    group = parser.add_argument_group("the model")
    group.add_argument("--model-name", metavar="NAME", help="of a server that lists several")
    group.add_argument("--api-key-env", metavar="VARIABLE", help="environment variable with the server's API key")
    group.add_argument("--serve-args", default="", metavar="WORDS", help="further words for `vllm serve`, in quotes")
    group.add_argument("--load-limit", type=float, default=1800.0, metavar="S", help="seconds to load (default: 1800)")
    group.add_argument("--max-tokens", type=int, default=4096, metavar="N", help="of an answer (default: 4096)")
    group.add_argument("--timeout", type=float, default=600.0, metavar="S", help="of one attempt (default: 600)")
    group.add_argument("--connections", type=int, default=64, metavar="N", help="questions at once (default: 64)")


def run(args: argparse.Namespace) -> int:
    """Run one of the commands.

    Raises:
        ConfigError: The words do not fit together.
    """
    from medix_verl.evaluation.tasks import tasks

    if args.list:
        print("\n".join(listing(list(tasks().values()))))
        return 0
    words = args.words
    if words and words[0] in OTHERS:
        return run_other(words[0], words[1:], args)
    if len(words) != 1:
        got = "no MODEL" if not words else f"{len(words)} words where one MODEL goes: {' '.join(words)}"
        raise ConfigError(f"got {got}; type: medix-verl evaluate MODEL --tasks NAME..., or --list")
    if not args.tasks:
        raise ConfigError("got no --tasks; type --tasks all, llm, vlm, or names (medix-verl evaluate --list)")
    return evaluate(words[0], args)


def listing(shown: Sequence[TaskSpec]) -> list[str]:
    """The lines of --list."""
    head = ("task", "size", "type", "answers", "metric", "licence", "credential")
    rows = [
        (
            task.name,
            "?" if task.size is None else str(task.size),
            "image" if task.pictures else "text",
            "+".join(task.answer_types),
            task.metric,
            task.licence,
            task.credential or "-",
        )
        for task in shown
    ]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
    return [*lines, f"{len(rows)} tasks; those with a name of the published table are the group `published`"]


def evaluate(model_word: str, args: argparse.Namespace) -> int:
    """Evaluate a model."""
    import shlex

    check_extra()
    from medix_verl.evaluation.model_source import read_model
    from medix_verl.evaluation.suite import run_suite

    extra = shlex.split(args.serve_args)
    model = read_model(model_word, args.model_name, args.api_key_env, args.load_limit, extra)
    spec = suite_of(model, args)
    run_suite(spec, say)
    print((spec.out / "table.md").read_text(encoding="utf-8"), end="")
    return 0


def suite_of(model: Model, args: argparse.Namespace) -> SuiteSpec:
    """What the flags say of evaluating a model.

    Raises:
        ConfigError: They do not fit together.
    """
    from medix_verl.evaluation.assemble import TaskChoices
    from medix_verl.evaluation.suite import SuiteSpec
    from medix_verl.evaluation.task_run import Limits

    return SuiteSpec(
        model=model,
        tasks=chosen_tasks(args),
        out=args.out or Path("outputs/evaluation") / file_name(model.name),
        judge=judge_settings(args),
        protocol=protocol_of(args),
        choices=TaskChoices(args.limit, args.seed, args.protocol, args.prompt, args.images),
        sources=read_sources(args.sources),
        limits=Limits(args.max_tokens, args.timeout, connections=args.connections),
        networks=tuple(args.local_network),
        allow_remote=args.allow_remote_credentialed,
        resume=args.resume,
    )


def chosen_tasks(args: argparse.Namespace) -> tuple[TaskSpec, ...]:
    """The tasks that the flags name."""
    from medix_verl.evaluation.tasks import select

    left_out = {task.name for name in args.without for task in select([name])}
    chosen = tuple(task for task in select(args.tasks) if task.name not in left_out)
    if not chosen:
        raise ConfigError("--without leaves no task; name fewer")
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit is {args.limit}; give 1 or more, or leave it out for all questions")
    return chosen


def file_name(text: str) -> str:
    """A model's name as a folder's."""
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in text)


def check_extra() -> None:
    """Refuse to begin where the extra is not installed.

    Raises:
        SetupError: It is not.
    """
    from importlib.util import find_spec

    from medix_verl.errors import SetupError

    if find_spec("inspect_ai") is None:
        raise SetupError(
            "evaluation needs the extra `eval` (Python 3.11 or newer); type: pip install 'medix-verl[eval]'"
        )


def judge_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The judge's settings for medix_verl.evaluation.judge_facts.judge_specs."""
    given = given_settings(args)
    if args.judge != "rule" and args.protocol == "robust":
        given.pop("swap", None)  # It is the protocol's.
    return {"kind": args.judge, **given}


def protocol_of(args: argparse.Namespace) -> Any:
    """The protocol that the flags name."""
    from medix_verl.evaluation.protocol_spec import ProtocolSpec

    swap = {} if args.judge_swap is None else {"swap": args.judge_swap}
    return ProtocolSpec(args.protocol, rounds=args.rounds, **swap)


def run_other(command: str, words: Sequence[str], args: argparse.Namespace) -> int:
    """Run compare, export or rejudge.

    Raises:
        ConfigError: The number of folders is not the command's.
    """
    needed = 2 if command == "compare" else 1
    if len(words) != needed:
        usage = {"compare": "compare A B", "export": "export DIR --out FOLDER", "rejudge": "rejudge DIR --judge ..."}
        raise ConfigError(f"{command} got {len(words)} folders; type: medix-verl evaluate {usage[command]}")
    if command == "rejudge":
        return rejudge_folder(Path(words[0]), args)
    if command == "compare":
        from medix_verl.cli.compare import compare_folders

        return compare_folders(Path(words[0]), Path(words[1]), args)
    return export_folder(Path(words[0]), args.out, args.tasks)


def export_folder(folder: Path, out: Path | None, names: Sequence[str] | None) -> int:
    """Write an evaluation in the published leaderboard's layout."""
    from medix_verl.evaluation.export import export_evaluation
    from medix_verl.evaluation.results import read_evaluation

    if out is None:
        raise ConfigError(f"export needs a folder to write to; type: medix-verl evaluate export {folder} --out FOLDER")
    found = export_evaluation(read_evaluation(folder), out, names)
    for path in found.files:
        print(path)
    told = f"{found.answers} answers of {len(found.tasks)} tasks"
    told += (
        f"; {found.without_score} have no score and are in {found.files[0].name} only" if found.without_score else ""
    )
    told += f"; {found.refused} rows of their sources were refused and never asked" if found.refused else ""
    say(f"{told}; tasks not written: {', '.join(found.left_out)}" if found.left_out else told)
    return 0


def rejudge_folder(folder: Path, args: argparse.Namespace) -> int:
    """Judge an evaluation again, into another folder."""
    check_extra()
    from medix_verl.evaluation.rejudge import RejudgeSpec, rejudge

    named = file_name(args.judge_model or args.judge)
    spec = RejudgeSpec(
        source=folder,
        out=args.out or folder.with_name(f"{folder.name}-{named}-{args.protocol}"),
        judge=judge_settings(args),
        protocol=protocol_of(args),
        networks=tuple(args.local_network),
        allow_remote=args.allow_remote_credentialed,
        resume=args.resume,
    )
    rejudge(spec, say)
    print((spec.out / "table.md").read_text(encoding="utf-8"), end="")
    return 0

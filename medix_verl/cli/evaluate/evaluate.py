# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on medical tasks, with the parser, the prompts and the judge of the training reward.

    medix-verl evaluate list                                   the tasks: size, metric, licence, credential
    medix-verl evaluate run MODEL --tasks all|llm|vlm|A,B      MODEL: a hub id, a folder, a run, or a server's URL
    medix-verl evaluate rejudge DIR --judge openai ...         judge again, without generating again
    medix-verl evaluate compare A B                            two evaluations of the same tasks, paired
    medix-verl evaluate leaderboard DIR... [--out FILE.html]   any number of evaluations; also .md, .tex, .csv
    medix-verl evaluate export DIR --out FOLDER                the published leaderboard's files, or --format lm-eval

`run` may be left out. NAME is a task of the list, a name that `medix-verl prepare` uses, a file of own tasks
(mine.yaml) or a table (own:questions.csv). --resume continues a killed run and repeats only unfinished work.
Unscored answers are excluded from every figure and counted next to it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.cli.evaluate.generation_flags import add_generation_flags, generation_of
from medix_verl.cli.evaluate.sources import read_sources
from medix_verl.cli.judge.judge_flags import add_judge_flags, given_settings
from medix_verl.cli.lines import say
from medix_verl.cli.lists import list_flag
from medix_verl.errors import ConfigError

if TYPE_CHECKING:
    from medix_verl.evaluation.grading.text_metrics import TextMetrics
    from medix_verl.evaluation.models.source import Model
    from medix_verl.evaluation.models.trained import Asked
    from medix_verl.evaluation.stats.costs import Prices
    from medix_verl.evaluation.stats.missing import Counting
    from medix_verl.evaluation.suite import SuiteSpec
    from medix_verl.evaluation.tasks.table import TaskSpec

__all__ = ["SUBCOMMANDS", "add_arguments", "run"]

FORMATS = ("medix", "lm-eval")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    made = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (about, add) in SUBCOMMANDS.items():
        # Flags that allow credentialed data to be sent elsewhere must be typed in full.
        add(made.add_parser(name, help=about, description=about, allow_abbrev=False))


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `run`."""
    parser.set_defaults(action=run_model)
    parser.add_argument("words", nargs="*", metavar="MODEL", help="a hub id, a checkpoint's folder, or a server's URL")
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)
    names = "all, llm, vlm, published, names of tasks or of sets, mine.yaml, own:TABLE"
    list_flag(parser, "--tasks", metavar="A,B", help=names)
    list_flag(parser, "--without", metavar="A,B", help="tasks to leave out")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: outputs/evaluation/MODEL")
    parser.add_argument("--resume", action="store_true", help="go on with the evaluation in --out")
    parser.add_argument("--limit", type=int, metavar="N", help="questions of each task, chosen by --seed")
    parser.add_argument("--seed", type=int, default=0)
    examples = "solved examples before each question, of the train or val split of the same source (default: 0)"
    parser.add_argument("--few-shot", type=int, default=0, metavar="N", help=examples)
    parser.add_argument("--images", choices=("real", "blank", "shuffled"), default="real", help="what is shown")
    parser.add_argument("--prompt", metavar="NAME", help="template of the question (default: the training's, or medix)")
    copies = "local copies, with commas between them; or FILE.json, or DIR"
    list_flag(parser, "--sources", "--source", metavar="TASK=PATH", help=copies)
    parser.add_argument("--format", choices=FORMATS, default="medix", help=argparse.SUPPRESS)
    add_counting(parser)
    add_figures(parser)
    add_judging(parser)
    add_serving(parser)
    add_generation_flags(parser)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `compare`."""
    parser.set_defaults(action=compare_two)
    parser.add_argument("words", nargs="+", metavar="DIR", help="A and B; the difference is B minus A")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the comparison as JSON, into a file")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")


def add_rejudge(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `rejudge`."""
    parser.set_defaults(action=rejudge_one)
    parser.add_argument("words", nargs="+", metavar="DIR", help="an evaluation's folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: beside it")
    parser.add_argument("--resume", action="store_true", help="go on with the judging in --out")
    add_counting(parser)
    add_prices(parser.add_argument_group("further figures"))
    add_judging(parser)


def add_leaderboard(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `leaderboard`."""
    parser.set_defaults(action=leaderboard)
    parser.add_argument("words", nargs="+", metavar="DIR", help="evaluations' folders")
    ending = "a file, whose ending says in which form: .html, .md, .tex, .csv; default: Markdown to the terminal"
    parser.add_argument("--out", type=Path, metavar="FILE", help=ending)
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `export`."""
    parser.set_defaults(action=export_one)
    parser.add_argument("words", nargs="+", metavar="DIR", help="an evaluation's folder")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write")
    list_flag(parser, "--tasks", default=None, metavar="A,B", help="default: those of the published average")
    layout = "the published leaderboard's (default), or lm-evaluation-harness's results_*.json"
    parser.add_argument("--format", choices=FORMATS, default="medix", help=layout)


def add_list(parser: argparse.ArgumentParser) -> None:
    """Declare the flag of `list`."""
    parser.set_defaults(action=list_tasks)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


SUBCOMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "run": ("evaluate a model; `run` may be left out", add_run),
    "list": ("show the tasks", add_list),
    "compare": ("compare two evaluations of the same tasks, paired", add_compare),
    "rejudge": ("judge an evaluation again, without generating again", add_rejudge),
    "leaderboard": ("put any number of evaluations side by side", add_leaderboard),
    "export": ("write the files of the published leaderboard, or of lm-evaluation-harness", add_export),
}
"""Name -> its help line, and the function that declares its flags."""


def add_counting(parser: argparse.ArgumentParser) -> None:
    """Declare how questions without a score change a figure."""
    most = "of a task's questions without a score; above it the task has bounds and no figure, and the run ends with 1"
    wrong = "questions without a score: bounds (default), or wrong, which counts them as such"
    parser.add_argument("--max-unscored", type=float, metavar="SHARE", help=f"share {most} (default: 0.02)")
    parser.add_argument("--errors", choices=("bounds", "wrong"), default="bounds", help=wrong)


def add_figures(parser: argparse.ArgumentParser) -> None:
    """Declare what is measured and reported in addition to the scores."""
    group = parser.add_argument_group("further figures")
    metrics = "of reports, in no average: rouge_l (default), bertscore, ratescore, radgraph, chexbert, green"
    list_flag(group, "--report-metrics", nargs="*", metavar="A,B", default=["rouge_l"], help=metrics)
    group.add_argument("--bertscore-model", metavar="NAME", help="encoder of bertscore: a hub id or a folder")
    shuffle = "ask each choice in all rotations of its options, or in K; the table has how often the choice stays"
    group.add_argument("--shuffle-options", nargs="?", type=int, const=0, metavar="K", help=shuffle)
    add_prices(group)
    group.add_argument("--wandb", metavar="PROJECT", help="log figures, and samples of open tasks, to Weights & Biases")


def add_prices(group: Any) -> None:
    """Declare the token prices."""
    for who, whose in (("", "the model"), ("judge-", "the judge")):
        group.add_argument(f"--{who}price-in", type=float, metavar="P", help=f"of a million tokens to {whose}")
        group.add_argument(f"--{who}price-out", type=float, metavar="P", help=f"of a million tokens from {whose}")


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Declare the judge, and what may be sent off this machine."""
    group = parser.add_argument_group("judging")
    add_judge_flags(group)
    group.add_argument("--protocol", choices=("published", "robust"), default="published", help="default: published")
    group.add_argument("--rounds", type=int, metavar="K", help="votes of a judge (default: 3)")
    thinking = "whether the chat template opens the thinking (default: auto, from the training or the tokenizer)"
    group.add_argument("--thinking", choices=("auto", "none", "open", "closed"), default="auto", help=thinking)
    group = parser.add_argument_group("credentialed data (MIMIC-CXR)")
    list_flag(group, "--local-network", nargs=None, metavar="CIDR,CIDR", help="private networks to trust")
    group.add_argument("--allow-remote-credentialed", action="store_true", help="send it to remote addresses")


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Declare how the model is served and asked."""
    group = parser.add_argument_group("the model")
    group.add_argument("--model-name", metavar="NAME", help="of a server that lists several")
    group.add_argument("--api-key-env", metavar="VARIABLE", help="environment variable with the server's API key")
    group.add_argument("--serve-args", default="", metavar="WORDS", help="further words for `vllm serve`, in quotes")
    group.add_argument("--load-limit", type=float, default=1800.0, metavar="S", help="seconds to load (default: 1800)")
    group.add_argument("--timeout", type=float, default=600.0, metavar="S", help="of one attempt (default: 600)")
    group.add_argument("--connections", type=int, default=64, metavar="N", help="questions at once (default: 64)")


def run(args: argparse.Namespace) -> int:
    """Run one of the subcommands.

    Raises:
        ConfigError: The words cannot be combined.
    """
    status: int = args.action(args)
    return status


def list_tasks(args: argparse.Namespace) -> int:
    """Show the tasks, including those of other packages, and which of those cannot be used."""
    from medix_verl.evaluation.tasks.table import offered, offered_names, tasks

    shown, torn = list(tasks().values()), list[str]()
    for name in offered_names():
        try:
            shown.append(offered(name))
        except ConfigError as error:
            torn.append(f"{name}: cannot be used: {error}")
    if getattr(args, "json", False):  # the older `evaluate --list` has no such flag
        print(json.dumps({"tasks": [asdict(task) for task in shown], "unusable": torn}, default=str))
    else:
        print("\n".join([*listing(shown), *torn]))
    return 0


def run_model(args: argparse.Namespace) -> int:
    """Evaluate a model; older spellings, with flags before the subcommand's name, are dispatched to that subcommand."""
    others = {"compare": compare_two, "rejudge": rejudge_one, "export": export_one, "leaderboard": leaderboard}
    words = args.words
    if args.list:
        return list_tasks(args)
    if words and words[0] in others:
        return others[words[0]](argparse.Namespace(**{**vars(args), "words": words[1:]}))
    if len(words) != 1:
        got = "no MODEL" if not words else f"{len(words)} words where one MODEL goes: {' '.join(words)}"
        raise ConfigError(f"got {got}; type: medix-verl evaluate run MODEL --tasks A,B, or medix-verl evaluate list")
    if not args.tasks:
        raise ConfigError("got no --tasks; type --tasks all, llm, vlm, or names (medix-verl evaluate list)")
    return evaluate(words[0], args)


def listing(shown: Sequence[TaskSpec]) -> list[str]:
    """The lines of the task list."""
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


def evaluate(word: str, args: argparse.Namespace) -> int:
    """Evaluate a model."""
    import shlex

    check_extra()
    from medix_verl.cli.evaluate.run_model import model_word
    from medix_verl.evaluation.models.source import read_model
    from medix_verl.evaluation.reports.wandb_log import check_wandb, log_evaluation
    from medix_verl.evaluation.store.read import read_evaluation
    from medix_verl.evaluation.suite import run_suite

    extra = shlex.split(args.serve_args)
    model = read_model(model_word(word), args.model_name, args.api_key_env, args.load_limit, extra)
    asked = asked_as(model, args)
    spec = suite_of(model, args, asked)
    if args.wandb is not None:
        check_wandb()
    run_suite(spec, say)
    if args.wandb is not None:
        say(f"logged to {log_evaluation(read_evaluation(spec.out), args.wandb)}")
    print((spec.out / "table.md").read_text(encoding="utf-8"), end="")
    return 0


def counting_of(args: argparse.Namespace) -> Counting:
    """How the flags count questions without a score.

    Raises:
        ConfigError: The share is not valid.
    """
    from medix_verl.evaluation.stats.missing import Counting

    given = {} if args.max_unscored is None else {"max_unscored": args.max_unscored}
    return Counting(errors=args.errors, **given)


def asked_as(model: Model, args: argparse.Namespace) -> Asked:
    """How the model is asked: as the flags say, otherwise as it was trained."""
    from medix_verl.evaluation.models.trained import as_trained

    return as_trained(model, args.prompt, args.thinking, generation_of(args))


def suite_of(model: Model, args: argparse.Namespace, asked: Asked) -> SuiteSpec:
    """The evaluation that the flags describe.

    Raises:
        ConfigError: The flags cannot be combined.
    """
    from medix_verl.evaluation.assemble import TaskChoices
    from medix_verl.evaluation.suite import SuiteSpec
    from medix_verl.evaluation.task_run import Limits

    tasks = chosen_tasks(args)
    return SuiteSpec(
        model=model,
        tasks=tasks,
        out=args.out or Path("outputs/evaluation") / file_name(model.name),
        judge=judge_settings(args),
        protocol=protocol_of(args, asked.thinking),
        choices=TaskChoices(
            args.limit, args.seed, args.protocol, asked.template, args.images, args.few_shot, rotations_of(args)
        ),
        sources=read_sources(args.sources, tasks),
        generation=asked.generation,
        limits=Limits(args.timeout, connections=args.connections),
        counting=counting_of(args),
        text_metrics=text_metrics_of(args),
        prices=prices_of(args),
        networks=tuple(args.local_network),
        allow_remote=args.allow_remote_credentialed,
        resume=args.resume,
        notes=asked.notes,
    )


def rotations_of(args: argparse.Namespace) -> int | None:
    """How many rotations of the options are asked; 0 for all, None for no rotation."""
    count: int | None = args.shuffle_options
    if count is not None and (count < 0 or count == 1):
        raise ConfigError(f"--shuffle-options is {count}; give 2 or more, or no number for all rotations")
    return count


def text_metrics_of(args: argparse.Namespace) -> TextMetrics:
    """The metrics of reports that the flags name."""
    from medix_verl.evaluation.grading.text_metrics import TextMetrics

    named = {} if args.bertscore_model is None else {"encoder": args.bertscore_model}
    return TextMetrics(tuple(dict.fromkeys(args.report_metrics)), **named)


def prices_of(args: argparse.Namespace) -> Prices:
    """The prices that the flags name."""
    from medix_verl.evaluation.stats.costs import Prices

    return Prices.of((args.price_in, args.price_out), (args.judge_price_in, args.judge_price_out))


def chosen_tasks(args: argparse.Namespace) -> tuple[TaskSpec, ...]:
    """The tasks that the flags name."""
    from medix_verl.evaluation.tasks.table import select

    def members(name: str) -> list[str]:
        return [task.name for task in select([name])]

    named = select(args.tasks)
    own = {task.name for task in named}
    left_out = {task for name in args.without for task in ([name] if name in own else members(name))}
    chosen = tuple(task for task in named if task.name not in left_out)
    if not chosen:
        raise ConfigError("--without leaves no task; name fewer")
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit is {args.limit}; give 1 or more, or leave it out for all questions")
    return chosen


def file_name(text: str) -> str:
    """A model's name as a folder name."""
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in text)


def check_extra() -> None:
    """Check that the extra `eval` is installed.

    Raises:
        SetupError: It is not installed.
    """
    from importlib.util import find_spec

    from medix_verl.errors import SetupError

    if find_spec("inspect_ai") is None:
        raise SetupError(
            "evaluation needs the extra `eval` (Python 3.11 or newer); type: pip install 'medix-verl[eval]'"
        )


def judge_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The judge's settings for medix_verl.evaluation.grading.judge_settings.judge_specs."""
    given = given_settings(args)
    if args.judge != "rule" and args.protocol == "robust":
        given.pop("swap", None)  # the protocol sets it
    return {"kind": args.judge, **given}


def protocol_of(args: argparse.Namespace, thinking: str = "none") -> Any:
    """The protocol that the flags name."""
    from medix_verl.evaluation.grading.spec import ProtocolSpec

    swap = {} if args.judge_swap is None else {"swap": args.judge_swap}
    return ProtocolSpec(args.protocol, rounds=args.rounds, thinking=thinking, **swap)


def folders(args: argparse.Namespace, count: int, usage: str) -> list[Path]:
    """The folders given to a subcommand.

    Raises:
        ConfigError: The number of folders is not `count`.
    """
    if len(args.words) != count:
        name = usage.split()[0]
        raise ConfigError(f"{name} got {len(args.words)} folders; type: medix-verl evaluate {usage}")
    return [Path(word) for word in args.words]


def compare_two(args: argparse.Namespace) -> int:
    """Compare two evaluations."""
    from medix_verl.cli.evaluate.compare import compare_folders

    a, b = folders(args, 2, "compare A B")
    return compare_folders(a, b, args)


def rejudge_one(args: argparse.Namespace) -> int:
    """Judge an evaluation again."""
    (folder,) = folders(args, 1, "rejudge DIR --judge ...")
    return rejudge_folder(folder, args)


def export_one(args: argparse.Namespace) -> int:
    """Export an evaluation."""
    (folder,) = folders(args, 1, "export DIR --out FOLDER")
    if args.out is None:
        raise ConfigError(f"export needs a folder to write to; type: medix-verl evaluate export {folder} --out FOLDER")
    if args.format == "lm-eval":
        return export_lm_eval(folder, args.out, args.tasks)
    return export_folder(folder, args.out, args.tasks)


def leaderboard(args: argparse.Namespace) -> int:
    """Write a leaderboard of evaluations."""
    return write_leaderboard([Path(word) for word in args.words], args.out, args.seed)


def write_leaderboard(folders: Sequence[Path], out: Path | None, seed: int) -> int:
    """Write a leaderboard: to a file in the format of its ending, or as Markdown to the terminal."""
    from medix_verl.cli.lines import waiting
    from medix_verl.evaluation.reports.leaderboard import FORMATS, build_board
    from medix_verl.report.leaderboard_page import render_page
    from medix_verl.runtime.files import write_text

    suffix = ".md" if out is None else out.suffix
    if suffix not in (".html", *FORMATS):
        raise ConfigError(f"got --out {out}; give a name that ends in .html, {', '.join(FORMATS)}")
    with waiting("comparing the answers"):
        board = build_board(folders, seed)
        text = render_page(board) if suffix == ".html" else FORMATS[suffix](board)
    if out is None:
        print(text, end="")
        return 0
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    print(f"{out}: {len(board.rows)} evaluations, {len(board.tasks)} tasks")
    return 0


def export_lm_eval(folder: Path, out: Path, names: Sequence[str] | None) -> int:
    """Write an evaluation in the layout of lm-evaluation-harness."""
    from medix_verl.evaluation.reports.lm_eval_layout import export_results
    from medix_verl.evaluation.store.read import read_evaluation

    found = export_results(read_evaluation(folder), out, names)
    for path in found.files:
        print(path)
    if found.without_samples:
        say(f"only figures of {', '.join(found.without_samples)}: credentialed or unknown, so no text of it is written")
    return 0


def export_folder(folder: Path, out: Path, names: Sequence[str] | None) -> int:
    """Write an evaluation in the published leaderboard's layout."""
    from medix_verl.evaluation.reports.medix_layout import export_evaluation
    from medix_verl.evaluation.store.read import read_evaluation

    found = export_evaluation(read_evaluation(folder), out, names)
    for path in found.files:
        print(path)
    line = f"{found.answers} answers of {len(found.tasks)} tasks"
    line += (
        f"; {found.without_score} have no score and are in {found.files[0].name} only" if found.without_score else ""
    )
    line += f"; {found.refused} rows of their sources were refused and never asked" if found.refused else ""
    say(f"{line}; tasks not written: {', '.join(found.left_out)}" if found.left_out else line)
    return 0


def thinking_before(folder: Path) -> str:
    """The thinking mode recorded by the evaluation that is judged again."""
    from medix_verl.evaluation.store.manifest import read_manifest

    return str(read_manifest(folder)["protocol"].get("thinking", "none"))


def rejudge_folder(folder: Path, args: argparse.Namespace) -> int:
    """Judge an evaluation again, into another folder."""
    check_extra()
    from medix_verl.evaluation.rejudge import RejudgeSpec, rejudge

    named = file_name(args.judge_model or args.judge)
    spec = RejudgeSpec(
        source=folder,
        out=args.out or folder.with_name(f"{folder.name}-{named}-{args.protocol}"),
        judge=judge_settings(args),
        protocol=protocol_of(args, args.thinking if args.thinking != "auto" else thinking_before(folder)),
        counting=counting_of(args),
        prices=prices_of(args),
        networks=tuple(args.local_network),
        allow_remote=args.allow_remote_credentialed,
        resume=args.resume,
    )
    rejudge(spec, say)
    print((spec.out / "table.md").read_text(encoding="utf-8"), end="")
    return 0

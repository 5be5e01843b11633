# SPDX-License-Identifier: Apache-2.0
# PYTHON_ARGCOMPLETE_OK
"""Runs `medix-verl COMMAND ...` and turns every error into one line; without a command it lists the commands.

The exit status is the command's own, or: 1 after an error, 2 for a wrong command line, 130 after Ctrl-C, 141 if the
reader of a pipe has exited (`| head`). Only the module of the chosen command is imported, so `medix-verl --help` is
fast and works if a dependency of one command is missing.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Container, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from types import ModuleType

from medix_verl.cli import completion
from medix_verl.cli.lines import EscapedOutput, escaped
from medix_verl.cli.os_errors import describe_os_error
from medix_verl.errors import MedixError
from medix_verl.evaluation.settings import as_flags
from medix_verl.secrets import scrub_text

__all__ = ["COMMANDS", "Command", "main"]

PROGRAM = "medix-verl"
CLI = "medix_verl.cli"


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its module and its help line."""

    module: str
    help: str
    default: str = ""
    """The subcommand used if none is given; the module lists them in SUBCOMMANDS."""


COMMANDS = {
    "doctor": Command(
        "medix_verl.cli.recipe.doctor", "check this machine; every line that is not ok says what to type"
    ),
    "demo": Command(f"{CLI}.training.demo", "train a tiny model end to end on the CPU and write a report"),
    "prepare": Command(f"{CLI}.data.prepare", "turn a data set into the parquet files that training reads"),
    "check": Command(f"{CLI}.data.check_data", "check a parquet file: unusable rows, duplicates, leaks"),
    "mix": Command(f"{CLI}.data.mix", "say what a mixture of parquet files gives to an epoch"),
    "score": Command(f"{CLI}.scoring.score", "score answers in a JSONL file with the training reward"),
    "evaluate": Command(
        f"{CLI}.evaluate.evaluate", "evaluate a model on medical tasks, compare two, judge one again", "run"
    ),
    "export": Command(
        "medix_verl.cli.training.export", "turn a checkpoint into a model's folder, check it, measure it"
    ),
    "report": Command(
        "medix_verl.cli.training.report", "write the report of a training run or an evaluation: one HTML page"
    ),
    "audit-judge": Command(
        "medix_verl.cli.judge.audit_judge", "say how far a judge can be trusted: agreement and attacks"
    ),
    "recipe": Command(f"{CLI}.recipe.recipe", "list, show, compare, begin, check, lock and share recipes"),
    "new": Command(f"{CLI}.recipe.new", "begin a package of your own: recipe, term, judge, prompts, data set, task"),
    "bench": Command(f"{CLI}.recipe.bench", "measure the answers a second of a recipe's judge, encoder or rollouts"),
    "calibrate": Command(
        "medix_verl.cli.judge.calibrate", "fit the soft semantic curve of an encoder to labelled pairs"
    ),
}


def main(argv: Sequence[str] | None = None, commands: dict[str, Command] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after the program's name; None takes them from the command line.
        commands: The table of commands; None means COMMANDS.

    Returns:
        The exit status; 0 only on success.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        run, args = _parse(words, COMMANDS if commands is None else commands)
        # EscapedOutput has the methods that print needs.
        with as_flags(), redirect_stdout(EscapedOutput(sys.stdout)):  # type: ignore[type-var]
            status = run(args)
        sys.stdout.flush()  # here and not at interpreter exit, so that a failure is reported as one line
        return status
    except KeyboardInterrupt:
        return _fail("interrupted", debug, status=130)
    except MedixError as error:
        return _fail(str(error), debug)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return 141
        return _fail(describe_os_error(error), debug)
    except Exception as error:  # noqa: BLE001 - every error is one line; --debug shows the traceback
        return _fail(f"{type(error).__name__}: {_one_line(error)}; --debug shows the traceback", debug)


def _parse(
    words: list[str], commands: dict[str, Command]
) -> tuple[Callable[[argparse.Namespace], int], argparse.Namespace]:
    typed = completion.line_typed() if completion.is_wanted() else words
    chosen = next((word for word in typed if not word.startswith("-")), None)
    if chosen is None and not set(typed) & {"-h", "--help", "--version"}:
        words = [*words, "--help"]  # the list of commands
    module = importlib.import_module(commands[chosen].module) if chosen in commands else None
    parser = _parser(chosen, module, commands)
    if completion.is_wanted():
        completion.complete(parser)
    if chosen is not None and module is None:
        parser.error(_unknown(chosen, commands))
    if module is not None and chosen is not None and commands[chosen].default:
        words = _with_subcommand(words, words.index(chosen) + 1, commands[chosen].default, module.SUBCOMMANDS)
    args = parser.parse_args(words)
    assert module is not None  # without a command parse_args has exited
    return module.run, args


def _parser(chosen: str | None, module: ModuleType | None, commands: dict[str, Command]) -> argparse.ArgumentParser:
    """The parser with every command's name, and the flags of the chosen command."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="MediX-R1's medical reinforcement learning on an unmodified verl.",
        epilog=f"{PROGRAM} COMMAND --help has the flags of a command.",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.items():
        if module is not None and name == chosen:
            _add(subparsers, name, command, module)
        else:
            subparsers.add_parser(name, help=command.help)
    return parser


def _add(subparsers: argparse._SubParsersAction, name: str, command: Command, module: ModuleType) -> None:
    """Add the chosen command and its options, by the module's `add_arguments(parser)` or `add_parser(subparsers)`."""
    if hasattr(module, "add_arguments"):
        subparser = subparsers.add_parser(name, help=command.help, description=module.__doc__)
        subparser.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_arguments(subparser)
    else:
        module.add_parser(subparsers)
        subparser = subparsers.choices[name]
    # Accepted before and after the command; SUPPRESS keeps this default from resetting the other to False.
    subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


def _with_subcommand(words: list[str], place: int, default: str, known: Container[str]) -> list[str]:
    """Insert the default subcommand if none is given, and remove `--debug`, which is already handled."""
    left = [word for word in words[place:] if word != "--debug"]
    named = bool(left) and (left[0] in known or left[0] in ("-h", "--help"))
    return [*words[:place], *([] if named else [default]), *left]


def _unknown(chosen: str, commands: dict[str, Command]) -> str:
    close = difflib.get_close_matches(chosen, commands, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"unknown command '{chosen}': {hint}the commands are {', '.join(commands)}; type {PROGRAM} --help"


def _reader_is_gone() -> bool:
    """Whether the reader of standard output has exited, such as `head`; another pipe may have caused the error."""
    import select

    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        gone = any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError):  # no poll on this system, or an output without a file descriptor
        return False
    if gone:
        # The interpreter flushes once more at exit.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return gone


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"


def _fail(message: str, debug: bool, status: int = 1) -> int:
    if debug:
        import traceback

        print(escaped(scrub_text(traceback.format_exc())), file=sys.stderr, end="")
    print(escaped(f"{PROGRAM}: error: {scrub_text(' '.join(message.split()))}"), file=sys.stderr)
    return status


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("medix-verl")
    except metadata.PackageNotFoundError:
        return "(not installed)"

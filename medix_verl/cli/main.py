# SPDX-License-Identifier: Apache-2.0
"""Dispatches `medix-verl COMMAND ...` and turns every error into one line.

The exit status is the command's own, or: 1 after an error, 2 after a wrong command line, 130 after Ctrl-C, 141 where
what it prints to has ended (`| head`). A command's module is imported only when the command is chosen, so `medix-verl
--help` costs nothing and works where a dependency of one command is missing.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

from medix_verl.cli.os_errors import describe_os_error
from medix_verl.errors import MedixError

__all__ = ["COMMANDS", "Command", "main"]

PROGRAM = "medix-verl"


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: where it lives, and its line in the help."""

    module: str
    help: str


COMMANDS = {
    "doctor": Command("medix_verl.cli.doctor", "check this machine; every line that is not ok says what to type"),
    "demo": Command("medix_verl.cli.demo", "train a tiny model end to end on the CPU and write a report"),
    "prepare": Command("medix_verl.cli.prepare", "turn a data set into the parquet files that training reads"),
    "check": Command("medix_verl.cli.check_data", "check a parquet file: unusable rows, duplicates, leaks"),
    "mix": Command("medix_verl.cli.mix", "say what a mixture of parquet files gives to an epoch"),
    "score": Command("medix_verl.cli.score", "score answers in a JSONL file with the training reward"),
    "evaluate": Command("medix_verl.cli.evaluate", "evaluate a model on medical tasks, compare two, judge one again"),
    "export": Command("medix_verl.cli.export", "turn a checkpoint into a model's folder, check it, measure it"),
    "report": Command("medix_verl.cli.report", "write the report of a training run or an evaluation: one HTML page"),
    "audit-judge": Command("medix_verl.cli.audit_judge", "say how far a judge can be trusted: agreement and attacks"),
    "recipe": Command("medix_verl.cli.recipe", "list, show, compare, begin and check recipes"),
    "calibrate": Command("medix_verl.cli.calibrate", "fit the soft semantic curve of an encoder to labelled pairs"),
}


def main(argv: Sequence[str] | None = None, commands: dict[str, Command] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; None takes them from the command line.
        commands: the table of commands; None is COMMANDS.

    Returns:
        The exit status; 0 only on success.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        run, args = _parse(words, COMMANDS if commands is None else commands)
        status = run(args)
        sys.stdout.flush()  # here, and not at the interpreter's end, so that what fails is one line like all else
        return status
    except KeyboardInterrupt:
        return _fail("interrupted", debug, status=130)
    except MedixError as error:
        return _fail(str(error), debug)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return 141
        return _fail(describe_os_error(error), debug)
    except Exception as error:  # noqa: BLE001 - the promise is one line for every error, with --debug for the rest
        return _fail(f"{type(error).__name__}: {_one_line(error)}; --debug shows the traceback", debug)


def _parse(
    words: list[str], commands: dict[str, Command]
) -> tuple[Callable[[argparse.Namespace], int], argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="MediX-R1's medical reinforcement learning on an unmodified verl."
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    if chosen is not None and chosen not in commands:
        parser.error(_unknown(chosen, commands))
    module = importlib.import_module(commands[chosen].module) if chosen is not None else None
    for name, command in commands.items():
        if module is not None and name == chosen:
            _add(subparsers, name, command, module)
        else:
            subparsers.add_parser(name, help=command.help)
    args = parser.parse_args(words)
    assert module is not None  # parse_args has ended the program where no command was given
    return module.run, args


def _add(subparsers: argparse._SubParsersAction, name: str, command: Command, module: ModuleType) -> None:
    """Add the chosen command with its options, offered as `add_arguments(parser)` or `add_parser(subparsers)`."""
    if hasattr(module, "add_arguments"):
        subparser = subparsers.add_parser(name, help=command.help, description=module.__doc__)
        subparser.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_arguments(subparser)
    else:
        module.add_parser(subparsers)
        subparser = subparsers.choices[name]
    # Accepted on either side of the command; SUPPRESS keeps this one from resetting the other to False.
    subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


def _unknown(chosen: str, commands: dict[str, Command]) -> str:
    close = difflib.get_close_matches(chosen, commands, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"unknown command '{chosen}': {hint}the commands are {', '.join(commands)}; type {PROGRAM} --help"


def _reader_is_gone() -> bool:
    """Whether standard output leads to a program that has ended, as `head` does; a pipe of ours may break as well."""
    import select

    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        gone = any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError):  # no poll on this system, or an output without a number
        return False
    if gone:
        # The interpreter flushes once more when it ends.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return gone


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"


def _fail(message: str, debug: bool, status: int = 1) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"{PROGRAM}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("medix-verl")
    except metadata.PackageNotFoundError:
        return "(not installed)"

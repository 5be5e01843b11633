# SPDX-License-Identifier: Apache-2.0
"""A list is `a,b` in every command; older spellings are still taken, and a file's name keeps its commas."""

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from medix_verl.cli.lists import list_flag
from medix_verl.cli.main import COMMANDS


def parsed(*words: str) -> list[str]:
    parser = argparse.ArgumentParser()
    list_flag(parser, "--tasks", default=["rouge_l"])
    return [str(item) for item in parser.parse_args(words).tasks]


@pytest.mark.parametrize(
    "words", [("--tasks", "a,b"), ("--tasks", "a", "b"), ("--tasks", "a, b,"), ("--tasks", "a", "--tasks", "b")]
)
def test_one_list_by_every_spelling(words: tuple[str, ...]) -> None:
    assert parsed(*words) == ["a", "b"]
    assert parsed() == ["rouge_l"]


def test_a_file_keeps_its_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a,b.csv").touch()
    assert parsed("--tasks", "a,b.csv") == ["a,b.csv"] and parsed("--tasks", "own:a,b.csv") == ["own:a,b.csv"]
    assert parsed("--tasks", "x=/p,q/r,y=/s") == ["x=/p,q/r", "y=/s"]
    assert parsed("--tasks", "x" * 5000 + ",b") == ["x" * 5000, "b"]


def flags_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from flags_of(child)


def test_no_command_has_a_list_or_json_of_another_spelling() -> None:
    """A flag with several words is a list; --json has no value: it prints an object, and --out names a file."""
    lists, json_with_a_value = [], []
    for name, command in COMMANDS.items():
        module, parser = importlib.import_module(command.module), argparse.ArgumentParser(prog=name)
        if hasattr(module, "add_arguments"):
            module.add_arguments(parser)
        else:
            module.add_parser(parser.add_subparsers())
        for action in flags_of(parser):
            if action.option_strings and action.nargs in ("+", "*") and "ListAction" not in type(action).__name__:
                lists.append(f"{name} {action.option_strings[0]}")
            if "--json" in action.option_strings and action.nargs != 0:
                json_with_a_value.append(name)
    # A text at which a model stops may be a comma.
    assert (lists, json_with_a_value) == (["evaluate --stop"], [])

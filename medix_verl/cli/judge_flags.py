# SPDX-License-Identifier: Apache-2.0
"""The flags that name a judge and say how it is asked, the same in every command that asks one while somebody waits."""

from __future__ import annotations

import argparse
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.judge.spec import STRUCTURES, check_kind

__all__ = [
    "add_credentialed_flags",
    "add_judge_flags",
    "credentialed_settings",
    "given_settings",
    "judge_settings",
    "judge_words",
]

OURS = ("rule", "openai")
"""The kinds of judge that a command can ask; verl serves its own inside a run only."""
SWITCHES = {
    "soft": "grade a verdict by the server's P(YES)",
    "swap": "ask a YES again with candidate and reference exchanged",
    "guard": "answer plain non-answers with NO instead of asking (default: yes)",
}
SETTINGS = ("url", "model", "api_key_env", "structured", "prompt", *SWITCHES)
"""Of JudgeSpec; the flag of each is --judge-NAME."""


def add_judge_flags(parser: Any, panel: bool = False) -> None:
    """Declare the flags.

    Args:
        parser: A parser or a group of one.
        panel: Whether several judges may be named.
    """
    model = "name of the judge model at that server" + ("; several with commas are a panel" if panel else "")
    structured = "how a reply is held to YES or NO: vLLM's choice (default), OpenAI's json_schema, or none"
    who = "who judges: rule (default), openai, or the name of a judge that an installed package offers"
    parser.add_argument("--judge", metavar="NAME", type=judge_kind, default="rule", help=who)
    parser.add_argument("--judge-url", metavar="URL", help="OpenAI-compatible server, as http://host:port/v1")
    parser.add_argument("--judge-model", metavar="NAME", help=model)
    parser.add_argument("--judge-api-key-env", metavar="VARIABLE", help="environment variable with the API key")
    parser.add_argument("--judge-structured", choices=STRUCTURES, help=structured)
    parser.add_argument("--judge-prompt", metavar="NAME", help="a prompt of the package, or the path of a .txt file")
    for name, text in SWITCHES.items():
        parser.add_argument(f"--judge-{name}", action=argparse.BooleanOptionalAction, default=None, help=text)


def judge_kind(text: str) -> str:
    """The value of --judge.

    Raises:
        ArgumentTypeError: There is no such judge.
    """
    try:
        check_kind("the judge", text, OURS)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def add_credentialed_flags(parser: argparse.ArgumentParser) -> None:
    """Declare what may see credentialed data, for commands whose input may have some."""
    group = parser.add_argument_group("credentialed data (MIMIC-CXR)")
    group.add_argument("--local-network", action="append", default=[], metavar="CIDR", help="private network to trust")
    group.add_argument("--allow-remote-credentialed", action="store_true", help="send it to a judge anywhere")


def credentialed_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What those flags change of a JudgeSpec; nothing where none was typed, so that a recipe's own setting stays."""
    settings: dict[str, Any] = {"local_networks": args.local_network} if args.local_network else {}
    return {**settings, "allow_credentialed": True} if args.allow_remote_credentialed else settings


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of a JudgeSpec that were typed, besides its kind."""
    return {name: value for name in SETTINGS if (value := getattr(args, f"judge_{name}")) is not None}


def judge_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The mapping of a JudgeSpec.

    The breaker is off: training waits minutes for a server to come back, and here somebody waits.

    Raises:
        ConfigError: The flags do not fit together.
    """
    given = given_settings(args)
    if args.judge == "openai":
        for name in ("url", "model"):
            if name not in given:
                raise ConfigError(f"--judge openai got no --judge-{name}; type --judge-url URL --judge-model NAME")
    elif given and args.judge in (None, "rule"):
        flag = f"--judge-{next(iter(given)).replace('_', '-')}"
        raise ConfigError(f"{flag} was given with --judge {args.judge or 'rule'}; type --judge openai to ask a server")
    return {"kind": args.judge or "rule", **given, "breaker": "off"}


def judge_words(args: argparse.Namespace) -> list[str]:
    """The flags as they were typed, to hand them on to another command."""
    words = [] if args.judge is None else ["--judge", args.judge]
    for name, value in given_settings(args).items():
        flag = f"--judge-{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--judge", "--no-judge"))
        else:
            words += [flag, value]
    return words

# SPDX-License-Identifier: Apache-2.0
"""The flags that select and configure a judge, the same in every interactive command that uses one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from medix_verl.cli.lists import list_flag
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
"""The built-in kinds of judge for commands; the kind `verl` is served only inside a run."""
SWITCHES = {
    "soft": "grade a verdict by the server's P(YES)",
    "swap": "ask a YES again with candidate and reference exchanged",
    "images": "show the judge the question's pictures (--judge-prompt pictures tells it so)",
    "guard": "answer plain non-answers with NO instead of asking (default: yes)",
    "use_proxies": "go through the proxies that the environment names (HTTP_PROXY, HTTPS_PROXY)",
}
SETTINGS = ("url", "model", "api_key_env", "structured", "prompt", "max_tokens", "extra_body", *SWITCHES)
"""Fields of JudgeSpec; the flag of each is --judge-NAME."""


def add_judge_flags(parser: Any) -> None:
    """Declare the flags.

    Args:
        parser: A parser or an argument group.
    """
    model = "name of the judge model at that server; several with commas are a panel"
    structured = "how a reply is held to YES or NO: vLLM's choice (default), OpenAI's json_schema, or none"
    who = "who judges: rule (default), openai, or the name of a judge that an installed package offers"
    parser.add_argument("--judge", metavar="NAME", type=judge_kind, default="rule", help=who)
    parser.add_argument(
        "--judge-url",
        metavar="URL",
        help="OpenAI-compatible server, as http://host:port/v1; of a panel one for all, or one for each",
    )
    parser.add_argument("--judge-model", metavar="NAME", help=model)
    parser.add_argument("--judge-api-key-env", metavar="VARIABLE", help="environment variable with the API key")
    parser.add_argument("--judge-structured", choices=STRUCTURES, help=structured)
    parser.add_argument("--judge-prompt", metavar="NAME", help="a prompt of the package, or the path of a .txt file")
    budget = "tokens of a reply, its thinking included (default: the few that a verdict needs)"
    parser.add_argument("--judge-max-tokens", metavar="N", type=int, help=budget)
    extra = """what else each request has, as '{"chat_template_kwargs": {"enable_thinking": false}}'"""
    parser.add_argument("--judge-extra-body", metavar="JSON", type=json_object, help=extra)
    for name, text in SWITCHES.items():
        parser.add_argument(
            f"--judge-{name.replace('_', '-')}", action=argparse.BooleanOptionalAction, default=None, help=text
        )


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


def json_object(text: str) -> dict[str, Any]:
    """The value of --judge-extra-body.

    Raises:
        ArgumentTypeError: It is not a JSON object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a JSON object; write it as '{{\"top_p\": 1}}'")
    return value


def add_credentialed_flags(parser: argparse.ArgumentParser) -> None:
    """Declare where credentialed data may be sent, for commands whose input may contain it."""
    group = parser.add_argument_group("credentialed data (MIMIC-CXR)")
    list_flag(group, "--local-network", nargs=None, metavar="CIDR,CIDR", help="private networks to trust")
    group.add_argument("--allow-remote-credentialed", action="store_true", help="send it to a judge anywhere")


def credentialed_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The JudgeSpec settings of those flags; empty if none was typed, so that a recipe's own setting stays."""
    settings: dict[str, Any] = {"local_networks": args.local_network} if args.local_network else {}
    return {**settings, "allow_credentialed": True} if args.allow_remote_credentialed else settings


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The JudgeSpec settings that were typed, without the kind."""
    return {name: value for name in SETTINGS if (value := getattr(args, f"judge_{name}")) is not None}


def judge_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The mapping of a JudgeSpec.

    The breaker is off: it waits minutes for a server to recover, which suits training but not an interactive command.

    Raises:
        ConfigError: The flags cannot be combined.
    """
    given = given_settings(args)
    if args.judge == "openai":
        for name in ("url", "model"):
            if name not in given:
                raise ConfigError(f"--judge openai got no --judge-{name}; type --judge-url URL --judge-model NAME")
    elif given and args.judge in (None, "rule"):
        flag = f"--judge-{next(iter(given)).replace('_', '-')}"
        raise ConfigError(f"{flag} was given with --judge {args.judge or 'rule'}; type --judge openai to ask a server")
    return {"kind": args.judge or "rule", **panel_settings(given), "breaker": "off"}


def panel_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with `panel` instead of `model` and `url` if these have several comma-separated values.

    Raises:
        ConfigError: There are several servers, but not one for each model.
    """
    named = {name: [item.strip() for item in str(given.get(name, "")).split(",")] for name in ("model", "url")}
    models, urls = named["model"], named["url"]
    if len(models) < 2 and len(urls) < 2:
        return dict(given)
    if len(urls) not in (1, len(models)):
        raise ConfigError(f"--judge-url names {len(urls)} servers for {len(models)} models; give one, or one for each")
    places = urls * len(models) if len(urls) == 1 else urls
    # The same key variable is used for all of them.
    key = {"api_key_env": given["api_key_env"]} if "api_key_env" in given else {}
    panel = [{"model": model, "url": url, **key} for model, url in zip(models, places, strict=True)]
    return {**{key: value for key, value in given.items() if key not in named}, "panel": panel}


def judge_words(args: argparse.Namespace) -> list[str]:
    """The judge flags as they were typed, for the command line of another command."""
    words = [] if args.judge is None else ["--judge", args.judge]
    for name, value in given_settings(args).items():
        flag = f"--judge-{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--judge", "--no-judge"))
        else:
            words += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    return words

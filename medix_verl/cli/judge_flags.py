# SPDX-License-Identifier: Apache-2.0
"""The flags that name a judge, the same in every command that asks one while somebody waits."""

from __future__ import annotations

import argparse
from typing import Any

from medix_verl.errors import ConfigError

__all__ = ["add_judge_flags", "judge_settings"]

NEVER = 1_000_000_000


def add_judge_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--judge", choices=("rule", "openai"), default="rule", help="who judges (default: rule)")
    parser.add_argument("--judge-url", metavar="URL", help="OpenAI-compatible server, as http://host:port/v1")
    parser.add_argument("--judge-model", metavar="NAME", help="name of the judge model at that server")
    parser.add_argument("--judge-api-key-env", metavar="VARIABLE", help="environment variable with the API key")


def judge_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The mapping of a JudgeSpec.

    The breaker is off: it makes a training run wait minutes for a server to come back, and here somebody is waiting.

    Raises:
        ConfigError: The flags do not fit together.
    """
    remote = {"url": args.judge_url, "model": args.judge_model, "api_key_env": args.judge_api_key_env}
    given = {name: value for name, value in remote.items() if value is not None}
    if args.judge == "openai":
        for name in ("url", "model"):
            if name not in given:
                raise ConfigError(f"--judge openai got no --judge-{name}; type --judge-url URL --judge-model NAME")
    elif given:
        flag = f"--judge-{next(iter(given)).replace('_', '-')}"
        raise ConfigError(f"{flag} was given with --judge {args.judge}; type --judge openai to ask a server")
    return {"kind": args.judge, **given, "breaker_failures": NEVER}

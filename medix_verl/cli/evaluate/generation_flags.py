# SPDX-License-Identifier: Apache-2.0
"""The flags that say how the evaluated model generates: one for each field of GenerationSpec."""

from __future__ import annotations

import argparse
from typing import Any

from medix_verl.cli.judge.judge_flags import json_object
from medix_verl.evaluation.models.generation import GenerationSpec

__all__ = ["add_generation_flags", "generation_of"]

HELP = {
    "temperature": "0 is greedy (default: 0)",
    "top_p": "nucleus sampling (default: the server's)",
    "max_tokens": "of an answer with its thinking (default: 4096)",
    "thinking_budget": "tokens after which a server of vLLM ends the thinking",
    "generations": "answers to each question: avg@k, pass@k, maj@k (default: 1)",
    "system_prompt": "before every question",
    "stop": "texts that end an answer",
    "chat_template_kwargs": """arguments of the chat template, as '{"enable_thinking": false}'""",
    "extra_body": """further keys of a request, as '{"min_p": 0.05}'""",
}
KINDS: dict[str, Any] = {
    **{"temperature": float, "top_p": float, "max_tokens": int, "thinking_budget": int, "generations": int},
    **{"chat_template_kwargs": json_object, "extra_body": json_object},
}
SHOWN = {"generations": "K", "temperature": "T", "top_p": "P"}


def add_generation_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; the default of each is None. `--seed` is declared elsewhere."""
    group = parser.add_argument_group("generation")
    for name, text in HELP.items():
        kind = {"nargs": "+"} if name == "stop" else {"type": KINDS.get(name, str)}
        shown = SHOWN.get(name, "JSON" if KINDS[name] is json_object else "N") if name in KINDS else "TEXT"
        group.add_argument(f"--{name.replace('_', '-')}", metavar=shown, help=text, **kind)


def generation_of(args: argparse.Namespace) -> GenerationSpec:
    """The generation settings that the flags and `--seed` give.

    Raises:
        ConfigError: A value is not accepted.
    """
    given = {name: getattr(args, name) for name in HELP if getattr(args, name) is not None}
    return GenerationSpec(**given, seed=args.seed)

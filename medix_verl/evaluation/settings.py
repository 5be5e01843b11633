# SPDX-License-Identifier: Apache-2.0
"""Names an evaluation's settings in messages: by field in Python, by flag on the command line.

    setting("generation.max_tokens")        generation.max_tokens      --max-tokens
    setting("judge.kind", "openai")         judge.kind="openai"        --judge openai
    setting("sources", "PATH", "medqa")     sources["medqa"]=PATH      --sources medqa=PATH
    setting("resume", True)                 resume=True                --resume

A flag has the name of the last part of its field, `judge.NAME` is `--judge-NAME`; FLAGS has the exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["as_flags", "named", "setting"]

FLAGS: Mapping[str, str] = {
    "allow_remote": "--allow-remote-credentialed",
    "choices.condition": "--images",
    "choices.template": "--prompt",
    "judge.kind": "--judge",
    "model.name": "--model-name",
    "networks": "--local-network",
    "protocol.name": "--protocol",
    "text_metrics.encoder": "--bertscore-model",
    "text_metrics.names": "--report-metrics",
}
PLACES = ("PATH", "URL", "NAME", "FOLDER", "CIDR", "VARIABLE", "N")
"""Placeholders for values that the user has to supply; they are written without quotes."""
typed: ContextVar[bool] = ContextVar("typed", default=False)


@contextmanager
def as_flags() -> Iterator[None]:
    """Name settings by their flags while a command runs."""
    before = typed.set(True)
    try:
        yield
    finally:
        typed.reset(before)


def named(section: str) -> Callable[[str], str]:
    """The `label` argument of medix_verl.specs.spec: field of a section -> its name in messages."""
    return lambda key: setting(f"{section}.{key}")


def setting(field: str, value: Any = None, key: str | None = None) -> str:
    """A setting with its value, as the user would write it.

    Args:
        field: Its path from medix_verl.evaluate's arguments, as `judge.url`.
        value: Its value; None for the name alone.
        key: The entry, if the setting is a mapping.
    """
    if typed.get():
        first, _, last = field.rpartition(".")
        named = f"{'judge-' if first == 'judge' else ''}{last}".replace("_", "-")
        flag = FLAGS.get(field, f"--{named}")
        words = [] if value is None or value is True else [f"{key}={value}" if key else str(value)]
        return " ".join([flag, *words])
    name = field if key is None else f'{field}["{key}"]'
    written = value if value in PLACES or not isinstance(value, str) else f'"{value}"'
    return name if value is None else f"{name}={written}"

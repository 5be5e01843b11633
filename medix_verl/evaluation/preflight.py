# SPDX-License-Identifier: Apache-2.0
"""Asks each judge one harmless question before a run, so that a wrong address or name is told in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from medix_verl.errors import JudgeError
from medix_verl.judge.judge import build_judge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Failure, Reference

__all__ = ["ask_judges"]

QUESTION = Reference("the left lung", question="Which organ is shown?")
CANDIDATE = "the lung on the left side"
TIMEOUT_S = 60.0


def ask_judges(judges: Sequence[JudgeSpec]) -> None:
    """Ask every judge that asks somebody.

    Raises:
        JudgeError: One cannot be asked; an answer that is no verdict is not this function's business.
    """
    for spec in judges:
        asyncio.run(ask_once(replace(spec, max_retries=1, timeout_s=min(spec.timeout_s, TIMEOUT_S), cache="none")))


async def ask_once(spec: JudgeSpec) -> None:
    """Ask one judge."""
    judge = build_judge(spec)
    if not judge.endpoints:
        return
    try:
        verdict = await judge.ask(CANDIDATE, QUESTION)
    finally:
        await judge.close()
    if verdict.failure not in (None, Failure.UNREADABLE, Failure.TRUNCATED):
        raise JudgeError(
            f"the judge {spec.model or spec.kind} at {', '.join(judge.endpoints)} cannot be asked: {verdict.reason}; "
            "check --judge-url and --judge-model"
        )

# SPDX-License-Identifier: Apache-2.0
"""Preflight check of the judges: asks each about a right and a wrong answer, with the settings of the run.

It reports within seconds a wrong address or model name, a judge that is sent pictures and does not accept them, and a
judge whose replies are unreadable. Without it, such a judge would leave all answers unscored that equality does not
decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from medix_verl.errors import JudgeError
from medix_verl.evaluation.grading.asking import BINARY, Voter, ask_once, write
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.settings import setting
from medix_verl.judge.judge import GuardedJudge, build_judge
from medix_verl.judge.pictures import probe_picture
from medix_verl.judge.spec import JudgeSpec
from medix_verl.openai_client import RequestError
from medix_verl.types import Failure, Reference

__all__ = ["ask_judges"]

QUESTION = Reference("the left lung", question="Which organ is shown?")
CANDIDATES = ("the lung on the left side", "the spleen, seen from below")
"""Right and wrong; the rules decide neither, so the judge is asked."""
TIMEOUT_S = 60.0
NO_VERDICT = frozenset({Failure.UNREADABLE, Failure.TRUNCATED})


def ask_judges(judges: Sequence[JudgeSpec], protocol: ProtocolSpec | None = None) -> None:
    """Ask every judge that has an endpoint.

    Args:
        judges: The judges of the run.
        protocol: How the run asks them; None means `robust`.

    Raises:
        JudgeError: A request failed, or a reply is unreadable. The verdicts themselves are not checked.
    """
    used = protocol or ProtocolSpec("robust")
    for spec in judges:
        own = replace(spec, max_retries=1, timeout_s=min(spec.timeout_s, TIMEOUT_S), cache="none")
        asyncio.run(ask_each(own, used))


async def ask_each(spec: JudgeSpec, protocol: ProtocolSpec) -> None:
    """Ask one judge about each candidate."""
    judge = build_judge(spec)
    if not judge.endpoints:
        return
    try:
        question = replace(QUESTION, images=(probe_picture(),)) if spec.images else QUESTION
        for candidate in CANDIDATES:
            failure, reason = await answer(judge, spec, protocol, candidate, question)
            if failure is not None:
                raise JudgeError(refusal(spec, judge, failure, reason))
    finally:
        await judge.close()


async def answer(
    judge: GuardedJudge, spec: JudgeSpec, protocol: ProtocolSpec, candidate: str, question: Reference
) -> tuple[Failure | None, str]:
    """Ask about one candidate; returns the failure and its reason, or None and a reason if there was a verdict."""
    if protocol.name != "published" or not judge.can_chat:
        verdict = await judge.ask(candidate, question)
        return verdict.failure, verdict.reason
    try:
        asked = write(protocol, BINARY, candidate, replace(question, images=()))
        vote, _ = await ask_once(Voter(spec.model or spec.kind, judge), asked)
    except RequestError as error:
        return error.failure, str(error)
    except JudgeError as error:
        return Failure.INTERNAL, str(error)
    return (Failure.UNREADABLE if vote.value is None else None), vote.reason


def refusal(spec: JudgeSpec, judge: GuardedJudge, failure: Failure, reason: str) -> str:
    """The error message for a judge that the run cannot use."""
    who = f"the judge {spec.model or spec.kind} at {', '.join(judge.endpoints)}"
    if failure in NO_VERDICT:
        return (
            f"{who} was asked about a right and a wrong answer and cannot be read: {reason}; a judge that thinks needs "
            f"{setting('judge.max_tokens', 2048)}, another one {setting('judge.structured', 'json_schema')} or none"
        )
    if spec.images and failure is Failure.REFUSED:
        return (
            f"{who} refuses a question with a picture: {reason}; name a multimodal model with "
            f"{setting('judge.model')}, or leave "
            f"out {setting('judge.images')}"
        )
    return f"{who} cannot be asked: {reason}; check {setting('judge.url')} and {setting('judge.model')}"

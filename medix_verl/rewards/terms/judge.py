# SPDX-License-Identifier: Apache-2.0
"""The judge's verdict as a term; it decides right and wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

from medix_verl.judge.judge import GuardedJudge, Question
from medix_verl.rewards.term import Answer, Graded, Score, Term
from medix_verl.types import Failed, Failure, Verdict

__all__ = ["JudgeTerm"]


class JudgeTerm(Term):
    """The judge's P(YES) if it gives one, else 1 for YES and 0 for NO; a response without an answer gets 0."""

    name = "judge"
    acc = True
    can_be_absent = False
    tells_right = True

    def __init__(self, judge: Callable[[], GuardedJudge]) -> None:
        """Store a function that returns the judge; the judge is built on first use."""
        self.judge = judge

    async def score(self, answer: Answer) -> Score:
        """See Term.

        Raises:
            ConfigError: A judge has to be built and its settings are wrong.
        """
        if answer.text is None:
            return 0.0
        verdict = answer.decided or await self.judge().ask_judge(Question(answer.text, answer.reference))
        if verdict.correct is None:
            return Failed(verdict.failure or Failure.INTERNAL, verdict.reason or "no verdict")
        return Graded(graded(verdict), verdict.correct)


def graded(verdict: Verdict) -> float:
    """P(YES) of a verdict, clipped to [0, 1]; 0 or 1 if the verdict has no probability."""
    probability = verdict.probability
    if probability is None or not math.isfinite(probability):
        return float(bool(verdict.correct))
    return min(1.0, max(0.0, probability))

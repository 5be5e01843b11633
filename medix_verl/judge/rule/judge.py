# SPDX-License-Identifier: Apache-2.0
"""The judge without a model: deterministic, instant, and always able to tell.

It says YES to an answer that equals the reference after a lead-in ("the answer is ..."), or that is the same quantity
within the tolerance; plain equality and guards come before it, as before every judge (medix_verl.judge.judge). It
understands no paraphrase, so it is for tests and for closed-set data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from medix_verl.judge.judge import Question
from medix_verl.judge.rule.equality import equal, right_texts
from medix_verl.judge.rule.normalise import normalise
from medix_verl.judge.rule.quantity import read_quantity, within_tolerance
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference, Verdict

__all__ = ["RuleJudge"]

LEAD_IN = re.compile(
    r"(?:(?:so|thus|therefore),? ?)?"
    r"(?:(?:the |my )?(?:final |correct |right |best )?(?:answer|diagnosis)(?: is:?|:) ?"
    r"|(?:it|this|that) is |(?:it|that)'s ?|(?:these|those) are |there (?:is|are) |an |a |the )(?=.)"
)
ARTICLE = re.compile(r"(?:an|the) (?=.)")
MAX_LEAD_INS = 4
MAX_CHARS = 2000
"""A longer answer is an essay, and no equality can hold."""


class RuleJudge:
    """Judges by equality, lead-ins and tolerance; a Judge."""

    endpoints: tuple[str, ...] = ()

    def __init__(self, spec: JudgeSpec | None = None) -> None:
        self.spec = spec or JudgeSpec()

    async def ask(self, question: Question) -> Verdict:
        """Judge one answer; there is always a verdict."""
        return Verdict(self.follows(question.candidate, question.reference), "rule")

    async def close(self) -> None:
        """Nothing is held."""

    def follows(self, candidate: str, reference: Reference) -> bool:
        """Whether a candidate is right once its lead-in is dropped, or within the tolerance."""
        if len(candidate) > MAX_CHARS:
            return False
        without = tuple(drop(ARTICLE, normalise(text)) for text in right_texts(reference))
        wider = replace(reference, synonyms=(*reference.synonyms, *without))
        return any(equal(form, wider) or self.is_near(form, reference) for form in forms(candidate))

    def is_near(self, form: str, reference: Reference) -> bool:
        """Whether a form is a measured quantity close enough to a right one; counts have no measuring error."""
        found = read_quantity(form)
        tolerance = self.spec.tolerance if reference.tolerance is None else reference.tolerance
        if found is None or tolerance <= 0:
            return False
        for text in right_texts(reference):
            right = read_quantity(text)
            if right is None or (right.is_count and reference.tolerance is None):
                continue
            if within_tolerance(found, right, tolerance):
                return True
        return False


def forms(candidate: str) -> Iterator[str]:
    """The normalised candidate, then what is left as one lead-in after the other is dropped."""
    form = normalise(candidate)
    yield form
    for _ in range(MAX_LEAD_INS):
        shorter = normalise(drop(LEAD_IN, form))
        if shorter == form:
            return
        form = shorter
        yield form


def drop(opening: re.Pattern[str], text: str) -> str:
    """The text without the opening, where it has it."""
    found = opening.match(text)
    return text if found is None else text[found.end() :]

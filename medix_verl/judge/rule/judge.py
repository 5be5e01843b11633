# SPDX-License-Identifier: Apache-2.0
"""Judges without a model: deterministic and fast, with a verdict for every answer.

It says YES to an answer that equals the reference after a lead-in ("the answer is ..."), or that is the same quantity
within the tolerance. Equality and guards run first, as before every judge (medix_verl.judge.judge). It does not
recognise paraphrases, so it is for tests and for closed-set data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from medix_verl.choices import unwrap
from medix_verl.judge.judge import Question
from medix_verl.judge.rule.equality import equal, right_texts
from medix_verl.judge.rule.normalise import normalise
from medix_verl.judge.rule.quantity import read_quantity, within_tolerance
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference, Verdict

__all__ = ["RuleJudge"]

LEAD_IN = re.compile(
    r"(?:(?:so|thus|therefore),? ?)?"
    r"(?:(?:the |my )?(?:final |correct |right |best |most likely )?(?:answer|diagnosis|finding|ans)(?: is:?|[:.]) ?"
    r"|(?:findings?|impression|result|response): ?"
    r"|(?:it|this|that) is |(?:it|that)'s ?|(?:these|those) are |there (?:is|are) (?!no$)|(?:an|a|the) (?=\w\w)"
    r"|(?:(?:(?:the|this) )?(?:patient|image|picture|photograph|scan|film|slide|specimen|study|x ray|radiograph|ct|mri"
    r"|ultrasound)(?: (?:image|scan))?|it|this) (?:shows|demonstrates|depicts|reveals|has|represents) "
    r"|i (?:think|believe|would say)(?: that)? |(?:most likely|likely) )(?=.)"
)
"""Lead-ins accepted before an answer, in normalised text."""
LABEL = re.compile(r"(?:a[:.]|[(]?1[.)]) ?(?=[^\W\d_])")
"""A (for answer) and the number of a list with one item; if there are options, both may be the label of the first."""
CLOSING = re.compile(r" (?:is|are) (?:shown|seen|visible|present|the (?:correct |final |best )?(?:answer|diagnosis))$")
ARTICLE = re.compile(r"(?:an|the) (?=.)")
MAX_LEAD_INS = 4
MAX_CHARS = 2000
"""A longer answer is not compared."""


class RuleJudge:
    """Judges by equality, lead-ins and tolerance; a Judge."""

    endpoints: tuple[str, ...] = ()

    def __init__(self, spec: JudgeSpec | None = None) -> None:
        self.spec = spec or JudgeSpec()

    async def ask(self, question: Question) -> Verdict:
        """Judge one answer; there is always a verdict."""
        return Verdict(self.follows(question.candidate, question.reference), "rule")

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def follows(self, candidate: str, reference: Reference) -> bool:
        """Whether a candidate is right once its lead-in is dropped, or within the tolerance."""
        if len(candidate) > MAX_CHARS:
            return False
        without = tuple(drop(ARTICLE, normalise(text)) for text in right_texts(reference))
        wider = replace(reference, synonyms=(*reference.synonyms, *without))
        return any(
            equal(form, wider) or self.is_near(form, reference) for form in forms(candidate, bool(reference.options))
        )

    def is_near(self, form: str, reference: Reference) -> bool:
        """Whether a form is a measured quantity close enough to a right one; counts must be exact."""
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


def forms(candidate: str, has_options: bool = False) -> Iterator[str]:
    """The normalised candidate, then the rest after each lead-in is dropped in turn."""
    form = normalise(unwrap(candidate))
    yield form
    form = CLOSING.sub("", form, count=1)
    yield form if has_options else (form := drop(LABEL, form))
    for _ in range(MAX_LEAD_INS):
        shorter = normalise(drop(LEAD_IN, form))
        if shorter == form:
            return
        form = shorter
        yield form


def drop(opening: re.Pattern[str], text: str) -> str:
    """The text without the opening, if it has it."""
    found = opening.match(text)
    return text if found is None else text[found.end() :]

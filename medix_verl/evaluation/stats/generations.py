# SPDX-License-Identifier: Apache-2.0
"""Computes avg@k, pass@k and maj@k from k answers to each question: one value per question, clustered as questions are.

avg@k is the mean over a question's answers, which estimates the accuracy of one answer (acc@1) with less noise. pass@j
is the probability that at least one of j answers is right, by the unbiased estimator 1 - C(n-c, j) / C(n, j) for c
right answers of n (Chen et al., arXiv 2107.03374). maj@k is whether the most frequent answer is right
(self-consistency, Wang et al., arXiv 2203.11171). Two answers are the same if they choose the same option or have the
same text. Ties are averaged, and an answer that cannot be parsed has no vote. Yue et al. (arXiv 2504.13837) ask whether
RL raises acc@1 without raising pass@k.

pass@j and maj@k need a binary task and questions whose answers all have a score.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb, fsum

from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.stats.choosing import chosen
from medix_verl.evaluation.stats.missing import Counting, as_wrong
from medix_verl.evaluation.stats.summary import mean_of
from medix_verl.evaluation.store.records import Record, most_generations
from medix_verl.judge.rule.normalise import normalise

__all__ = [
    "Generations",
    "by_question",
    "generations_of",
    "is_binary",
    "majority_of",
    "pass_at",
    "steps_to",
]

BINARY = ("open", "closed")


@dataclass(frozen=True, slots=True)
class Generations:
    """The figures of a task with several generations."""

    k: int
    questions: int
    left_out: int
    """Questions with an unscored answer: excluded from `passes` and `majority`."""
    average: Estimate | None
    """avg@k."""
    passes: Mapping[int, Estimate | None]
    """j -> pass@j; empty for a task with graded scores."""
    majority: Estimate | None
    """maj@k; None for a task with graded scores."""


def generations_of(records: Sequence[Record], counting: Counting) -> Generations | None:
    """The figures of a task; None if each question has one answer.

    There is no figure if the share of left-out questions exceeds `counting.max_unscored`.
    """
    k = most_generations(records)
    if k < 2:
        return None
    taken = [as_wrong(record) for record in records] if counting.errors == "wrong" else list(records)
    average = by_question(taken)
    whole = pass_at(taken, k, k)
    left_out = sum(record.value is None for record in whole)
    binary = is_binary(taken)
    if left_out > counting.max_unscored * len(whole):
        return Generations(k, len(whole), left_out, None, dict.fromkeys(steps_to(k)) if binary else {}, None)
    passes = {step: mean_of(pass_at(taken, step, k)) for step in steps_to(k)} if binary else {}
    return Generations(
        k, len(whole), left_out, mean_of(average), passes, mean_of(majority_of(taken, k)) if binary else None
    )


def steps_to(k: int) -> list[int]:
    """1, 2, 4, ... and k."""
    return sorted({k, *(1 << place for place in range(k.bit_length()) if 1 << place < k)})


def is_binary(records: Sequence[Record]) -> bool:
    """Whether every answer is right, wrong or unscored."""
    return all(record.answer_type in BINARY and record.value in (0.0, 1.0, None) for record in records)


def by_question(records: Sequence[Record]) -> list[Record]:
    """One record per question: its value is the mean over the scored answers, all other fields are the first answer's.

    The record of a question with one answer is unchanged.
    """
    return each(records, lambda values, group: fsum(values) / len(values) if values else None)


def pass_at(records: Sequence[Record], step: int, k: int) -> list[Record]:
    """One record per question with the value pass@step; no value unless all k answers have a score."""

    def figure(values: Sequence[float], group: Sequence[Record]) -> float | None:
        if len(values) < k or step > k:
            return None
        count, right = len(values), sum(value == 1.0 for value in values)
        return 1.0 - comb(count - right, step) / comb(count, step)

    return each(records, figure)


def majority_of(records: Sequence[Record], k: int) -> list[Record]:
    """One record per question with the most frequent answer's value; no value unless all k answers have a score."""

    def figure(values: Sequence[float], group: Sequence[Record]) -> float | None:
        if len(values) < k:
            return None
        votes: dict[Hashable, list[float]] = {}
        for record, value in zip(group, values, strict=True):
            if (said := meaning_of(record)) is not None:
                votes.setdefault(said, []).append(value)
        most = max(map(len, votes.values()), default=0)
        # A judge may score two equal answers differently: the mean is taken.
        top = [fsum(given) / most for given in votes.values() if len(given) == most]
        return fsum(top) / len(top) if top else 0.0

    return each(records, figure)


def meaning_of(record: Record) -> Hashable | None:
    """The key under which an answer votes: equal for equal answers. None without an answer."""
    if record.answer is None:
        return None
    place = chosen(record)
    return place if place is not None else normalise(record.answer) or None


def each(
    records: Sequence[Record], figure: Callable[[Sequence[float], Sequence[Record]], float | None]
) -> list[Record]:
    """One record per question; `figure` computes its value from the question's known values and all its records."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.id, []).append(record)
    found = []
    for group in groups.values():
        value = figure([record.value for record in group if record.value is not None], group)
        status = "scored" if value is not None else next((it.status for it in group if it.value is None), "unscored")
        found.append(replace(group[0], value=value, status=status))
    return found

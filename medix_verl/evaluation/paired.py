# SPDX-License-Identifier: Apache-2.0
"""Compares two evaluations sample by sample: differences with intervals, and permutation tests (see `permutation`).

Only ids that are in both and have a score in both are compared; the others are listed. One id with two questions, two
references or two clusters is refused: the difference would be one of data, not of models. The interval of a task's
difference is that of a bootstrap over clusters, its p-value that of flipping the sign of whole clusters, which is exact
for the hypothesis that the two models are interchangeable on each cluster. Over tasks, clusters of the same name (one
picture in two tasks) are one. The same input and seed give the same numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.agreement import MIN_CLUSTERS, Estimate, wilson
from medix_verl.evaluation.intervals import (
    CONFIDENCE,
    ClusterSums,
    cluster_sums,
    freedom,
    generator,
    moves_of,
    percentiles,
    resample,
    student,
)
from medix_verl.evaluation.permutation import affordable, holm, sign_flip
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import Evaluation

__all__ = ["Comparison", "Macro", "Pairs", "TaskComparison", "compare", "compare_pairs", "holm", "match", "sign_flip"]

ROUNDS = 10_000
MIN_DIFFERENT = 15
"""Effective samples on which the two must differ, lest the interval of their difference be approximate."""
NO_SPREAD = 1e-18
"""Sum of squares below which clusters differ by rounding alone."""
SAME = ("question", "reference", "cluster", "answer_type")
"""What must be the same under one id."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two sets of records, matched by id."""

    task: str
    both: tuple[tuple[Record, Record], ...]
    """Scored in both, by id."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    """Ids that the other one lacks."""
    unscored: tuple[str, ...]
    """Ids that are in both and lack a score in one at least."""


@dataclass(frozen=True, slots=True)
class TaskComparison:
    """One task; every difference is b minus a."""

    pairs: Pairs
    clusters: int
    mean_a: float | None
    mean_b: float | None
    difference: Estimate | None
    """None where no sample has a score in both."""
    p_value: float | None
    p_holm: float | None
    """p_value, corrected for the number of tasks that were compared."""
    better: int
    worse: int
    """Samples on which b scores higher, and lower."""


@dataclass(frozen=True, slots=True)
class Macro:
    """The unweighted mean over tasks of b minus a."""

    difference: Estimate
    p_value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations."""

    a: str
    b: str
    tasks: Mapping[str, TaskComparison]
    macro: Macro | None
    """None where a task has no pair."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    """Tasks that the other one lacks."""
    settings: tuple[str, ...]
    """Names of settings in which the two manifests differ: judge, protocol, seed ..."""


def compare(a: Evaluation, b: Evaluation, seed: int = 0, rounds: int = ROUNDS) -> Comparison:
    """Compare two evaluations under the real pictures.

    Raises:
        ConfigError: They have no task in common.
        DataError: One id stands for two questions.
    """
    left, right = a.tasks(), b.tasks()
    shared = [task for task in left if task in right]
    if not shared:
        raise ConfigError(
            f"no task is in both: got {', '.join(left)} and {', '.join(right)}; evaluate both on one task"
        )
    matched = {task: match(task, left[task], right[task]) for task in shared}
    found = {task: compare_pairs(pairs, seed, rounds) for task, pairs in matched.items()}
    tested = {task: item.p_value for task, item in found.items() if item.p_value is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return Comparison(
        a=a.model,
        b=b.model,
        tasks={task: with_holm(item, corrected.get(task)) for task, item in found.items()},
        macro=macro_difference(list(matched.values()), seed, rounds),
        only_a=tuple(task for task in left if task not in right),
        only_b=tuple(task for task in right if task not in left),
        settings=tuple(
            name for name in ("judge", "protocol", "seed", "settings") if a.manifest.get(name) != b.manifest.get(name)
        ),
    )


def with_holm(item: TaskComparison, corrected: float | None) -> TaskComparison:
    """The comparison with its corrected p-value."""
    return replace(item, p_holm=corrected)


def match(task: str, a: Sequence[Record], b: Sequence[Record]) -> Pairs:
    """Match the records of a task by id.

    Raises:
        DataError: One id stands for two questions, references or clusters.
    """
    left, right = {record.id: record for record in a}, {record.id: record for record in b}
    shared = [name for name in sorted(left) if name in right]
    for name in shared:
        for part in SAME:
            got = getattr(left[name], part), getattr(right[name], part)
            if got[0] != got[1]:
                raise DataError(
                    f"{task}: id {name!r} has two values of {part}: {shown(got[0])} and {shown(got[1])}; "
                    "evaluate both models on the same version of the set"
                )
    both = [(left[name], right[name]) for name in shared]
    return Pairs(
        task=task,
        both=tuple(pair for pair in both if pair[0].value is not None and pair[1].value is not None),
        only_a=tuple(sorted(left.keys() - right.keys())),
        only_b=tuple(sorted(right.keys() - left.keys())),
        unscored=tuple(a.id for a, b in both if a.value is None or b.value is None),
    )


def shown(text: str, most: int = 60) -> str:
    """The beginning of a text, for a message."""
    return repr(text if len(text) <= most else text[:most] + "...")


def differences(pairs: Pairs) -> tuple[list[float], list[str]]:
    """b minus a of each pair, and its cluster."""
    return [value_of(b) - value_of(a) for a, b in pairs.both], [a.cluster for a, _ in pairs.both]


def value_of(record: Record) -> float:
    """The score of a record that has one."""
    if record.value is None:
        raise DataError(f"record {record.id!r} has no score; leave it out of the comparison")
    return record.value


def compare_pairs(pairs: Pairs, seed: int = 0, rounds: int = ROUNDS) -> TaskComparison:
    """Compare one task."""
    values, clusters = differences(pairs)
    if not values:
        return TaskComparison(pairs, 0, None, None, None, None, None, 0, 0)
    count, sums = len(values), cluster_sums(values, clusters, low=-1.0)
    return TaskComparison(
        pairs=pairs,
        clusters=len(sums.sizes),
        mean_a=sum(value_of(a) for a, _ in pairs.both) / count,
        mean_b=sum(value_of(b) for _, b in pairs.both) / count,
        difference=mean_difference(values, sums, rounds, generator(seed, f"bootstrap {pairs.task}")),
        p_value=sign_flip(sums.totals, rounds, generator(seed, f"flip {pairs.task}")),
        p_holm=None,
        better=sum(value > 0 for value in values),
        worse=sum(value < 0 for value in values),
    )


def mean_difference(values: Sequence[float], sums: ClusterSums, rounds: int, rng: Any) -> Estimate:
    """The mean of one difference or more in [-1, 1], which are given by cluster too, with a bootstrap's interval."""
    mean, many, reach = sums.mean, len(sums.sizes), reach_without_spread(sums)
    low, high = mean - (reach or 0.0), mean + (reach or 0.0)
    if reach is None:
        low, high = percentiles(resample(sums, affordable(rounds, many), rng), sums, CONFIDENCE)
    rare = many < MIN_CLUSTERS or different(values, sums) < MIN_DIFFERENT
    return Estimate(mean, max(-1.0, min(low, mean)), min(1.0, max(high, mean)), sums.count, rare)


def different(values: Sequence[float], sums: ClusterSums) -> float:
    """On how many samples the two differ, as if these were independent."""
    count, many = sums.count, sum(value != 0 for value in values)
    spread = max(0.0, sums.squares - count * sums.mean**2) / count
    if spread * count <= NO_SPREAD or len(sums.sizes) < 2:
        return float(min(many, len(sums.sizes)))
    moves = moves_of(sums)
    return many / max(1.0, float((moves * moves).sum()) * (count - 1) / spread)


def reach_without_spread(sums: ClusterSums) -> float | None:
    """Half an interval's width where all clusters have one and the same mean; None where they do not.

    That nothing varies is no proof that nothing ever will: as much as so many clusters may leave open, had each of them
    been a zero. One cluster that differs says nothing of others.
    """
    clusters = len(sums.sizes)
    if clusters < 2 and sums.squares:
        return 2.0
    moves = sums.totals - sums.mean * sums.sizes
    if float((moves * moves).sum()) > NO_SPREAD:
        return None
    return wilson(0.0, clusters, student(CONFIDENCE, None))[1]


def macro_difference(tasks: Sequence[Pairs], seed: int, rounds: int) -> Macro | None:
    """The mean over tasks of b minus a; None where a task has no pair."""
    if not tasks or not all(pairs.both for pairs in tasks):
        return None
    return average_difference([differences(pairs) for pairs in tasks], seed, rounds)


def average_difference(
    tasks: Sequence[tuple[Sequence[float], Sequence[Hashable]]], seed: int = 0, rounds: int = ROUNDS
) -> Macro:
    """The mean over one task or more of their mean differences, each given as differences and their clusters.

    Each cluster moves the mean by a sum over the tasks that it occurs in. The interval is Student's, from the spread of
    those moves; a task whose clusters do not differ adds what its own interval leaves open, and the interval is then
    approximate, as it is with a task of few clusters.
    """
    import numpy as np

    mean, beside, apart, rare = 0.0, 0.0, 0.0, False
    moves: dict[Hashable, float] = {}
    flips: dict[Hashable, float] = {}
    for values, clusters in tasks:
        weight = 1 / (len(tasks) * len(values))
        average = sum(values) / len(values)
        mean += average / len(tasks)
        sums = cluster_sums(values, clusters, low=-1.0)
        apart += different(values, sums)
        reach = reach_without_spread(sums)
        beside += ((reach or 0.0) / len(tasks)) ** 2
        rare = rare or reach is not None or len(sums.sizes) < MIN_CLUSTERS
        for value, cluster in zip(values, clusters, strict=True):
            moves[cluster] = moves.get(cluster, 0.0) + weight * (value - average)
            flips[cluster] = flips.get(cluster, 0.0) + weight * value
    p_value = sign_flip(list(flips.values()), rounds, generator(seed, "flip over tasks"))
    half = (spread_reach(np.array(list(moves.values()))) ** 2 + beside) ** 0.5 if len(moves) > 1 else 2.0
    rare = rare or apart < MIN_DIFFERENT
    return Macro(Estimate(mean, max(-1.0, mean - half), min(1.0, mean + half), len(tasks), rare), p_value)


def spread_reach(moves: Any) -> float:
    """Half of Student's interval of a sum that each cluster moves by so much; 0 where none of them moves it."""
    squares = float((moves * moves).sum())
    if squares <= NO_SPREAD:
        return 0.0
    return student(CONFIDENCE, freedom(moves)) * (squares * len(moves) / (len(moves) - 1)) ** 0.5

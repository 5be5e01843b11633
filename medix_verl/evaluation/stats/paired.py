# SPDX-License-Identifier: Apache-2.0
"""Compares two evaluations sample by sample: differences with intervals, and permutation tests (see `permutation`).

Only ids with a score in both evaluations are compared; the others are listed. Several generations of a question are
compared by their mean, and by pass@k and maj@k if both evaluations have several. An id with two questions, references
or clusters is refused, because the difference would come from the data, not from the models.

The interval of a task's difference is from a bootstrap over clusters. Its p-value is from flipping the sign of whole
clusters: exact for the hypothesis that the two models are interchangeable on each cluster, and approximate, like the
interval, for the hypothesis that they are equally good on average. If only one of the two finds a difference, the more
conservative one is used (`reconcile`). Over tasks, clusters of the same name (one picture in two tasks) count as one.
The same input and seed give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.audit.agreement import Estimate, is_few, wilson
from medix_verl.evaluation.stats.generations import (
    by_question,
    is_binary,
    majority_of,
    pass_at,
    steps_to,
)
from medix_verl.evaluation.stats.intervals import (
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
from medix_verl.evaluation.stats.permutation import affordable, holm, sign_flip
from medix_verl.evaluation.stats.summary import share
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record, lowest, most_generations

__all__ = [
    "Comparison",
    "Macro",
    "Pairs",
    "TaskComparison",
    "compare",
    "compare_pairs",
    "holm",
    "macro_difference",
    "match",
    "settings_apart",
    "sign_flip",
]

ROUNDS = 10_000
MIN_DIFFERENT = 15
"""Effective number of differing samples below which the interval of the difference is approximate."""
NO_SPREAD = 1e-18
"""Sum of squares below which differences between clusters are rounding errors."""
SAME = ("question", "reference", "cluster", "answer_type")
"""Fields that must be equal for the same id."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two sets of records, matched by id."""

    task: str
    both: tuple[tuple[Record, Record], ...]
    """Scored in both, by id."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    """Ids that are only in b."""
    unscored: tuple[str, ...]
    """Ids that are in both, without a score in at least one."""


@dataclass(frozen=True, slots=True)
class TaskComparison:
    """The comparison on one task; every difference is b minus a."""

    pairs: Pairs
    clusters: int
    mean_a: float | None
    mean_b: float | None
    difference: Estimate | None
    """None if no sample has a score in both."""
    p_value: float | None
    p_holm: float | None
    """p_value, corrected for the number of compared tasks."""
    better: int
    worse: int
    """Number of samples on which b scores higher (`better`) and lower (`worse`)."""
    p_approximate: bool = False
    """Whether p_value is approximate: if the interval of the difference is."""
    p_holm_approximate: bool = False
    """Whether p_holm is approximate: if this p-value is, or a smaller one that the correction uses."""


@dataclass(frozen=True, slots=True)
class Macro:
    """The unweighted mean over tasks of b minus a."""

    difference: Estimate
    p_value: float
    """Approximate if the difference's interval is."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of two evaluations."""

    a: str
    b: str
    tasks: Mapping[str, TaskComparison]
    macro: Macro | None
    """None if a task has no pair."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    """Tasks that are only in b."""
    generations: Mapping[str, Mapping[str, TaskComparison]]
    """Task -> figure (pass@1 ... pass@k, maj@k) -> comparison, for tasks with several generations in both; k is the
    smaller of the two numbers."""
    settings: tuple[str, ...]
    """Names of the settings that differ in the two manifests: judge, protocol, seed ..."""


def compare(a: Evaluation, b: Evaluation, seed: int = 0, rounds: int = ROUNDS) -> Comparison:
    """Compare two evaluations under the real pictures.

    Raises:
        ConfigError: They have no task in common.
        DataError: One id has two questions.
    """
    left, right = a.tasks(), b.tasks()
    shared = [task for task in left if task in right]
    if not shared:
        raise ConfigError(
            f"no task is in both: got {', '.join(left)} and {', '.join(right)}; evaluate both on one task"
        )
    matched = {task: match(task, left[task], right[task]) for task in shared}
    found = {task: compare_pairs(pairs, seed, rounds) for task, pairs in matched.items()}
    return Comparison(
        a=a.model,
        b=b.model,
        tasks=with_holm(found),
        macro=macro_difference(list(matched.values()), seed, rounds),
        only_a=tuple(task for task in left if task not in right),
        only_b=tuple(task for task in right if task not in left),
        generations={
            task: figures
            for task in shared
            if (figures := compare_generations(task, left[task], right[task], seed, rounds))
        },
        settings=settings_apart(a, b),
    )


def settings_apart(a: Evaluation, b: Evaluation) -> tuple[str, ...]:
    """Names of the settings in which two evaluations differ."""
    names = ("judge", "protocol", "seed", "settings")
    return tuple(name for name in names if a.manifest.get(name) != b.manifest.get(name))


def compare_generations(
    task: str, a: Sequence[Record], b: Sequence[Record], seed: int, rounds: int
) -> dict[str, TaskComparison]:
    """pass@1 ... pass@k and maj@k of one task; empty if a side has one generation, or the task's scores are graded."""
    k = min(most_generations(a), most_generations(b))
    if k < 2 or not (is_binary(a) and is_binary(b)):
        return {}
    figures: dict[str, Callable[[Sequence[Record]], list[Record]]] = {
        f"pass@{step}": lambda records, step=step: pass_at(records, step, most_generations(records))  # type: ignore[misc]
        for step in steps_to(k)
    }
    if most_generations(a) == most_generations(b):
        figures[f"maj@{k}"] = lambda records: majority_of(records, k)
    return {name: compare_pairs(match(task, figure(a), figure(b)), seed, rounds) for name, figure in figures.items()}


def with_holm(found: Mapping[str, TaskComparison]) -> dict[str, TaskComparison]:
    """Each task with its corrected p-value."""
    tested = {task: item.p_value for task, item in found.items() if item.p_value is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    lowest = min((p for task, p in tested.items() if found[task].p_approximate), default=math.inf)
    return {
        task: replace(item, p_holm=corrected.get(task), p_holm_approximate=task in tested and tested[task] >= lowest)
        for task, item in found.items()
    }


def match(task: str, a: Sequence[Record], b: Sequence[Record]) -> Pairs:
    """Match the records of a task by id; several generations of a question are averaged.

    Raises:
        DataError: One id has two questions, references or clusters.
    """
    left, right = ({record.id: record for record in by_question(records)} for records in (a, b))
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


def reach_of(pairs: Pairs) -> tuple[float, float]:
    """Range of a difference: -1 to 1, unbounded for rubrics."""
    rubric = any(lowest(a.answer_type) < 0 for a, _ in pairs.both)
    return (-math.inf, math.inf) if rubric else (-1.0, 1.0)


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
    count, sums = len(values), cluster_sums(values, clusters, *reach_of(pairs))
    difference, p_value = reconcile(
        mean_difference(values, sums, rounds, generator(seed, f"bootstrap {pairs.task}")),
        sign_flip(sums.totals, rounds, generator(seed, f"flip {pairs.task}")),
    )
    return TaskComparison(
        pairs=pairs,
        clusters=len(sums.sizes),
        mean_a=share(sum(value_of(a) for a, _ in pairs.both) / count),
        mean_b=share(sum(value_of(b) for _, b in pairs.both) / count),
        difference=difference,
        p_value=p_value,
        p_holm=None,
        better=sum(value > 0 for value in values),
        worse=sum(value < 0 for value in values),
        p_approximate=difference.approximate,
    )


def reconcile(difference: Estimate, p_value: float) -> tuple[Estimate, float]:
    """Make interval and p-value consistent: the interval excludes 0 if and only if p is at most 0.05.

    If only the p-value shows a difference, it is replaced by that of a normal distribution with this interval. If only
    the interval does, it is extended to 0.
    """
    level = 1 - CONFIDENCE
    leaves_out = difference.low > 0 or difference.high < 0
    if leaves_out and p_value > level:
        return replace(difference, low=min(0.0, difference.low), high=max(0.0, difference.high)), p_value
    if not leaves_out and p_value <= level:
        reach = difference.value - difference.low if difference.value > 0 else difference.high - difference.value
        z = student(CONFIDENCE, None) * abs(difference.value) / reach if reach > 0 else 0.0
        return difference, max(2 * NormalDist().cdf(-z), math.nextafter(level, 1))
    return difference, p_value


def mean_difference(values: Sequence[float], sums: ClusterSums, rounds: int, rng: Any) -> Estimate:
    """The mean of at least one difference in [-1, 1] with a bootstrap interval; `sums` are the values by cluster."""
    mean, many, reach = sums.mean, len(sums.sizes), reach_without_spread(sums)
    low, high = mean - (reach or 0.0), mean + (reach or 0.0)
    if reach is None:
        low, high = percentiles(resample(sums, affordable(rounds, many), rng), sums, CONFIDENCE)
    rare = is_few(sums.effective) or different(values, sums) < MIN_DIFFERENT
    value = inside(mean)
    return Estimate(value, min(value, inside(low)), max(value, inside(high)), sums.count, rare)


def inside(difference: float) -> float:
    """A difference clipped to [-1, 1]; that of rubric points may exceed this range."""
    return min(1.0, max(-1.0, difference))


def different(values: Sequence[float], sums: ClusterSums) -> float:
    """Effective number of independent samples on which the two differ."""
    count, many = sums.count, sum(value != 0 for value in values)
    spread = max(0.0, sums.squares - count * sums.mean**2) / count
    if spread * count <= NO_SPREAD or len(sums.sizes) < 2:
        return float(min(many, len(sums.sizes)))
    moves = moves_of(sums)
    return many / max(1.0, float((moves * moves).sum()) * (count - 1) / spread)


def reach_without_spread(sums: ClusterSums) -> float | None:
    """Half width of the interval if all clusters have the same mean; None otherwise.

    Zero variance in the sample does not mean zero variance in the population: the half width is Wilson's upper end for
    a share of 0 in as many clusters. With a single cluster that differs, the interval covers the whole range.
    """
    clusters = len(sums.sizes)
    if clusters < 2 and sums.squares:
        return 2.0
    moves = sums.totals - sums.mean * sums.sizes
    if float((moves * moves).sum()) > NO_SPREAD:
        return None
    return wilson(0.0, clusters, student(CONFIDENCE, None))[1]


def macro_difference(tasks: Sequence[Pairs], seed: int, rounds: int) -> Macro | None:
    """The mean over tasks of b minus a; None if a task has no pair."""
    if not tasks or not all(pairs.both for pairs in tasks):
        return None
    found = average_difference([differences(pairs) for pairs in tasks], seed, rounds)
    return Macro(*reconcile(found.difference, found.p_value))


def average_difference(
    tasks: Sequence[tuple[Sequence[float], Sequence[Hashable]]], seed: int = 0, rounds: int = ROUNDS
) -> Macro:
    """The mean over at least one task of the mean differences; each task is given as differences and their clusters.

    The contribution of a cluster is summed over the tasks in which it occurs. The interval is Student's, from the
    variance of the contributions. A task whose clusters all have the same mean adds its own half width
    (`reach_without_spread`). The interval is then approximate, as it is if a task has few effective clusters.
    """
    import numpy as np

    mean, beside, apart, rare = 0.0, 0.0, 0.0, False
    moves: dict[Hashable, float] = {}
    flips: dict[Hashable, float] = {}
    for values, clusters in tasks:
        weight = 1 / (len(tasks) * len(values))
        average = sum(values) / len(values)
        mean += average / len(tasks)
        sums = cluster_sums(values, clusters, low=-math.inf, high=math.inf)
        apart += different(values, sums)
        reach = reach_without_spread(sums)
        beside += ((reach or 0.0) / len(tasks)) ** 2
        rare = rare or reach is not None or is_few(sums.effective)
        for value, cluster in zip(values, clusters, strict=True):
            moves[cluster] = moves.get(cluster, 0.0) + weight * (value - average)
            flips[cluster] = flips.get(cluster, 0.0) + weight * value
    p_value = sign_flip(list(flips.values()), rounds, generator(seed, "flip over tasks"))
    half = (spread_reach(np.array(list(moves.values()))) ** 2 + beside) ** 0.5 if len(moves) > 1 else 2.0
    rare = rare or apart < MIN_DIFFERENT
    found = Estimate(inside(mean), inside(mean - half), inside(mean + half), len(tasks), rare)
    return Macro(found, p_value)


def spread_reach(moves: Any) -> float:
    """Half width of Student's interval of a sum, given each cluster's contribution; 0 if all contributions are 0."""
    squares = float((moves * moves).sum())
    if squares <= NO_SPREAD:
        return 0.0
    return student(CONFIDENCE, freedom(moves)) * (squares * len(moves) / (len(moves) - 1)) ** 0.5

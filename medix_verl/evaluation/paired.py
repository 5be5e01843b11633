# SPDX-License-Identifier: Apache-2.0
"""Compares two evaluations sample by sample: differences with intervals, permutation tests, and Holm's correction.

Only ids that are in both and have a score in both are compared; the others are listed. One id with two questions, two
references or two clusters is refused: the difference would be one of data, not of models. The interval of a task's
difference is that of a bootstrap over clusters, its p-value that of flipping the sign of whole clusters, which is exact
for the hypothesis that the two models are interchangeable on each cluster. Over tasks, clusters of the same name (one
picture in two tasks) are one. The same input and seed give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import NormalDist
from typing import Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.agreement import Estimate
from medix_verl.evaluation.intervals import (
    CHUNK,
    CONFIDENCE,
    ClusterSums,
    cluster_sums,
    freedom,
    generator,
    percentiles,
    resample,
    student,
    wilson,
)
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import Evaluation

__all__ = ["Comparison", "Macro", "Pairs", "TaskComparison", "compare", "compare_pairs", "holm", "match", "sign_flip"]

ROUNDS = 10_000
EXACT_CLUSTERS = 13
"""Up to so many clusters that differ, all 2^13 sign patterns are tried, and the p-value is exact."""
MOST_WEIGHTS = 100_000_000
"""Clusters times rounds beyond which fewer rounds are drawn, so that 90,000 clusters take seconds."""
FEWEST_ROUNDS = 2000
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
    sums = cluster_sums(values, clusters, low=-1.0)
    low, high = difference_interval(sums, rounds, generator(seed, f"bootstrap {pairs.task}"))
    count = len(values)
    return TaskComparison(
        pairs=pairs,
        clusters=len(sums.sizes),
        mean_a=sum(value_of(a) for a, _ in pairs.both) / count,
        mean_b=sum(value_of(b) for _, b in pairs.both) / count,
        difference=Estimate(sums.mean, max(-1.0, min(low, sums.mean)), min(1.0, max(high, sums.mean)), count),
        p_value=sign_flip(sums.totals, rounds, generator(seed, f"flip {pairs.task}")),
        p_holm=None,
        better=sum(value > 0 for value in values),
        worse=sum(value < 0 for value in values),
    )


def difference_interval(sums: ClusterSums, rounds: int, rng: Any) -> tuple[float, float]:
    """The bootstrap's interval of a difference."""
    if not sums.squares:
        # Nothing differs, which is no proof that nothing ever will: as many clusters may as zero of these leave open.
        _, reach = wilson(0.0, len(sums.sizes), NormalDist().inv_cdf(0.5 + CONFIDENCE / 2))
        return -reach, reach
    clusters = len(sums.sizes)
    return percentiles(resample(sums, affordable(rounds, clusters), rng), clusters, CONFIDENCE)


def affordable(rounds: int, clusters: int) -> int:
    """Rounds that take seconds."""
    return min(rounds, max(FEWEST_ROUNDS, MOST_WEIGHTS // clusters))


def sign_flip(totals: Any, rounds: int, rng: Any) -> float:
    """Two-sided p-value of the sum of `totals`, if the sign of each is as likely + as -.

    Args:
        totals: One number a cluster: the sum of its differences.
        rounds: Sign patterns that are drawn where there are too many to try them all.
        rng: A numpy generator.

    Returns:
        The share of sign patterns whose sum is at least as far from 0; never 0.
    """
    import numpy as np

    given = np.asarray(totals, dtype=np.float64)
    given = given[given != 0]
    if not len(given):
        return 1.0
    # A sum that is the same on paper may differ in its last bits.
    bar = abs(float(given.sum())) - 1e-9 * float(np.abs(given).sum())
    if len(given) <= EXACT_CLUSTERS:
        signs: Any = np.array(list(product((-1.0, 1.0), repeat=len(given))))
        return float((np.abs(signs @ given) >= bar).mean())
    rounds = affordable(rounds, len(given))
    hits, step = 0, max(1, CHUNK // len(given))
    for start in range(0, rounds, step):
        signs = rng.integers(0, 2, size=(min(step, rounds - start), len(given))) * 2.0 - 1.0
        hits += int((np.abs(signs @ given) >= bar).sum())
    return (1 + hits) / (1 + rounds)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that hold for all tests together, in the order given."""
    ranked = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(ranked):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = highest
    return corrected


def macro_difference(tasks: Sequence[Pairs], seed: int, rounds: int) -> Macro | None:
    """The mean over tasks of b minus a; None where a task has no pair.

    Each cluster moves the mean by a sum over the tasks that it occurs in. The interval is Student's, from the spread of
    those moves.
    """
    import numpy as np

    if not tasks or not all(pairs.both for pairs in tasks):
        return None
    mean, moves, flips = 0.0, {}, {}  # type: float, dict[str, float], dict[str, float]
    for pairs in tasks:
        values, clusters = differences(pairs)
        weight = 1 / (len(tasks) * len(values))
        average = sum(values) / len(values)
        mean += average / len(tasks)
        for value, cluster in zip(values, clusters, strict=True):
            moves[cluster] = moves.get(cluster, 0.0) + weight * (value - average)
            flips[cluster] = flips.get(cluster, 0.0) + weight * value
    p_value = sign_flip(list(flips.values()), rounds, generator(seed, "flip over tasks"))
    parts, half = np.array(list(moves.values())), 2.0
    if len(parts) > 1:
        spread = float((parts * parts).sum()) * len(parts) / (len(parts) - 1)
        half = student(CONFIDENCE, freedom(parts)) * spread**0.5 if spread > 0 else 0.0
    return Macro(Estimate(mean, max(-1.0, mean - half), min(1.0, mean + half), len(tasks)), p_value)

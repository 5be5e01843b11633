# SPDX-License-Identifier: Apache-2.0
"""Measures the judge of a finished evaluation from its records: votes, another judge's verdicts, length bias.

`consistency` is how often all votes on an answer agree. `disagreement` compares two judges' verdicts on the same
responses: two folders, one of them re-judged. `length_bias` is the rank correlation of verdict and answer length among
answers that differ from the reference. It does not show a cause: a longer answer may be better or worse. Records
without a score are excluded from shares and counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from medix_verl.errors import ConfigError
from medix_verl.evaluation.audit.agreement import Estimate, effective, is_few, quantile
from medix_verl.evaluation.audit.pairs import PAIR, Case
from medix_verl.evaluation.stats.intervals import CONFIDENCE, cluster_sums, clustered_mean, generator
from medix_verl.evaluation.stats.kappa import two_raters
from medix_verl.evaluation.stats.paired import ROUNDS, mean_difference
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record, first_answers
from medix_verl.judge.rule.normalise import normalise
from medix_verl.types import Reference

__all__ = ["Disagreement", "LengthBias", "cases_of", "consistency", "disagreement", "length_bias", "verdicts"]

FIELLER = 1.06
"""Factor of the variance of Fisher's z for a rank correlation (Fieller, Hartley and Pearson 1957)."""
FEW = 10
"""Clusters below which a correlation is not shown."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two judges on the same responses of binary tasks."""

    a: str
    b: str
    agreement: Estimate | None
    kappa: Estimate | None
    table: dict[str, int]
    """Verdicts of a and b: `yes_yes`, `yes_no`, `no_yes`, `no_no`."""
    shift: Estimate | None
    """Mean score by b minus mean score by a, in [-1, 1]; the interval is that of the paired differences."""
    other_response: int
    """Number of ids whose responses differ; they are not compared."""
    unscored: int
    """Number of equal responses with a missing verdict."""


@dataclass(frozen=True, slots=True)
class LengthBias:
    """Verdict and length of answers that differ from the reference."""

    correlation: Estimate
    """Spearman's, in [-1, 1]; above 0: longer answers are accepted more often."""
    accepted: float
    rejected: float
    """Median length in characters of accepted and of rejected answers."""


def verdicts(evaluation: Evaluation) -> list[Record]:
    """The scored first answers of all binary tasks, under the condition `real`."""
    return [
        record for records in evaluation.tasks().values() for record in first_answers(records) if is_verdict(record)
    ]


def is_verdict(record: Record) -> bool:
    """Whether a record is of a binary task and has the score 0 or 1."""
    return record.value in (0.0, 1.0) and record.answer_type in ("open", "closed")


def consistency(records: Iterable[Record]) -> Estimate | None:
    """Share of the answers on which all votes agree, over those with at least two readable votes."""
    voted = [(record, [vote for vote in record.votes if vote is not None]) for record in records]
    kept = [(float(len(set(votes)) == 1), record.cluster) for record, votes in voted if len(votes) > 1]
    return clustered_mean([same for same, _ in kept], [cluster for _, cluster in kept])


def disagreement(a: Evaluation, b: Evaluation) -> Disagreement:
    """Compare two judges' verdicts on the same responses.

    Raises:
        ConfigError: No response is in both.
    """
    right = {(record.task, record.id, record.repeat): record for records in b.tasks().values() for record in records}
    pairs = [
        (record, right[record.task, record.id, record.repeat])
        for records in a.tasks().values()
        for record in records
        if (record.task, record.id, record.repeat) in right and record.answer_type in ("open", "closed")
    ]
    same = [(x, y) for x, y in pairs if x.response == y.response]
    if not same:
        raise ConfigError(
            f"{a.folder} and {b.folder} have no response in common; give a folder that was re-judged: "
            "medix-verl evaluate rejudge EVAL_DIR"
        )
    judged = [(x, y) for x, y in same if is_verdict(x) and is_verdict(y)]
    clusters = [x.cluster for x, _ in judged]
    return Disagreement(
        a=a.judge,
        b=b.judge,
        **two_raters([(x.value == 1.0, y.value == 1.0) for x, y in judged], clusters),
        shift=shift([(y.value or 0.0) - (x.value or 0.0) for x, y in judged], clusters),
        other_response=len(pairs) - len(same),
        unscored=len(same) - len(judged),
    )


def shift(differences: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """The mean of differences in [-1, 1], with the interval of a paired difference of two models.

    If the judges never differ, the interval around 0 has the width for zero variance in as many clusters
    (`paired.reach_without_spread`), not that of a share of 1/2.
    """
    if not differences:
        return None
    sums = cluster_sums(differences, clusters, low=-1.0)
    return mean_difference(differences, sums, ROUNDS, generator(0, "two judges"))


def length_bias(records: Iterable[Record]) -> LengthBias | None:
    """Correlation of verdict and answer length; None with fewer than FEW clusters, or if one of them does not vary.

    The interval treats clusters, not answers, as independent.
    """
    from scipy.stats import spearmanr

    kept = [
        record
        for record in records
        if is_verdict(record) and record.answer and normalise(record.answer) != normalise(record.reference)
    ]
    lengths = [float(len(record.answer or "")) for record in kept]
    sizes = Counter(record.cluster for record in kept)
    clusters = len(sizes)
    if clusters < FEW or len({record.value for record in kept}) < 2 or len(set(lengths)) < 2:
        return None
    value = float(spearmanr(lengths, [record.value for record in kept]).statistic)
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * math.sqrt(FIELLER / (clusters - 3))
    middle = math.atanh(min(1 - 1e-9, max(-1 + 1e-9, value)))
    ends = math.tanh(middle - half), math.tanh(middle + half)
    estimate = Estimate(value, *ends, len(kept), is_few(effective(list(sizes.values()))))
    by_verdict = {
        passed: [length for record, length in zip(kept, lengths, strict=True) if record.value == passed]
        for passed in (0.0, 1.0)
    }
    return LengthBias(estimate, quantile(by_verdict[1.0], 0.5) or 0.0, quantile(by_verdict[0.0], 0.5) or 0.0)


def cases_of(records: Sequence[Record], count: int, seed: int = 0) -> list[Case]:
    """Judged answers as pairs for medix_verl.evaluation.audit.judge_audit, labelled with the recorded verdict.

    An audit of these pairs measures repeat consistency, and consistency with candidate and reference exchanged.

    Args:
        records: The result of `verdicts`.
        count: Most pairs; a seeded selection.
        seed: Seed of the selection.
    """
    import random

    asked = sorted((record for record in records if record.answer), key=lambda record: (record.task, record.id))
    chosen = random.Random(seed).sample(asked, min(count, len(asked)))
    return [
        Case(
            name=f"{record.task}/{record.id}",
            kind=PAIR,
            candidate=record.answer or "",
            reference=Reference(
                record.reference, modality=record.modality, question=record.question, options=record.options
            ),
            label=record.value == 1.0,
        )
        for record in chosen
    ]

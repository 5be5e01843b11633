# SPDX-License-Identifier: Apache-2.0
"""What a finished evaluation says of its judge, without asking anybody: votes, another judge's verdicts, length.

`consistency` is how often all votes on an answer agree. `disagreement` sets two judges' verdicts on the same responses
side by side: two folders of which one was re-judged. `length_bias` is the rank correlation of verdict and answer length
among answers that are not the reference's own words; it is a correlation, no cause, since a longer answer may well be
a better or a worse one. Records without a score are in no share, and are counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from medix_verl.errors import ConfigError
from medix_verl.evaluation.agreement import MIN_CLUSTERS, Estimate, quantile
from medix_verl.evaluation.intervals import CONFIDENCE, clustered_mean
from medix_verl.evaluation.kappa import clustered_kappa
from medix_verl.evaluation.pairs import PAIR, Case
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import Evaluation
from medix_verl.judge.rule.normalise import normalise
from medix_verl.types import Reference

__all__ = ["Disagreement", "LengthBias", "cases_of", "consistency", "disagreement", "length_bias", "verdicts"]

FIELLER = 1.06
"""Factor of the variance of Fisher's z for a rank correlation (Fieller, Hartley and Pearson 1957)."""
FEW = 10
"""Clusters below which a correlation is not shown."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two judges on the same responses, on tasks of right and wrong."""

    a: str
    b: str
    agreement: Estimate | None
    kappa: Estimate | None
    table: dict[str, int]
    """Verdicts of a and b: `yes_yes`, `yes_no`, `no_yes`, `no_no`."""
    shift: Estimate | None
    """Mean score by b minus mean score by a, in [-1, 1]; the interval is that of the disagreements."""
    other_response: int
    """Ids whose responses differ, which cannot be compared."""
    unscored: int
    """Same response, but a verdict is missing."""


@dataclass(frozen=True, slots=True)
class LengthBias:
    """Verdict and length of answers that are not the reference's own words."""

    correlation: Estimate
    """Spearman's, in [-1, 1]; above 0: longer answers are accepted more often."""
    accepted: float
    rejected: float
    """Median characters of accepted and of rejected answers."""


def verdicts(evaluation: Evaluation) -> list[Record]:
    """The scored records of all tasks of right and wrong, under the real pictures."""
    return [record for records in evaluation.tasks().values() for record in records if is_verdict(record)]


def is_verdict(record: Record) -> bool:
    """Whether a record is a plain right or wrong."""
    return record.value in (0.0, 1.0) and record.answer_type in ("open", "closed")


def consistency(records: Iterable[Record]) -> Estimate | None:
    """Share of the answers on which all votes agree, over those with two readable votes or more."""
    voted = [(record, [vote for vote in record.votes if vote is not None]) for record in records]
    kept = [(float(len(set(votes)) == 1), record.cluster) for record, votes in voted if len(votes) > 1]
    return clustered_mean([same for same, _ in kept], [cluster for _, cluster in kept])


def disagreement(a: Evaluation, b: Evaluation) -> Disagreement:
    """Two judges' verdicts on the same responses.

    Raises:
        ConfigError: No response is in both.
    """
    right = {(record.task, record.id): record for records in b.tasks().values() for record in records}
    pairs = [
        (record, right[record.task, record.id])
        for records in a.tasks().values()
        for record in records
        if (record.task, record.id) in right and record.answer_type in ("open", "closed")
    ]
    same = [(x, y) for x, y in pairs if x.response == y.response]
    if not same:
        raise ConfigError(
            f"{a.folder} and {b.folder} have no response in common; give a folder that was re-judged: "
            "medix-verl evaluate rejudge EVAL_DIR"
        )
    judged = [(x, y) for x, y in same if is_verdict(x) and is_verdict(y)]
    counts = Counter((x.value == 1.0, y.value == 1.0) for x, y in judged)
    clusters = [x.cluster for x, _ in judged]
    return Disagreement(
        a=a.judge,
        b=b.judge,
        agreement=clustered_mean([float(x.value == y.value) for x, y in judged], clusters),
        kappa=clustered_kappa([(x.value, y.value) for x, y in judged], clusters),
        table={f"{word(x)}_{word(y)}": counts[x, y] for x in (True, False) for y in (True, False)},
        shift=shift([(y.value or 0.0) - (x.value or 0.0) for x, y in judged], clusters),
        other_response=len(pairs) - len(same),
        unscored=len(same) - len(judged),
    )


def word(verdict: bool) -> str:
    """A verdict in a word."""
    return "yes" if verdict else "no"


def shift(differences: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """The mean of differences in [-1, 1], with the interval of a score that 1/2 is added to."""
    found = clustered_mean([(value + 1) / 2 for value in differences], clusters)
    return found and replace(found, value=2 * found.value - 1, low=2 * found.low - 1, high=2 * found.high - 1)


def length_bias(records: Iterable[Record]) -> LengthBias | None:
    """Does a longer answer pass more easily? None with too few answers, or where all were judged alike.

    The interval takes clusters, not answers, as independent.
    """
    from scipy.stats import spearmanr

    kept = [
        record
        for record in records
        if is_verdict(record) and record.answer and normalise(record.answer) != normalise(record.reference)
    ]
    lengths = [float(len(record.answer or "")) for record in kept]
    clusters = len({record.cluster for record in kept})
    if clusters < FEW or len({record.value for record in kept}) < 2 or len(set(lengths)) < 2:
        return None
    value = float(spearmanr(lengths, [record.value for record in kept]).statistic)
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * math.sqrt(FIELLER / (clusters - 3))
    middle = math.atanh(min(1 - 1e-9, max(-1 + 1e-9, value)))
    ends = math.tanh(middle - half), math.tanh(middle + half)
    estimate = Estimate(value, *ends, len(kept), clusters < MIN_CLUSTERS)
    by_verdict = {
        passed: [length for record, length in zip(kept, lengths, strict=True) if record.value == passed]
        for passed in (0.0, 1.0)
    }
    return LengthBias(estimate, quantile(by_verdict[1.0], 0.5) or 0.0, quantile(by_verdict[0.0], 0.5) or 0.0)


def cases_of(records: Sequence[Record], count: int, seed: int = 0) -> list[Case]:
    """Judged answers as pairs for medix_verl.evaluation.audit, with the recorded verdict as their label.

    An audit of these asks a judge again, and with candidate and reference exchanged: repeat and position.

    Args:
        records: What `verdicts` gave.
        count: How many at most; a seeded choice.
        seed: Of the choice.
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

# SPDX-License-Identifier: Apache-2.0
"""From a sample and a model's text to a value in [0, 1], or to why there is none: the two ways of judging.

`published`: one judge is asked three times in one conversation, and a question is right when at least two scores are
1; a report's scores of 0 to 5 are averaged. `robust`: votes that do not know of each other (one judge under several
seeds, or a panel of judges), cast by the very judge of the training reward: equality and guards first, the same
prompt, the same closed verdict, and a YES must hold with candidate and reference exchanged. Both fence the candidate,
and both leave unscored what a judge did not decide. Rubrics are judged criterion by criterion in either.

Nothing here knows an evaluation framework; judges are those of medix_verl.judge.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.asking import BINARY, MET, REPORT, Vote, Voter, ask_all, converse, write
from medix_verl.evaluation.protocol_spec import ProtocolSpec
from medix_verl.evaluation.subjects import Criterion, candidate_of, criteria_of, reference_of, restricted_name
from medix_verl.evaluation.tasks import METRICS
from medix_verl.evaluation.votes import majority, mean
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.rule.normalise import normalise
from medix_verl.specs import Choice, check
from medix_verl.types import Reference, Sample

__all__ = ["NO_CALL", "Outcome", "Protocol", "rubric_value"]

NO_CALL = ("equality", "guard", "rule")
"""Sources of a verdict that no model was asked for: every voter would say the same."""
NO_ANSWER = "no answer"
NO_GRADES = "gives verdicts and no grades; name a judge model"
OVERLAP = "rule: word overlap, no clinical judgement"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What judging gave. `value` None means unscored, never wrong."""

    value: float | None
    """In [0, 1]."""
    votes: tuple[float | None, ...] = ()
    """One for each asking (of a rubric: for each criterion, 1 for met), in [0, 1]; None where it gave none."""
    reason: str = ""
    """Why there is no value; beside one, what decided it."""
    answer: str | None = None
    """What was judged."""


class Protocol:
    """Judges samples; any number at once in one event loop."""

    def __init__(self, spec: ProtocolSpec, voters: Sequence[Voter]) -> None:
        """Keep the judges.

        Args:
            spec: How they are asked.
            voters: `published` takes one; `robust` any number (see medix_verl.evaluation.protocol_spec.build_protocol).

        Raises:
            ConfigError: No judge, or several for `published`.
        """
        if not voters or (spec.name == "published" and len(voters) > 1):
            raise ConfigError(f"protocol {spec.name} got {len(voters)} judges; give one, or choose --protocol robust")
        self.spec = spec
        self.voters = tuple(voters)

    @property
    def judge_name(self) -> str:
        """The judges' names, each once."""
        return "+".join(dict.fromkeys(voter.name for voter in self.voters))

    @property
    def stopped(self) -> str:
        """Why a judge is asked no more; empty while there is no reason."""
        return next((voter.judge.stopped for voter in self.voters if voter.judge.stopped), "")

    async def judge(self, sample: Sample, response: str, metric: str = "binary") -> Outcome:
        """Judge one text.

        Args:
            sample: The question with its reference.
            response: The model's whole text.
            metric: One of medix_verl.evaluation.tasks.METRICS.

        Raises:
            ConfigError: There is no such metric.
            DataError: A rubric is wanted and the sample's cannot be used.
        """
        check("metric", metric, Choice(METRICS))
        candidate = candidate_of(response, self.spec.extract)
        if candidate is None:
            return Outcome(0.0, reason=NO_ANSWER)
        if metric == "rubric":
            return await self.rubric(sample, candidate)
        talks = self.spec.name == "published" and self.can_talk
        reference = reference_of(sample, explained=talks)
        if metric == "report05":
            return await self.report(candidate, reference)
        if talks:
            votes = await self.converse(candidate, reference)
            return outcome(majority([vote.value for vote in votes]), votes, candidate)
        return await self.vote(candidate, reference)

    @property
    def can_talk(self) -> bool:
        """Whether every judge can be talked to; the others give verdicts and nothing else."""
        return all(voter.judge.can_chat for voter in self.voters)

    async def converse(self, candidate: str, reference: Reference) -> list[Vote]:
        """The published protocol's rounds for a right or wrong."""
        first = write(BINARY, candidate, reference, self.spec.max_chars, self.spec.suffix)
        restricted = reference.credentialed_row is not None
        return await converse(self.voters[0], first, BINARY, self.spec.votes, self.spec.rereads, restricted)

    async def vote(self, candidate: str, reference: Reference) -> Outcome:
        """The training judge's verdict, from every voter."""
        verdicts = await asyncio.gather(*(voter.judge.ask(candidate, reference) for voter in self.voters))
        plain = next((verdict for verdict in verdicts if verdict.ok and verdict.source in NO_CALL), None)
        if plain is not None:
            value = float(bool(plain.correct))
            return Outcome(value, (value,), plain.reason or plain.source, candidate)
        votes = [Vote(None if item.correct is None else float(item.correct), item.reason) for item in verdicts]
        return outcome(majority([vote.value for vote in votes]), votes, candidate)

    async def report(self, candidate: str, reference: Reference) -> Outcome:
        """A report's grade, 0 to 5 divided by 5."""
        if self.spec.name == "robust" and equal(candidate, reference):
            return Outcome(1.0, (1.0,), "equality", candidate)
        if isinstance(self.voters[0].judge.judge, RuleJudge):
            value = word_overlap(candidate, reference.answer)
            return Outcome(value, (value,), OVERLAP, candidate)
        if not self.can_talk:
            return Outcome(None, reason=f"the judge {self.judge_name} {NO_GRADES}", answer=candidate)
        restricted = reference.credentialed_row is not None
        first = write(REPORT, candidate, reference, self.spec.max_chars, self.spec.suffix)
        if self.spec.name == "published":
            votes = await converse(self.voters[0], first, REPORT, self.spec.votes, self.spec.rereads, restricted)
        else:
            votes = await ask_all(self.voters, first, REPORT, self.spec.rereads, restricted)
        return outcome(mean([vote.value for vote in votes]), votes, candidate)

    async def rubric(self, sample: Sample, candidate: str) -> Outcome:
        """The share of a rubric's points."""
        criteria = criteria_of(sample)
        if not self.can_talk:
            reason = f"the {self.judge_name} judge cannot read a rubric; name a judge model"
            return Outcome(None, reason=reason, answer=candidate)
        votes = await asyncio.gather(*(self.criterion(item, sample, candidate) for item in criteria))
        met = [vote.value for vote in votes]
        lost = next((vote for vote in votes if vote.value is None), None)
        if lost is not None:
            return Outcome(None, tuple(met), lost.reason or "the votes on a criterion are split", candidate)
        raw = rubric_value(criteria, [bool(value) for value in met])
        return Outcome(min(1.0, max(0.0, raw)), tuple(met), f"points {raw:.4g} of 1", candidate)

    async def criterion(self, item: Criterion, sample: Sample, candidate: str) -> Vote:
        """Whether one criterion is met, by the majority of the voters."""
        asked = Reference(answer=item.text, question=sample.question)
        first = write(MET, candidate, asked, self.spec.max_chars, self.spec.suffix)
        votes = await ask_all(self.voters, first, MET, self.spec.rereads, restricted_name(sample) is not None)
        return Vote(majority([vote.value for vote in votes]), first_reason(votes))

    async def close(self) -> None:
        """Close every judge; the protocol may not be asked again."""
        for judge in {id(voter.judge.judge): voter.judge for voter in self.voters}.values():
            await judge.close()


def outcome(value: float | None, votes: Sequence[Vote], candidate: str) -> Outcome:
    """The outcome of votes; without a value the reason is the first failure's, or that nobody has a majority."""
    reason = first_reason(votes)
    if value is None and not any(vote.value is None for vote in votes):
        reason = "the votes are split"
    return Outcome(value, tuple(vote.value for vote in votes), reason, candidate)


def first_reason(votes: Sequence[Vote]) -> str:
    """The first reason that a vote gave, in one line."""
    return next((" ".join(vote.reason.split()) for vote in votes if vote.reason), "")


def rubric_value(criteria: Sequence[Criterion], met: Sequence[bool]) -> float:
    """Points of what was met over the points that can be had; below 0 where more is lost than won.

    As HealthBench has it (simple-evals, healthbench_eval.py): negative points lower the sum and not the maximum. There
    the mean over all questions is clipped to [0, 1]; a record here has the clipped value, and its reason the raw one.

    Raises:
        DataError: Nothing can be won.
    """
    possible = math.fsum(item.points for item in criteria if item.points > 0)
    if not possible > 0:
        raise DataError("no criterion is worth a point; one at least needs points above 0")
    return math.fsum(item.points for item, is_met in zip(criteria, met, strict=True) if is_met) / possible


def word_overlap(candidate: str, reference: str) -> float:
    """F1 of the two texts' words, counted with their repetitions; deterministic, and blind to meaning."""
    left, right = normalise(candidate).split(), normalise(reference).split()
    rest = list(right)
    shared = 0
    for word in left:
        if word in rest:
            rest.remove(word)
            shared += 1
    return 2 * shared / (len(left) + len(right)) if left or right else 0.0

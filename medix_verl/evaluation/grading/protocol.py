# SPDX-License-Identifier: Apache-2.0
"""The two judging protocols: they map a sample and a response to a value in [0, 1], or to why it is unscored.

`published`: one judge is asked three times in one conversation; a question is right if at least two scores are 1, and
a report's scores of 0 to 5 are averaged. `robust`: independent votes (one judge with several seeds, or a panel of
judges) from the judge of the training reward: equality and guards first, then the same prompt and the same yes/no
verdict; with `swap`, a YES must be repeated with candidate and reference exchanged. Both protocols fence the candidate
in the prompt, leave undecided answers unscored, and judge rubrics criterion by criterion.

This module does not depend on an evaluation framework; the judges are those of medix_verl.judge.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.grading.asking import BINARY, MET, REPORT, Vote, Voter, ask_all, converse, write
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.grading.subjects import Criterion, candidate_of, criteria_of, reference_of, restricted_name
from medix_verl.evaluation.grading.votes import majority, mean
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.tasks.conversation import as_text
from medix_verl.evaluation.tasks.table import METRICS
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.rule.normalise import normalise
from medix_verl.specs import Choice, check
from medix_verl.thinking import Thinking
from medix_verl.types import ImageRef, Reference, Sample

__all__ = ["NO_CALL", "Outcome", "Protocol", "rubric_value"]

NO_CALL = ("equality", "guard", "rule")
"""Sources of a verdict that needed no model: every voter would give the same one."""
NO_ANSWER = "no answer"
NO_GRADES = "gives verdicts and no grades; name a judge model"
SPLIT = "the votes on a criterion are split"
OVERLAP = "rule: word overlap, no clinical judgement"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of judging. `value` None means unscored, not wrong."""

    value: float | None
    """In [0, 1]; for a rubric at most 1, possibly negative."""
    votes: tuple[float | None, ...] = ()
    """One vote in [0, 1] for each request (for a rubric: each criterion, 1 if met); None if unreadable or failed."""
    reason: str = ""
    """Why there is no value; if there is one, what decided it."""
    answer: str | None = None
    """The text that was judged."""


class Protocol:
    """Judges samples; any number concurrently in one event loop."""

    def __init__(self, spec: ProtocolSpec, voters: Sequence[Voter]) -> None:
        """Initialise the protocol.

        Args:
            spec: How judges are asked.
            voters: One for `published`; any number for `robust` (medix_verl.evaluation.grading.spec.build_protocol).

        Raises:
            ConfigError: No judge, or several for `published`.
        """
        if not voters or (spec.name == "published" and len(voters) > 1):
            raise ConfigError(
                f"protocol {spec.name} got {len(voters)} judges; give one, or choose "
                f"{setting('protocol.name', 'robust')}"
            )
        self.spec = spec
        self.voters = tuple(voters)

    @property
    def judge_name(self) -> str:
        """The judges' names, each once."""
        return "+".join(dict.fromkeys(voter.name for voter in self.voters))

    @property
    def stopped(self) -> str:
        """Why a judge is no longer asked; empty while all are in use."""
        return next((voter.judge.stopped for voter in self.voters if voter.judge.stopped), "")

    async def judge(
        self, sample: Sample, response: str, metric: str = "binary", images: Sequence[ImageRef] = ()
    ) -> Outcome:
        """Judge one response.

        Args:
            sample: The question with its reference.
            response: The model's whole text.
            metric: One of medix_verl.evaluation.tasks.table.METRICS.
            images: The question's own pictures under every condition, for judges that take pictures.

        Raises:
            ConfigError: There is no such metric.
            DataError: The metric is `rubric`, and the sample's rubric is missing or invalid.
        """
        check("metric", metric, Choice(METRICS))
        candidate = candidate_of(response, self.spec.extract, Thinking(self.spec.thinking))
        if candidate is None:
            return Outcome(0.0, reason=NO_ANSWER)
        if metric == "rubric":
            return await self.rubric(sample, candidate, tuple(images))
        talks = self.spec.name == "published" and self.can_talk
        reference = replace(reference_of(sample, explained=talks), images=tuple(images))
        if metric == "report05":
            return await self.report(candidate, reference)
        if talks:
            # The published judge gets no pictures.
            asked = write(self.spec, BINARY, candidate, replace(reference, images=()))
            votes = await converse(self.voters[0], asked, self.spec.votes)
            return outcome(majority([vote.value for vote in votes]), votes, candidate)
        return await self.vote(candidate, reference)

    @property
    def can_talk(self) -> bool:
        """Whether every judge supports chat; one that does not gives yes/no verdicts only."""
        return all(voter.judge.can_chat for voter in self.voters)

    async def vote(self, candidate: str, reference: Reference) -> Outcome:
        """Majority of the voters' verdicts, each given as by the training judge."""
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
        if self.spec.name == "published":
            asked = write(self.spec, REPORT, candidate, replace(reference, images=()))
            votes = await converse(self.voters[0], asked, self.spec.votes)
        else:
            votes = await ask_all(self.voters, write(self.spec, REPORT, candidate, reference))
        return outcome(mean([vote.value for vote in votes]), votes, candidate)

    async def rubric(self, sample: Sample, candidate: str, images: tuple[ImageRef, ...] = ()) -> Outcome:
        """The share of a rubric's points.

        A criterion with only unreadable replies is left out of the points and of their maximum, and is counted in the
        reason, as long as more than half of the criteria are decided. A failed request or a split vote leaves the
        conversation unscored.
        """
        criteria = criteria_of(sample)
        if not self.can_talk:
            reason = f"the {self.judge_name} judge cannot read a rubric; name a judge model"
            return Outcome(None, reason=reason, answer=candidate)
        votes = await asyncio.gather(*(self.criterion(item, sample, candidate, images) for item in criteria))
        met = [vote.value for vote in votes]
        read = [(item, bool(value)) for item, value in zip(criteria, met, strict=True) if value is not None]
        lost = [vote for vote in votes if vote.value is None]
        enough = len(read) * 2 > len(criteria) and any(item.points > 0 for item, _ in read)
        if lost and not (enough and all(vote.unreadable for vote in lost)):
            return Outcome(None, tuple(met), first_reason(lost), candidate)
        raw = rubric_value([item for item, _ in read], [is_met for _, is_met in read])
        explanation = f"points {raw:.4g} of 1"
        if lost:
            explanation += (
                f", without {len(lost)} of {len(criteria)} criteria that could not be read: {first_reason(lost)}"
            )
        return Outcome(raw, tuple(met), explanation, candidate)

    async def criterion(
        self, item: Criterion, sample: Sample, candidate: str, images: tuple[ImageRef, ...] = ()
    ) -> Vote:
        """Whether one criterion is met, by the majority of the voters."""
        # As the published grader: points, criterion, and the whole conversation with the answer at its end.
        text = f"{item.text}\n(points: {item.points:+g})"
        asked = Reference(text, question=as_text(sample), credentialed_row=restricted_name(sample), images=images)
        votes = await ask_all(self.voters, write(self.spec, MET, candidate, asked))
        value = majority([vote.value for vote in votes])
        unreadable = value is None and all(vote.unreadable for vote in votes if vote.value is None)
        return Vote(value, first_reason(votes) or ("" if value is not None else SPLIT), unreadable)

    @property
    def adapted(self) -> frozenset[str]:
        """Request parameters that the judges' servers rejected and that are left out."""
        pools = [voter.judge.judge for voter in self.voters if isinstance(voter.judge.judge, JudgePool)]
        return frozenset().union(*(pool.adapted for pool in pools))

    @property
    def tokens(self) -> tuple[int, int, int]:
        """Prompt tokens and reply tokens of the judges so far, and the number of cache hits."""
        pools = {id(pool): pool for voter in self.voters if isinstance(pool := voter.judge.judge, JudgePool)}.values()
        given, said = (sum(pool.tokens[place] for pool in pools) for place in (0, 1))
        return given, said, sum(pool.counters.cache_hits for pool in pools)

    async def close(self) -> None:
        """Close every judge; the protocol must not be used afterwards."""
        for judge in {id(voter.judge.judge): voter.judge for voter in self.voters}.values():
            await judge.close()


def outcome(value: float | None, votes: Sequence[Vote], candidate: str) -> Outcome:
    """The outcome of votes; without a value, the reason is that of the first failure, or that there is no majority."""
    reason = first_reason(votes)
    if value is None and not any(vote.value is None for vote in votes):
        reason = "the votes are split"
    return Outcome(value, tuple(vote.value for vote in votes), reason, candidate)


def first_reason(votes: Sequence[Vote]) -> str:
    """The first reason among the votes, in one line."""
    return next((" ".join(vote.reason.split()) for vote in votes if vote.reason), "")


def rubric_value(criteria: Sequence[Criterion], met: Sequence[bool]) -> float:
    """Points of the met criteria divided by the maximum; negative where more points are lost than won.

    As in HealthBench (simple-evals, healthbench_eval.py): negative points lower the sum but not the maximum, and only
    the mean over all conversations is clipped to [0, 1] (medix_verl.evaluation.stats.intervals), so that a harmful
    answer scores lower than no answer.

    Raises:
        DataError: No criterion has positive points.
    """
    possible = math.fsum(item.points for item in criteria if item.points > 0)
    if not possible > 0:
        raise DataError("no criterion is worth a point; one at least needs points above 0")
    return math.fsum(item.points for item, is_met in zip(criteria, met, strict=True) if is_met) / possible


def word_overlap(candidate: str, reference: str) -> float:
    """F1 of the two texts' words, counted with repetitions; deterministic, and independent of meaning."""
    left, right = normalise(candidate).split(), normalise(reference).split()
    rest = list(right)
    shared = 0
    for word in left:
        if word in rest:
            rest.remove(word)
            shared += 1
    return 2 * shared / (len(left) + len(right)) if left or right else 0.0

# SPDX-License-Identifier: Apache-2.0
"""MediX-R1's composite reward: judge, semantic similarity, modality and format in one itemised score.

Here, and only here, is decided what a failure means: a judge or an encoder that could not answer leaves the answer
unscored (`score` None, with the reason), while the parts that could be had are kept. Where the recipe says so, the
score is taken over the terms that answered, and the reason is kept beside it; it never is without judge and encoder
both. An answer that plainly equals its reference costs no call, and a response without an answer is wrong without
anybody being asked.
"""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from medix_verl.embedding.curve import worth
from medix_verl.embedding.encoder import Encoder
from medix_verl.errors import ConfigError, EncoderError, JudgeError
from medix_verl.judge.judge import Judge
from medix_verl.judge.rule.equality import equal, meaning
from medix_verl.response import parse_response
from medix_verl.rewards.published import parse_published
from medix_verl.rewards.spec import RewardSpec
from medix_verl.rewards.terms import combine, format_term, modality_term
from medix_verl.types import Reference, Response, RewardBreakdown, Similarity, Verdict

__all__ = ["CompositeReward"]

SLICE = 64
"""Answers that are begun without a look at what has arrived."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the judge and the encoder said of one answer, as terms in [0, 1]; None for what failed or is off."""

    acc: float | None
    """The hard verdict."""
    judge: float | None
    """The judge's term: its probability where there is one, else the hard verdict."""
    semantic: float | None
    reason: str = ""


class CompositeReward:
    """Scores answers; one object serves any number of concurrent calls in one event loop."""

    def __init__(self, spec: RewardSpec | None = None, judge: Judge | None = None, encoder: Encoder | None = None):
        """Keep the services; nothing is loaded or asked yet.

        Args:
            spec: Weights and services; None is the published rule with the rule judge.
            judge: The judge; None builds the spec's when one is first needed.
            encoder: The encoder; None builds the spec's when one is first needed.
        """
        self.spec = spec or RewardSpec()
        self.judge = judge
        self.encoder = encoder
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lock = threading.Lock()

    @classmethod
    def from_spec(
        cls, spec: RewardSpec, served_url: str | None = None, served_model: str | None = None
    ) -> CompositeReward:
        """Build everything at once, so that a wrong recipe fails before the first answer; see build_services."""
        from medix_verl.rewards.build import build_services

        return cls(spec, *build_services(spec, served_url, served_model))

    async def score(self, response: str | Response, reference: Reference) -> RewardBreakdown:
        """Score one response.

        Args:
            response: A model's whole text, or the parsed one.
            reference: The right answer.

        Returns:
            The itemised score; `score` is None where the judge or the encoder failed and the policy is not to
            renormalise, or where nothing that says whether the answer is right is left.

        Raises:
            ConfigError: A service has to be built and its settings are wrong, or the row is credentialed and the
                judge is not local, whether it would be asked or not.
            EncoderError: The embedding model has to be loaded and is not on this machine.
        """
        self.check_row(reference)
        parsed = self.parse(response)
        opinion = await self.opinion(parsed.answer, reference)
        form, modality = format_term(parsed), modality_term(parsed, reference)
        scored = not opinion.reason or self.has_enough(opinion)
        score = combine(self.spec, form, opinion.judge, opinion.semantic, modality) if scored else None
        return RewardBreakdown(
            score=score,
            acc=opinion.acc,
            judge=opinion.judge,
            semantic=opinion.semantic,
            format=form,
            modality=modality,
            judge_ok=opinion.judge is not None,
            semantic_ok=self.spec.semantic.enable and opinion.semantic is not None,
            modality_applies=modality is not None,
            semantic_applies=self.spec.semantic.enable,
            answer=parsed.answer,
            reason=opinion.reason,
        )

    def check_row(self, reference: Reference) -> None:
        """Refuse a credentialed row where the judge is not local: at the first one, not at the first that is asked.

        Raises:
            ConfigError: See medix_verl.judge.credentials.
        """
        if reference.credentialed_row is None:
            return
        gate = getattr(self.built_judge(), "gate", None)
        if gate is not None:
            gate.check(reference)

    def parse(self, response: str | Response) -> Response:
        """Find answer, format and modality by the rule of the recipe.

        Raises:
            ConfigError: The published rule was given a response that another rule has parsed.
        """
        if self.spec.rule == "medix":
            return response if isinstance(response, Response) else parse_response(response)
        if isinstance(response, Response):
            raise ConfigError("rule 'published' reads the whole text and got a parsed Response; pass the model's text")
        return parse_published(response)

    async def score_many(self, pairs: Iterable[tuple[str | Response, Reference]]) -> list[RewardBreakdown]:
        """Score many responses concurrently; the result is in the order of the pairs."""
        tasks: list[asyncio.Task[RewardBreakdown]] = []
        try:
            for response, reference in pairs:
                tasks.append(asyncio.ensure_future(self.score(response, reference)))
                if len(tasks) % SLICE == 0:
                    # The first questions are on their way while the last answers are still being parsed.
                    await asyncio.sleep(0)
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            raise

    def score_sync(self, response: str | Response, reference: Reference) -> RewardBreakdown:
        """`score`, for callers without an event loop; call `close_sync` when done."""
        return self.run(self.score(response, reference))

    async def close(self) -> None:
        """Close the judge and the encoder; the reward may not be asked again."""
        for service in (self.judge, self.encoder):
            if service is not None:
                await service.close()

    def close_sync(self) -> None:
        """`close`, for callers without an event loop."""
        self.run(self.close())
        if self.loop is not None:
            self.loop.close()

    async def opinion(self, answer: str | None, reference: Reference) -> Opinion:
        """The judge's and the encoder's terms, asked at once where they must be asked at all."""
        enabled = self.spec.semantic.enable
        if answer is None:
            return Opinion(0.0, 0.0, 0.0 if enabled else None)
        if equal(answer, reference):
            self.note_equality()
            return Opinion(1.0, 1.0, 1.0 if enabled else None)
        self.build_missing()
        verdict, similarity = await asyncio.gather(self.ask(answer, reference), self.compare(answer, reference))
        reasons = []
        if verdict.correct is None:
            reasons.append(f"judge: {verdict.reason or 'no verdict'}")
        if similarity is not None and similarity.value is None:
            reasons.append(f"semantic: {similarity.reason or 'no similarity'}")
        acc = None if verdict.correct is None else float(verdict.correct)
        return Opinion(acc, graded(verdict), self.semantic(similarity), "; ".join(reasons))

    def note_equality(self) -> None:
        """A judge that counts its answers is told of one that it was spared."""
        counters = getattr(self.judge, "counters", None)
        if counters is not None:
            counters.note_equality()

    def has_enough(self, opinion: Opinion) -> bool:
        """Whether the policy is to score over what answered, and that still tells a right answer from a wrong one."""
        weights = self.spec.weights
        told = (opinion.judge is not None and weights.judge > 0) or (
            opinion.semantic is not None and weights.semantic > 0
        )
        return told and self.spec.failure.policy == "renormalise"

    def semantic(self, similarity: Similarity | None) -> float | None:
        """The semantic term of a similarity, None where there is none."""
        if similarity is None or similarity.value is None:
            return None
        return worth(self.spec.semantic, similarity.value)

    async def ask(self, answer: str, reference: Reference) -> Verdict:
        """Ask the judge; an error that escapes it is a failure like any other."""
        assert self.judge is not None
        try:
            return await self.judge.ask(answer, reference)
        except JudgeError as error:
            return Verdict(None, "judge", str(error) or type(error).__name__)

    async def compare(self, answer: str, reference: Reference) -> Similarity | None:
        """Ask the encoder; None where the semantic term is switched off."""
        if not self.spec.semantic.enable:
            return None
        assert self.encoder is not None
        try:
            similarity = await self.encoder.compare(answer, meaning(reference))
        except EncoderError as error:
            return Similarity(None, str(error) or type(error).__name__)
        if similarity.value is not None and not math.isfinite(similarity.value):
            return Similarity(None, f"the encoder gave {similarity.value}")
        return similarity

    def build_missing(self) -> None:
        """Build what was not handed in."""
        from medix_verl.embedding.encoder import build_encoder

        self.built_judge()
        if self.encoder is None and self.spec.semantic.enable:
            self.encoder = build_encoder(self.spec.semantic)

    def built_judge(self) -> Judge:
        """The judge, built where none was handed in."""
        from medix_verl.judge.build import build_judge

        if self.judge is None:
            self.judge = build_judge(self.spec.judge)
        return self.judge

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run in an event loop of our own, kept because the judge's connections belong to it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            work.close()
            raise RuntimeError("score_sync was called inside an event loop; type: await reward.score(...)")
        with self.lock:
            if self.loop is None or self.loop.is_closed():
                self.loop = asyncio.new_event_loop()
                weakref.finalize(self, self.loop.close)
            return self.loop.run_until_complete(work)


def graded(verdict: Verdict) -> float | None:
    """The judge's term: its P(YES) where it gave one, else 0 or 1; None without a verdict."""
    if verdict.correct is None:
        return None
    probability = verdict.probability
    if probability is None or not math.isfinite(probability):
        return float(verdict.correct)
    return min(1.0, max(0.0, probability))

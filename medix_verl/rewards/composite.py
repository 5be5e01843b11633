# SPDX-License-Identifier: Apache-2.0
"""The composite reward: calls the terms of a recipe concurrently and combines them into one itemised score.

    R = (1 - w) content + w format,    content: the weighted mean of the terms that apply

This module alone decides the effect of a failure: if a term fails, the answer is unscored (`score` None, with the
reason), and the values of the other terms are kept. If the recipe sets `renormalise`, the score is computed over the
terms that did not fail, provided that one of them tells whether the answer is right. An answer that equals its
reference, or that a guard stops, is decided once, before any term is called.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from medix_verl.embedding.encoder import Encoder, build_encoder, check_encoder_row, connect_encoder
from medix_verl.errors import ConfigError, EncoderError
from medix_verl.judge.judge import GuardedJudge, Judge, build_judge, connect_judge
from medix_verl.judge.rule.equality import equal
from medix_verl.response import parse_response
from medix_verl.rewards.gdpo import FORM, Shares
from medix_verl.rewards.reading import parse_published
from medix_verl.rewards.spec import RewardSpec
from medix_verl.rewards.term import Answer, BoundTerm, Graded, Term, checked, keys_of, term_class
from medix_verl.rewards.terms import BUILT_IN, FormatTerm, JudgeTerm, ModalityTerm, SemanticTerm
from medix_verl.thinking import Thinking
from medix_verl.types import Failed, Failure, Reference, Response, RewardBreakdown, TermKeys, Verdict

__all__ = ["CompositeReward", "combine", "deciding_term", "shares_of"]

SLICE = 64
"""Number of answers that are started before control returns to the event loop."""

Result = TypeVar("Result")


class CompositeReward:
    """Scores answers; one object supports concurrent calls in one event loop."""

    def __init__(
        self,
        spec: RewardSpec | None = None,
        judge: Judge | GuardedJudge | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """Keep the services and make the terms; nothing is loaded or called yet.

        Args:
            spec: Terms, weights and services; None is the published rule with the rule judge.
            judge: The judge; None builds the spec's on first use.
            encoder: The encoder; None builds the spec's on first use.

        Raises:
            ConfigError: A term cannot be found or made, or the judge does not state its endpoints.
        """
        self.spec = spec or RewardSpec()
        self.judge = judge if judge is None or isinstance(judge, GuardedJudge) else GuardedJudge(judge, self.spec.judge)
        self.encoder = encoder
        self.terms = self.make_terms()
        self.keys = tuple(bound.keys for bound in self.terms)
        self.services = tuple(bound for bound in self.terms if bound.term.can_fail)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lock = threading.Lock()

    @classmethod
    def from_spec(
        cls, spec: RewardSpec, served_url: str | None = None, served_model: str | None = None
    ) -> CompositeReward:
        """Connect to all services now, so that a wrong recipe fails before the first answer.

        Under Ray these are the run's shared judge and encoder, otherwise services of this process.

        Args:
            spec: The recipe's reward section.
            served_url: `ip:port` of verl's reward router, for the judge kind `verl`.
            served_model: Name of the model behind it.

        Raises:
            ConfigError: The judge's settings are incomplete, or a term cannot be made.
            EncoderError: The embedding model is not on this machine.
        """
        judge = connect_judge(spec.judge, served_url=served_url, served_model=served_model)
        enabled = spec.semantic.enable
        return cls(spec, judge, connect_encoder(spec.semantic, spec.judge.local_networks) if enabled else None)

    def make_terms(self) -> tuple[BoundTerm, ...]:
        """The recipe's terms, the package's first; always includes `format`."""
        made: list[BoundTerm] = []
        content = self.spec.content
        for name, cls in term_classes(self.spec).items():
            weight = content[name].weight if name in content else 0.0
            made.append(BoundTerm(name, weight or 0.0, self.make(name, cls)))
        return tuple(made)

    def make(self, name: str, cls: type[Term]) -> Term:
        """One term; the package's terms get their services, others the additional keys of their entry."""
        if cls is JudgeTerm:
            return JudgeTerm(self.built_judge)
        if cls is SemanticTerm:
            return SemanticTerm(self.spec.semantic, self.built_encoder, self.spec.judge.allow_credentialed)
        if cls in (FormatTerm, ModalityTerm):
            return cls()
        options = self.spec.content[name].options
        try:
            return cls(**options)
        except Exception as error:
            given = ", ".join(options) or "no further key"
            raise ConfigError(
                f"reward.medix.terms.{name} cannot be made with {given} ({type(error).__name__}: {error}); the keys "
                f"beside path, name and weight are what {cls.__name__}(...) is called with"
            ) from error

    async def score(
        self, response: str | Response, reference: Reference, thinking: Thinking | None = None
    ) -> RewardBreakdown:
        """Score one response.

        Args:
            response: A model's whole text, or the parsed response.
            reference: The right answer.
            thinking: The thinking state of the prompt; see `thinking`.

        Returns:
            The itemised score; `score` is None if a term failed and the policy is not `renormalise`, or if no remaining
            term tells whether the answer is right.

        Raises:
            ConfigError: A service has to be built and its settings are wrong, or the row is credentialed and a
                service is not known to be local, even if it would not be called.
            EncoderError: The embedding model has to be loaded and is not on this machine.
        """
        self.check_row(reference)
        parsed = self.parse(response, thinking)
        answer = Answer(parsed, reference, self.decide(parsed.answer, reference))
        scores = await self.ask(answer)
        terms = {name: score.value if isinstance(score, Graded) else score for name, score in scores.items()}
        failures = {name: value for name, value in terms.items() if isinstance(value, Failed)}
        values = {name: None if isinstance(value, Failed) else value for name, value in terms.items()}
        scored = not failures or (self.spec.failure.policy == "renormalise" and self.has_enough(values))
        return RewardBreakdown(
            score=combine(self.weighed(values), values[FORM] or 0.0, self.spec.format_weight) if scored else None,
            acc=self.verdict(scores),
            terms=values,
            answer=parsed.answer,
            failures=failures,
            keys=self.keys,
        )

    def decide(self, text: str | None, reference: Reference) -> Verdict | None:
        """The verdict on an answer if it needs no judge, else None."""
        if text is None:
            return None
        if self.judge is None and equal(text, reference):  # avoids building a judge
            return Verdict(True, "equality")
        return self.built_judge().without_asking(text, reference)

    async def ask(self, answer: Answer) -> dict[str, Any]:
        """Every term's score by name; terms that may have to wait run concurrently."""
        tasks: dict[str, asyncio.Task[Any]] = {}
        if answer.text is not None and answer.decided is None:
            # The last one is awaited here, which avoids the cost of another task.
            tasks = {item.name: asyncio.ensure_future(one(item, answer)) for item in self.services[:-1]}
        try:
            scores = {}
            for bound in reversed(self.terms):
                task = tasks.get(bound.name)
                scores[bound.name] = await (one(bound, answer) if task is None else task)
        except BaseException:
            for task in tasks.values():
                task.cancel()
            raise
        return {bound.name: scores[bound.name] for bound in self.terms}

    def verdict(self, scores: Mapping[str, Any]) -> float | None:
        """The hard verdict of the deciding term; None if it failed, or there is none."""
        for bound in self.terms:
            score = scores[bound.name]
            if bound.term.acc and score is not None and not isinstance(score, Failed):
                return float(score.acc if isinstance(score, Graded) else score >= 0.5)
        return None

    def weighed(self, values: Mapping[str, float | None]) -> list[tuple[float, float | None]]:
        """Weight and value of each term of the content."""
        return [(bound.weight, values[bound.name]) for bound in self.terms]

    def has_enough(self, values: Mapping[str, float | None]) -> bool:
        """Whether the terms that did not fail still distinguish a right answer from a wrong one."""
        return any(
            bound.term.tells_right and bound.weight > 0 and values[bound.name] is not None for bound in self.terms
        )

    def check_row(self, reference: Reference) -> None:
        """Refuse a credentialed row if a service is not local; checked for every such row, before a service is called.

        Raises:
            ConfigError: See medix_verl.judge.judge.GuardedJudge.check_row, and the encoder's check_encoder_row.
        """
        if reference.credentialed_row is None:
            return
        self.built_judge().check_row(reference)
        judge, semantic = self.spec.judge, self.spec.semantic
        if semantic.enable and (self.encoder is not None or semantic.kind == "openai"):
            check_encoder_row(self.built_encoder(), reference, judge.local_networks, judge.allow_credentialed)

    def thinking(self, prompt: Thinking | None = None) -> Thinking:
        """The thinking state of the prompt: the recipe's setting if there is one, else the state read from the prompt.

        Args:
            prompt: As read from the prompt (medix_verl.thinking); None without a prompt.
        """
        return (prompt or Thinking.NONE) if self.spec.thinking == "auto" else Thinking(self.spec.thinking)

    def parse(self, response: str | Response, thinking: Thinking | None = None) -> Response:
        """Find answer, format and modality by the rule of the recipe.

        Args:
            response: A model's whole text, or the parsed response.
            thinking: The thinking state of the prompt, which the published rule ignores; see `thinking`.

        Raises:
            ConfigError: The published rule was given a parsed response.
        """
        if self.spec.rule == "medix":
            return response if isinstance(response, Response) else parse_response(response, self.thinking(thinking))
        if isinstance(response, Response):
            raise ConfigError("rule 'published' reads the whole text and got a parsed Response; pass the model's text")
        return parse_published(response)

    async def score_many(
        self, pairs: Iterable[tuple[str | Response, Reference] | tuple[str | Response, Reference, Thinking | None]]
    ) -> list[RewardBreakdown]:
        """Score many responses concurrently; each item has the arguments of `score`; results are in the same order."""
        tasks: list[asyncio.Task[RewardBreakdown]] = []
        try:
            for pair in pairs:
                tasks.append(asyncio.ensure_future(self.score(*pair)))
                if len(tasks) % SLICE == 0:
                    # The first requests are sent while the last answers are still being parsed.
                    await asyncio.sleep(0)
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            raise

    def score_sync(
        self, response: str | Response, reference: Reference, thinking: Thinking | None = None
    ) -> RewardBreakdown:
        """`score`, for callers without an event loop; call `close_sync` when done."""
        return self.run(self.score(response, reference, thinking))

    async def close(self) -> None:
        """Close the judge, the encoder and the terms; the reward must not be used afterwards."""
        for service in (self.judge, self.encoder, *(bound.term for bound in self.terms)):
            if service is not None:
                await service.close()

    def close_sync(self) -> None:
        """`close`, for callers without an event loop."""
        self.run(self.close())
        if self.loop is not None:
            self.loop.close()

    def built_judge(self) -> GuardedJudge:
        """The judge; built if none was passed in."""
        if self.judge is None:
            self.judge = build_judge(self.spec.judge)
        return self.judge

    def built_encoder(self) -> Encoder:
        """The encoder; built if none was passed in."""
        if self.encoder is None:
            self.encoder = build_encoder(self.spec.semantic, self.spec.judge.local_networks)
        return self.encoder

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run in an event loop of this object, which is kept because the judge's connections belong to it."""
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


def term_classes(spec: RewardSpec) -> dict[str, type[Term]]:
    """Name -> class of each term of a recipe, the package's first, in the order of rows and reports.

    Raises:
        ConfigError: A term cannot be found, or not exactly one term decides right and wrong.
    """
    content = spec.content
    found = {name: cls for name, cls in BUILT_IN.items() if name in content or name == FORM}
    found |= {name: term_class(name, entry, BUILT_IN) for name, entry in content.items()}
    deciding = [name for name, cls in found.items() if cls.acc]
    if len(deciding) != 1:
        raise ConfigError(
            f"{', '.join(deciding) or 'no term'} of reward.medix.terms says what is right and wrong; it must be one: "
            "leave one term with `acc = True`, such as judge (reward.medix.terms.NAME=null takes one out)"
        )
    return found


def shares_of(spec: RewardSpec) -> Shares:
    """The keys and weights of a recipe's terms, for readers of rows; no term is made; see term_classes."""
    classes = term_classes(spec)
    return Shares(
        keys=tuple(keys_of(name, cls) for name, cls in classes.items()),
        weights={name: entry.weight or 0.0 for name, entry in spec.content.items()},
        format_weight=spec.format_weight,
    )


def deciding_term(spec: RewardSpec) -> TermKeys:
    """The keys of the term that decides right and wrong; see term_classes."""
    return next(keys_of(name, cls) for name, cls in term_classes(spec).items() if cls.acc)


async def one(bound: BoundTerm, answer: Answer) -> Any:
    """One term's checked score; an exception is a failure, except for wrong settings."""
    try:
        return checked(await bound.term.score(answer))
    except (ConfigError, EncoderError):
        raise
    except Exception as error:  # noqa: BLE001 - a user's term may raise anything; its answer is unscored
        return Failed(Failure.INTERNAL, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def combine(terms: Sequence[tuple[float, float | None]], form: float, format_weight: float) -> float:
    """Compute the weighted score.

    Args:
        terms: Weight and value of each term of the content; a value is in [0, 1], or None if the term does not apply:
            its weight is distributed among the others, so that a perfect answer always scores 1.
        form: The format term.
        format_weight: Its weight.

    Returns:
        The score in [0, 1]; the format term alone if no term with a weight applies.

    Example:
        Well formed, right by the judge, not similar enough for the encoder, right modality:
        0.9 * (0.575 + 0.05) + 0.1 = 0.6625.
    """
    applying = [(weight, value) for weight, value in terms if value is not None and weight > 0]
    largest = max((weight for weight, _ in applying), default=0.0)
    if largest == 0.0:
        return form
    # Divided by the largest weight first, because a sum of huge weights would overflow to infinity.
    total = sum(weight / largest for weight, _ in applying)
    content = sum(weight / largest * value for weight, value in applying) / total
    # Written as one step from content towards form, so that a perfect answer is exactly 1.
    return min(1.0, max(0.0, content + format_weight * (form - content)))

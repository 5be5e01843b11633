# SPDX-License-Identifier: Apache-2.0
"""The composite reward: the terms of a recipe, asked at once, in one itemised score.

    R = (1 - w) content + w format,    content: the mean of the terms that apply, by their weights

Here, and only here, is decided what a failure means: a term that could not be had leaves the answer unscored (`score`
None, with the reason), while the terms that could be had are kept. Where the recipe says so, the score is taken over
the terms that answered; it never is where none of them says whether the answer is right. An answer that equals its
reference, or that a guard stops, is decided once, before any term is asked.
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
from medix_verl.types import Failed, Failure, Reference, Response, RewardBreakdown, TermKeys, Verdict

__all__ = ["CompositeReward", "combine", "deciding_term", "shares_of"]

SLICE = 64
"""Answers that are begun without a look at what has arrived."""

Result = TypeVar("Result")


class CompositeReward:
    """Scores answers; one object serves any number of concurrent calls in one event loop."""

    def __init__(
        self,
        spec: RewardSpec | None = None,
        judge: Judge | GuardedJudge | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """Keep the services and make the terms; nothing is loaded or asked yet.

        Args:
            spec: Terms, weights and services; None is the published rule with the rule judge.
            judge: The judge; None builds the spec's when one is first needed.
            encoder: The encoder; None builds the spec's when one is first needed.

        Raises:
            ConfigError: A term cannot be found or made, or the judge does not say which endpoints it asks.
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
        """Connect to everything at once, so that a wrong recipe fails before the first answer.

        Under Ray these are the run's shared judge and encoder, elsewhere ones of this process.

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
        """The recipe's terms, those of the package first; `format` is always there."""
        made: list[BoundTerm] = []
        content = self.spec.content
        for name, cls in term_classes(self.spec).items():
            weight = content[name].weight if name in content else 0.0
            made.append(BoundTerm(name, weight or 0.0, self.make(name, cls)))
        return tuple(made)

    def make(self, name: str, cls: type[Term]) -> Term:
        """One term; those of the package get their services, others the further keys of their entry."""
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

    async def score(self, response: str | Response, reference: Reference) -> RewardBreakdown:
        """Score one response.

        Args:
            response: A model's whole text, or the parsed one.
            reference: The right answer.

        Returns:
            The itemised score; `score` is None where a term failed and the policy is not to renormalise, or where
            nothing that says whether the answer is right is left.

        Raises:
            ConfigError: A service has to be built and its settings are wrong, or the row is credentialed and a
                service is not known to be local, whether it would be asked or not.
            EncoderError: The embedding model has to be loaded and is not on this machine.
        """
        self.check_row(reference)
        parsed = self.parse(response)
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
        """What is certain of an answer without asking anybody."""
        if text is None:
            return None
        if self.judge is None and equal(text, reference):  # no judge is built for what needs none
            return Verdict(True, "equality")
        return self.built_judge().without_asking(text, reference)

    async def ask(self, answer: Answer) -> dict[str, Any]:
        """Every term's score by name; terms that may have to wait for somebody wait side by side."""
        tasks: dict[str, asyncio.Task[Any]] = {}
        if answer.text is not None and answer.decided is None:
            # The last one is awaited here: a task of its own would only cost time.
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
        """The hard verdict of the term that decides; None where it failed, or there is none."""
        for bound in self.terms:
            score = scores[bound.name]
            if bound.term.acc and score is not None and not isinstance(score, Failed):
                return float(score.acc if isinstance(score, Graded) else score >= 0.5)
        return None

    def weighed(self, values: Mapping[str, float | None]) -> list[tuple[float, float | None]]:
        """Weight and value of each term of the content."""
        return [(bound.weight, values[bound.name]) for bound in self.terms]

    def has_enough(self, values: Mapping[str, float | None]) -> bool:
        """Whether what answered still tells a right answer from a wrong one."""
        return any(
            bound.term.tells_right and bound.weight > 0 and values[bound.name] is not None for bound in self.terms
        )

    def check_row(self, reference: Reference) -> None:
        """Refuse a credentialed row where a service is not local: at the first one, not at the first that is asked.

        Raises:
            ConfigError: See medix_verl.judge.judge.GuardedJudge.check_row, and the encoder's check_encoder_row.
        """
        if reference.credentialed_row is None:
            return
        self.built_judge().check_row(reference)
        judge, semantic = self.spec.judge, self.spec.semantic
        if semantic.enable and (self.encoder is not None or semantic.kind == "openai"):
            check_encoder_row(self.built_encoder(), reference, judge.local_networks, judge.allow_credentialed)

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
        """Close the judge, the encoder and the terms; the reward may not be asked again."""
        for service in (self.judge, self.encoder, *(bound.term for bound in self.terms)):
            if service is not None:
                await service.close()

    def close_sync(self) -> None:
        """`close`, for callers without an event loop."""
        self.run(self.close())
        if self.loop is not None:
            self.loop.close()

    def built_judge(self) -> GuardedJudge:
        """The judge, built where none was handed in."""
        if self.judge is None:
            self.judge = build_judge(self.spec.judge)
        return self.judge

    def built_encoder(self) -> Encoder:
        """The encoder, built where none was handed in."""
        if self.encoder is None:
            self.encoder = build_encoder(self.spec.semantic, self.spec.judge.local_networks)
        return self.encoder

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


def term_classes(spec: RewardSpec) -> dict[str, type[Term]]:
    """Name -> class of each term of a recipe, those of the package first, in the order of rows and reports.

    Raises:
        ConfigError: A term cannot be found, or not exactly one decides right and wrong.
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
    """The terms of a recipe for those who read rows: keys and weights, from the classes alone; see term_classes."""
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
    """One term's score, checked; an error of the term is a failure like any other, but for wrong settings."""
    try:
        return checked(await bound.term.score(answer))
    except (ConfigError, EncoderError):
        raise
    except Exception as error:  # noqa: BLE001 - a term of the user's may raise anything, and its answer is unscored
        return Failed(Failure.INTERNAL, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def combine(terms: Sequence[tuple[float, float | None]], form: float, format_weight: float) -> float:
    """Weigh the terms.

    Args:
        terms: Weight and value of each term of the content; a value is in [0, 1], or None where the term does not
            apply: its weight is shared among the others, so that a perfect answer scores 1 whatever applies.
        form: The format term.
        format_weight: What it weighs.

    Returns:
        The score in [0, 1]; the format term alone where no term with a weight applies.

    Example:
        Well formed, right by the judge, too far by the encoder, right modality:
        0.9 * (0.575 + 0.05) + 0.1 = 0.6625.
    """
    applying = [(weight, value) for weight, value in terms if value is not None and weight > 0]
    largest = max((weight for weight, _ in applying), default=0.0)
    if largest == 0.0:
        return form
    # Divided by the largest first, because a sum of huge weights would overflow to infinity.
    total = sum(weight / largest for weight, _ in applying)
    content = sum(weight / largest * value for weight, value in applying) / total
    # Written as one step from content towards form, so that a perfect answer is 1 exactly.
    return min(1.0, max(0.0, content + format_weight * (form - content)))

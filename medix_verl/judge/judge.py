# SPDX-License-Identifier: Apache-2.0
"""What a judge is, which there are, and the caller's side of every one of them.

A judge says where it asks (`endpoints`) and answers a Question; that is all. What is the same for every judge is done
once, before it, by GuardedJudge: a credentialed row goes nowhere that is not known to be local, an answer that plainly
equals its reference is right, and one that a guard stops is wrong, without a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from medix_verl.credentialed import Resolver, foreign_endpoint, resolve
from medix_verl.errors import ConfigError, JudgeError
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.guards import guard
from medix_verl.judge.spec import KINDS, JudgeSpec, installed_kinds
from medix_verl.judge.stats import Counters
from medix_verl.openai_client import RequestError
from medix_verl.types import Failure, Reference, Verdict

if TYPE_CHECKING:
    from medix_verl.judge.cache import ReplyCache
    from medix_verl.judge.prompt import ChatRequest

__all__ = [
    "ChatJudge",
    "GuardedJudge",
    "Judge",
    "Question",
    "build_judge",
    "connect_judge",
    "endpoints_of",
    "served_as",
]

MAX_REASON = 300
"""Characters of a reason; servers answer with whole pages."""


@dataclass(frozen=True, slots=True)
class Question:
    """Does a candidate answer match a reference? Plain values, cheap to send between processes."""

    candidate: str
    """The content of the answer block, as the policy wrote it, of any length."""
    reference: Reference

    @property
    def restricted(self) -> bool:
        """Whether the row is credentialed: its texts may only go to addresses that are known to be local."""
        return self.reference.credentialed_row is not None


@runtime_checkable
class Judge(Protocol):
    """Says whether an answer is right. A judge that cannot tell returns a Verdict without `correct`."""

    endpoints: tuple[str, ...]
    """The addresses that are sent the question, as URLs or host:port; () for a judge that asks nobody outside this
    process."""

    async def ask(self, question: Question) -> Verdict:
        """Judge one answer; a failure of a service is no exception but `Verdict.failure`."""
        ...

    async def close(self) -> None:
        """Release connections of the running event loop."""
        ...


@runtime_checkable
class ChatJudge(Judge, Protocol):
    """A judge with a model that can be talked to: what an evaluation needs for grades, rubrics and conversations."""

    stopped: str
    """Why nothing is asked any more (`judge.breaker: stop`); empty while there is no reason."""

    async def chat(self, request: ChatRequest) -> str:
        """The next message of a conversation.

        Raises:
            RequestError: It could not be had.
        """
        ...


class GuardedJudge:
    """The caller's side of every judge: the credential guard, equality and guards, then the judge itself.

    What a credentialed row may reach is decided here, from what the judge declares; JudgePool checks once more the
    very address that it connects to.
    """

    def __init__(
        self,
        judge: Judge,
        spec: JudgeSpec | None = None,
        counters: Counters | None = None,
        *,
        trusted: bool = False,
        resolver: Resolver = resolve,
    ) -> None:
        """Stand before a judge; no name is resolved yet.

        Args:
            judge: Any object that is a Judge.
            spec: Whether guards are used, and what credentialed rows may reach; None is the default spec.
            counters: Told of what needed no call; None makes some.
            trusted: Whether its endpoints are the run's own nodes, as those that verl serves are.
            resolver: Host name -> addresses.

        Raises:
            ConfigError: The object does not say whom it asks; unknown is refused, because credentialed rows may come.
        """
        if isinstance(judge, type) or not isinstance(judge, Judge) or not is_list_of_texts(judge.endpoints):
            name = judge.__name__ if isinstance(judge, type) else type(judge).__name__
            raise ConfigError(
                f"the judge {name} is no object with endpoints, ask and close that says whom it asks; "
                "give it `endpoints = ()` where it asks nobody outside this process, else the addresses that it asks "
                'as a tuple: `endpoints = ("http://host:port/v1",)`; `async def ask(self, question)` gets '
                "question.candidate and question.reference"
            )
        self.judge = judge
        self.spec = spec or JudgeSpec()
        self.counters = Counters() if counters is None else counters
        self.endpoints = tuple(judge.endpoints)
        self.resolver = resolver
        self.foreign: tuple[str, str] | None = None
        self.looked = trusted or self.spec.allow_credentialed

    def __repr__(self) -> str:
        return f"GuardedJudge({self.judge!r})"

    def check_row(self, reference: Reference) -> None:
        """Refuse a row that the judge must not see.

        Addresses are looked up once, at the first credentialed row; where that fails, the address is not known to be
        local, and the row is refused.

        Raises:
            ConfigError: It is credentialed, an endpoint is not known to be local, and nobody allowed that.
        """
        if reference.credentialed_row is None:
            return
        if not self.looked:
            self.foreign = foreign_endpoint(self.endpoints, self.spec.local_networks, self.resolver)
            self.looked = True
        if self.foreign is None:
            return
        url, cause = self.foreign
        raise ConfigError(
            f"{reference.credentialed_row} is credentialed data that no third party may see, and the judge at {url} "
            f"is not local ({cause}); use a judge on 127.0.0.1 or one that verl serves (judge.kind=verl), list your "
            "own network with reward.medix.judge.local_networks=[CIDR] (in a command: --local-network CIDR), or leave "
            "the rows out; reward.medix.judge.allow_credentialed=true (in a command: --allow-remote-credentialed) "
            "sends them all the same, at your own responsibility"
        )

    def without_asking(self, candidate: str, reference: Reference) -> Verdict | None:
        """The verdict that needs no judge, counted: equality first, so that no guard can stop a right answer."""
        if equal(candidate, reference):
            self.counters.note_equality()
            return Verdict(True, "equality")
        reason = guard(candidate, reference) if self.spec.guard else None
        if reason is None:
            return None
        self.counters.note_guard()
        return Verdict(False, "guard", reason)

    async def ask(self, candidate: str, reference: Reference) -> Verdict:
        """Judge one candidate answer; what fails is a verdict without `correct` and with a `failure`.

        Raises:
            ConfigError: The row is credentialed and an endpoint is not local.
        """
        self.check_row(reference)
        plain = self.without_asking(candidate, reference)
        return plain or await self.ask_judge(Question(candidate, reference))

    async def ask_judge(self, question: Question) -> Verdict:
        """Ask the judge itself, for a caller that has gone through `check_row` and `without_asking`."""
        try:
            verdict = await self.judge.ask(question)
        except RequestError as error:
            return failed("judge", error, error.failure)
        except JudgeError as error:
            return failed("judge", error, Failure.INTERNAL)
        if verdict.correct is None and verdict.failure is None:
            return replace(verdict, failure=Failure.INTERNAL)
        return verdict

    @property
    def can_chat(self) -> bool:
        """Whether the judge can be talked to."""
        return isinstance(self.judge, ChatJudge)

    @property
    def stopped(self) -> str:
        """Why the judge is asked no more; empty while there is no reason."""
        return self.judge.stopped if isinstance(self.judge, ChatJudge) else ""

    async def chat(self, request: ChatRequest) -> str:
        """The next message of a conversation.

        Raises:
            ConfigError: The request is restricted and an endpoint is not local.
            RequestError: The judge could not be asked.
            JudgeError: The judge cannot be talked to.
        """
        if not isinstance(self.judge, ChatJudge):
            raise JudgeError(f"{self.judge!r} gives verdicts and holds no conversation; name a server with a model")
        if request.restricted:
            self.check_row(Reference("", credentialed_row="a row of this task"))
        return await self.judge.chat(request)

    async def close(self) -> None:
        """Close the judge; it may not be asked again in this event loop."""
        await self.judge.close()


def failed(source: str, error: Exception, failure: Failure) -> Verdict:
    """The verdict of a judge that could not tell."""
    return Verdict(None, source, (str(error) or type(error).__name__)[:MAX_REASON], failure=failure)


def is_list_of_texts(value: Any) -> bool:
    """Whether a judge's endpoints are a list; a bare text would be taken for a list of letters."""
    return isinstance(value, (tuple, list)) and all(isinstance(text, str) for text in value)


def endpoints_of(spec: JudgeSpec) -> tuple[str, ...]:
    """The addresses that the judge of a spec asks; the judge of another package is built to be asked for them.

    Raises:
        ConfigError: It cannot be built.
    """
    return spec.urls if spec.kind in KINDS else build_judge(spec).endpoints


def build_judge(
    spec: JudgeSpec,
    served_url: str | None = None,
    served_model: str | None = None,
    cache: ReplyCache | None = None,
) -> GuardedJudge:
    """Build the judge that a spec describes, of this process; nothing is asked yet.

    Args:
        spec: The recipe's `judge` section.
        served_url: `ip:port` of verl's reward router, for kind `verl`.
        served_model: Name of the model behind that router; the spec's own name wins.
        cache: Shared by several judges; None opens the spec's.

    Raises:
        ConfigError: The kind needs something that was not given, or the judge of another package cannot be loaded.
    """
    if spec.kind == "rule":
        from medix_verl.judge.rule.judge import RuleJudge

        return GuardedJudge(RuleJudge(spec), spec)
    if spec.kind in ("openai", "verl"):
        from medix_verl.judge.pool import JudgePool

        pool = JudgePool(spec, *served_as(spec, served_url, served_model), cache=cache)
        return GuardedJudge(pool, spec, pool.counters, trusted=spec.kind == "verl")
    return GuardedJudge(installed_factory(spec.kind)(spec), spec)


def installed_factory(kind: str) -> Callable[[JudgeSpec], Judge]:
    """The factory of a judge that an installed package offers.

    Raises:
        ConfigError: It cannot be imported, or cannot be called.
    """
    point = installed_kinds()[kind]
    try:
        factory: Any = point.load()
    except Exception as error:
        raise ConfigError(
            f"judge.kind {kind!r} is {point.value}, which cannot be imported ({type(error).__name__}: {error}); "
            "mend or reinstall its package"
        ) from error
    if not callable(factory):
        raise ConfigError(f"judge.kind {kind!r} is {point.value}, which is no factory; it must be callable with a spec")
    made: Callable[[JudgeSpec], Judge] = factory
    return made


def connect_judge(spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None) -> GuardedJudge:
    """The judge for a process that may be one of many: the run's shared worker under Ray, else one of its own.

    Args:
        spec: The recipe's `judge` section; `worker` false gives each process a judge, and limits, of its own. The
            judge of another package always is one of its own.
        served_url: `ip:port` of verl's reward router, for kind `verl`.
        served_model: Name of the model behind that router; the spec's own name wins.

    Raises:
        ConfigError: The kind needs something that was not given.
    """
    if spec.kind in ("openai", "verl") and spec.worker:
        from medix_verl.runtime.shared_actor import in_ray

        if in_ray():
            from medix_verl.judge.service import connect_service

            remote = connect_service(spec, *served_as(spec, served_url, served_model))
            return GuardedJudge(remote, spec, remote.counters, trusted=spec.kind == "verl")
    return build_judge(spec, served_url, served_model)


def served_as(
    spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None
) -> tuple[tuple[str, ...], str | None]:
    """Where the model of a spec is served, and under which name; see build_judge.

    Raises:
        ConfigError: The kind is `verl` and verl serves nothing, or nothing with a name.
    """
    if spec.kind != "verl":
        return spec.urls, spec.model
    if served_url is None:
        raise ConfigError(
            "judge.kind is 'verl' but verl serves no reward model; type reward.reward_model.enable=True "
            "reward.reward_model.model_path=..., or choose judge.kind=openai or rule"
        )
    address = served_url if "://" in served_url else f"http://{served_url}"
    model = spec.model or served_model
    if model is None:
        raise ConfigError("judge.kind is 'verl' but the served model has no name; set judge.model to its model_path")
    return (f"{address.rstrip('/')}/v1",), model

# SPDX-License-Identifier: Apache-2.0
"""Defines the Judge protocol, builds judges from specs, and runs the checks that precede every judge.

A judge declares the addresses that it asks (`endpoints`) and answers a Question. GuardedJudge does what is the same for
every judge, before any call: a credentialed row is refused unless every endpoint is known to be local, an answer that
equals its reference is right, and an answer that a guard matches is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from medix_verl.credentialed import Resolver, foreign_endpoint, resolve
from medix_verl.errors import ConfigError, DataError, JudgeError
from medix_verl.judge.pictures import PictureReader
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
"""Maximum characters of a reason; servers may return whole pages."""
MAX_NAME = 60
"""Characters of a question that identify its row in an error."""


@dataclass(frozen=True, slots=True)
class Question:
    """Does a candidate answer match a reference? Plain values, cheap to send between processes."""

    candidate: str
    """Content of the answer block, as the policy wrote it, of any length."""
    reference: Reference
    pictures: tuple[bytes, ...] = ()
    """The question's pictures as PNG or JPEG, if the recipe shows them (`judge.images`). GuardedJudge reads them from
    `reference.images`, which is then empty."""
    left_out: int = 0
    """Number of the question's pictures that are not in `pictures` (`judge.max_images`)."""

    @property
    def restricted(self) -> bool:
        """Whether the row is credentialed: its texts may only go to addresses that are known to be local."""
        return self.reference.credentialed_row is not None


@runtime_checkable
class Judge(Protocol):
    """Decides whether an answer is right. A judge that cannot decide returns a Verdict without `correct`."""

    endpoints: tuple[str, ...]
    """The addresses that the question is sent to, as URLs or host:port; () for a judge that runs in this process."""

    async def ask(self, question: Question) -> Verdict:
        """Judge one answer; a service failure is returned as `Verdict.failure`, not raised."""
        ...

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        ...


@runtime_checkable
class ChatJudge(Judge, Protocol):
    """A judge with a chat model: an evaluation needs it for grades, rubrics and conversations."""

    stopped: str
    """Why no more requests are sent (`judge.breaker: stop`); empty otherwise."""

    async def chat(self, request: ChatRequest) -> str:
        """The next message of a conversation.

        Raises:
            RequestError: No reply was received.
        """
        ...


class GuardedJudge:
    """Runs the credential guard, equality and guards, then the judge itself.

    This class decides which addresses a credentialed row may reach, from the endpoints that the judge declares.
    JudgePool checks the address again when it connects.
    """

    def __init__(
        self,
        judge: Judge,
        spec: JudgeSpec | None = None,
        counters: Counters | None = None,
        *,
        trusted: bool = False,
        resolver: Resolver = resolve,
        own: Sequence[str] = (),
    ) -> None:
        """Wrap a judge; no host name is resolved yet.

        Args:
            judge: Any object that implements Judge.
            spec: Whether guards are used, and which addresses credentialed rows may reach; None is the default spec.
            counters: Counts the answers that needed no call; None creates new ones.
            trusted: Whether its endpoints are the run's own nodes, as those that verl serves are.
            resolver: Host name -> addresses.
            own: The endpoints that are the run's own nodes, for a panel of which only some are.

        Raises:
            ConfigError: The object declares no endpoints. It is refused because credentialed rows may be sent to it.
        """
        if isinstance(judge, type) or not isinstance(judge, Judge) or not is_list_of_texts(judge.endpoints):
            name = judge.__name__ if isinstance(judge, type) else type(judge).__name__
            raise ConfigError(
                f"the judge {name} is not an object with endpoints, ask and close that states which servers it asks; "
                "give it `endpoints = ()` where it asks no server outside this process, else the addresses it asks "
                'as a tuple: `endpoints = ("http://host:port/v1",)`; `async def ask(self, question)` gets '
                "question.candidate and question.reference"
            )
        self.judge = judge
        self.spec = spec or JudgeSpec()
        self.counters = Counters() if counters is None else counters
        self.endpoints = tuple(judge.endpoints)
        self.resolver = resolver
        self.own = frozenset(own)
        self.pictures = PictureReader(self.spec.image_pixels) if self.spec.shows_pictures else None
        self.foreign: tuple[str, str] | None = None
        self.looked = trusted or self.spec.allow_credentialed

    def __repr__(self) -> str:
        return f"GuardedJudge({self.judge!r})"

    def check_row(self, reference: Reference) -> None:
        """Refuse a row that the judge must not see.

        Addresses are resolved once, at the first credentialed row. If that fails, the address is not known to be local,
        and the row is refused.

        Raises:
            ConfigError: The row is credentialed, an endpoint is not known to be local, and `allow_credentialed` is not
                set.
        """
        if reference.credentialed_row is None:
            return
        if not self.looked:
            asked = [url for url in self.endpoints if url not in self.own]
            self.foreign = foreign_endpoint(asked, self.spec.local_networks, self.resolver)
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
        """The verdict that needs no judge, counted. Equality comes first: no guard can reject a right answer."""
        if equal(candidate, reference):
            self.counters.note_equality()
            return Verdict(True, "equality")
        reason = guard(candidate, reference) if self.spec.guard else None
        if reason is None:
            return None
        self.counters.note_guard()
        return Verdict(False, "guard", reason)

    async def ask(self, candidate: str, reference: Reference) -> Verdict:
        """Judge one candidate answer; a failure is a verdict without `correct` and with `failure` set.

        Raises:
            ConfigError: The row is credentialed and an endpoint is not local.
        """
        self.check_row(reference)
        plain = self.without_asking(candidate, reference)
        return plain or await self.ask_judge(Question(candidate, reference))

    async def ask_judge(self, question: Question) -> Verdict:
        """Ask the judge itself; the caller has already run `check_row` and `without_asking`."""
        refs = question.reference.images
        if self.pictures is None or not refs:
            return await self.ask_plain(question)
        reference = replace(question.reference, images=())
        row = reference.credentialed_row or (reference.question or "")[:MAX_NAME]
        shown = refs[: self.spec.max_images]
        try:
            async with self.pictures.read(shown, row) as pictures:
                return await self.ask_plain(
                    Question(question.candidate, reference, pictures, left_out=len(refs) - len(shown))
                )
        except DataError as error:
            # Not asked without the picture: the verdict could not be distinguished from one based on the picture.
            self.counters.note_no_picture()
            return failed("judge", error, Failure.UNREADABLE)

    async def ask_plain(self, question: Question) -> Verdict:
        """Ask the judge itself a question whose pictures have been read, or that has none."""
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
        """Whether the judge is a ChatJudge."""
        return isinstance(self.judge, ChatJudge)

    @property
    def stopped(self) -> str:
        """Why no more requests are sent; empty otherwise."""
        return self.judge.stopped if isinstance(self.judge, ChatJudge) else ""

    async def chat(self, request: ChatRequest) -> str:
        """The next message of a conversation.

        Raises:
            ConfigError: The request is restricted and an endpoint is not local.
            RequestError: The request failed.
            JudgeError: The judge is not a ChatJudge.
        """
        if not isinstance(self.judge, ChatJudge):
            raise JudgeError(f"{self.judge!r} gives verdicts and holds no conversation; name a server with a model")
        if request.restricted:
            self.check_row(Reference("", credentialed_row="a row of this task"))
        if self.pictures is None or not request.images:
            return await self.judge.chat(request)
        shown = request.images[: self.spec.max_images]
        left_out = len(request.images) - len(shown)
        try:
            async with self.pictures.read(shown, "of this task") as pictures:
                return await self.judge.chat(replace(request, images=(), pictures=pictures, left_out=left_out))
        except DataError as error:
            raise RequestError(str(error)[:MAX_REASON], Failure.UNREADABLE) from error

    async def close(self) -> None:
        """Close the judge; it must not be asked again in this event loop."""
        if self.pictures is not None:
            self.pictures.close()
        await self.judge.close()


def failed(source: str, error: Exception, failure: Failure) -> Verdict:
    """The verdict of a judge that failed."""
    return Verdict(None, source, (str(error) or type(error).__name__)[:MAX_REASON], failure=failure)


def is_list_of_texts(value: Any) -> bool:
    """Whether a judge's endpoints are a list; a single string would be read as a list of characters."""
    return isinstance(value, (tuple, list)) and all(isinstance(text, str) for text in value)


def endpoints_of(spec: JudgeSpec) -> tuple[str, ...]:
    """The addresses that the judge of a spec asks; a judge of another package is built to read its `endpoints`.

    For a panel: those of all members, except members that verl serves on the run's own nodes.

    Raises:
        ConfigError: It cannot be built.
    """
    if spec.panel:
        asked = [url for one in spec.members if one.kind not in ("rule", "verl") for url in endpoints_of(one)]
        return tuple(dict.fromkeys(asked))
    return spec.urls if spec.kind in KINDS else build_judge(spec).endpoints


def build_judge(
    spec: JudgeSpec,
    served_url: str | None = None,
    served_model: str | None = None,
    cache: ReplyCache | None = None,
) -> GuardedJudge:
    """Build the judge that a spec describes, in this process; nothing is asked yet.

    Args:
        spec: The recipe's `judge` section.
        served_url: `ip:port` of verl's reward router, for kind `verl`.
        served_model: Name of the model behind that router; the spec's own name takes precedence.
        cache: Shared by several judges; None opens the spec's.

    Raises:
        ConfigError: The kind needs something that was not given, or the judge of another package cannot be loaded.
    """
    if spec.panel:
        from medix_verl.judge.panel import build_panel

        panel = build_panel(spec.members, served_url, served_model, cache)
        return GuardedJudge(panel, spec, panel.counters, own=panel.own)
    if spec.kind == "rule":
        from medix_verl.judge.rule.judge import RuleJudge

        return GuardedJudge(RuleJudge(spec), spec)
    if spec.kind in ("openai", "verl"):
        from medix_verl.judge.pool import JudgePool

        pool = JudgePool(spec, *served_as(spec, served_url, served_model), cache=cache)
        return GuardedJudge(pool, spec, pool.counters, trusted=spec.kind == "verl")
    return GuardedJudge(installed_factory(spec.kind)(spec), spec)


def installed_factory(kind: str) -> Callable[[JudgeSpec], Judge]:
    """The factory of a judge from an installed package.

    Raises:
        ConfigError: It cannot be imported, or is not callable.
    """
    point = installed_kinds()[kind]
    try:
        factory: Any = point.load()
    except Exception as error:
        raise ConfigError(
            f"judge.kind {kind!r} is {point.value}, which cannot be imported ({type(error).__name__}: {error}); "
            "fix or reinstall its package"
        ) from error
    if not callable(factory):
        raise ConfigError(
            f"judge.kind {kind!r} is {point.value}, which is not a factory; it must be callable with a spec"
        )
    made: Callable[[JudgeSpec], Judge] = factory
    return made


def connect_judge(spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None) -> GuardedJudge:
    """The judge for one of possibly many processes: the run's shared worker under Ray, otherwise one in this process.

    Args:
        spec: The recipe's `judge` section; with `worker` false each process has its own judge and limits. A judge of
            another package always runs in each process.
        served_url: `ip:port` of verl's reward router, for kind `verl`.
        served_model: Name of the model behind that router; the spec's own name takes precedence.

    Raises:
        ConfigError: The kind needs something that was not given.
    """
    if spec.worker and any(one.kind in ("openai", "verl") for one in spec.members or (spec,)):
        from medix_verl.runtime.shared_actor import in_ray

        if in_ray() and spec.panel:
            from medix_verl.judge.service import connect_panel

            shared, own = connect_panel(spec, served_url, served_model)
            return GuardedJudge(shared, spec, shared.counters, own=own)
        if in_ray():
            from medix_verl.judge.service import connect_service

            remote = connect_service(spec, *served_as(spec, served_url, served_model))
            return GuardedJudge(remote, spec, remote.counters, trusted=spec.kind == "verl")
    return build_judge(spec, served_url, served_model)


def served_as(
    spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None
) -> tuple[tuple[str, ...], str | None]:
    """Addresses and name of the model of a spec; see build_judge.

    Raises:
        ConfigError: The kind is `verl` and verl serves no model, or one without a name.
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

# SPDX-License-Identifier: Apache-2.0
"""The judge that asks models: any number of OpenAI-compatible servers behind one Judge (vLLM, SGLang, verl's router).

A request's bytes are its identity: it is looked up in the cache under their SHA-256, or joins the same request that is
under way, or is sent (runtime.dispatch has limits, retries and breakers). Whatever goes wrong becomes a Verdict without
`correct`, with its Failure; `ask` raises nothing but a cancellation. It runs with Ray and without.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.judge.cache import ReplyCache, key_of, open_cache
from medix_verl.judge.judge import MAX_REASON, Question
from medix_verl.judge.prompt import ChatRequest, Writer, chat_body
from medix_verl.judge.reply import Reply, probability_of_yes, read_verdict
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import Counters, JudgeStats
from medix_verl.openai_client import Completion, OpenAIClient, RequestError, read_completion, read_key
from medix_verl.runtime.dispatch import Breaker, Dispatcher, Limits
from medix_verl.types import Failure, Verdict

__all__ = ["JudgePool", "limits_of"]

PATH = "/chat/completions"
LACKING = "no verdict"
STRUCTURE_WORDS = ("structured_outputs", "response_format")
"""What a server names that does not take the way in which a reply is held to a verdict."""


@dataclass(slots=True)
class Flight:
    """A request that is under way, and how many wait for its reply."""

    task: asyncio.Task[Reply]
    waiters: int = 0


class LoopState:
    """What belongs to one event loop and cannot be shared with another."""

    def __init__(self, dispatcher: Dispatcher, max_inflight: int) -> None:
        self.dispatcher = dispatcher
        self.places = asyncio.Semaphore(max_inflight)
        self.flights: dict[tuple[bytes, bool], Flight] = {}


class JudgePool:
    """A ChatJudge; may be asked from several event loops, each with its own connections and limits."""

    def __init__(
        self,
        spec: JudgeSpec,
        urls: Sequence[str] = (),
        model: str | None = None,
        backoff_s: float = 0.5,
        cache: ReplyCache | None = None,
    ) -> None:
        """Check the settings, read the API key, open the cache; nothing is asked yet.

        Args:
            spec: Limits, prompt and structure of the reply.
            urls: Base addresses with their version; none takes the spec's.
            model: Name of the model; None takes the spec's.
            backoff_s: Seconds before the first retry; doubles with each.
            cache: Shared with others, who close it; None opens the spec's.

        Raises:
            ConfigError: No address, no model, no such prompt, the key's variable is not set, or a bad cache file.
        """
        self.endpoints, name = tuple(urls) or spec.urls, model or spec.model
        if not self.endpoints:
            raise ConfigError("the openai judge has no address; set judge.url to http://host:port/v1")
        if not name:
            raise ConfigError("the openai judge has no model; set judge.model to the name that the server lists")
        self.spec = spec
        self.model = name
        self.counters = Counters()
        self.limits = limits_of(spec, backoff_s)
        self.writer = Writer(spec, name)
        self.stopper = Breaker(spec.breaker_failures if spec.breaker == "stop" else math.inf, what="the judge")
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopState] = WeakKeyDictionary()
        self._key = read_key(spec.api_key_env)
        self._owns_cache = cache is None
        self.cache = open_cache(spec) if cache is None else cache
        # The run's own nodes may see everything, and so may whoever the user says.
        self._checks_addresses = spec.kind != "verl" and not spec.allow_credentialed

    def __repr__(self) -> str:
        return f"JudgePool(model={self.model!r}, endpoints={self.endpoints!r})"

    @property
    def stopped(self) -> str:
        """Why nothing is asked any more; empty while there is no reason."""
        return self.stopper.stopped

    async def ask(self, question: Question) -> Verdict:
        """Ask the model, once or in both directions; waits where too many questions are under way."""
        self.counters.asked += 1
        state = self.state()
        async with state.places:
            prompt = self.writer.prompt(question.candidate, question.reference)
            try:
                verdict = self.verdict(await self.closed_reply(state, prompt, question.restricted))
                if self.spec.swap and verdict.correct:
                    verdict = await self.second_pass(state, question, verdict)
            except RequestError as error:
                self.counters.unscored += 1
                return Verdict(None, self.model, self.explain(error)[:MAX_REASON], failure=error.failure)
        return verdict

    async def second_pass(self, state: LoopState, question: Question, first: Verdict) -> Verdict:
        """The question with candidate and reference exchanged, after a YES; a NO needs no second one.

        Both must be YES. Where they disagree the verdict is NO, because a judge that changes its mind with the order
        was won by the wording; and P(YES) is the smaller one.
        """
        prompt = self.writer.swapped_prompt(question.candidate, question.reference)
        second = self.verdict(await self.closed_reply(state, prompt, question.restricted, counted=False))
        both = (first.probability, second.probability)
        probability = None if both[0] is None or both[1] is None else min(both[0], both[1])
        if second.correct:
            return Verdict(True, self.model, probability=probability)
        self.counters.swap_splits += 1
        return Verdict(False, self.model, "swap", probability)

    async def chat(self, request: ChatRequest) -> str:
        """The next message of a conversation, under this pool's limits, retries and breakers, and from its cache.

        Raises:
            RequestError: A server refused, every attempt failed, or the reply has no text; never with the key.
        """
        state = self.state()
        self.counters.asked += 1
        async with state.places:
            body = chat_body(request, self.model, self.spec.structured)
            try:
                return (await self.reply(state, body, read_chat, request.restricted)).text
            except RequestError as error:
                self.counters.unscored += 1
                message = self.explain(error)[:MAX_REASON]
                raise RequestError(message, error.failure, error.status) from error

    async def closed_reply(self, state: LoopState, prompt: str, restricted: bool, counted: bool = True) -> Reply:
        """The reply to a closed question, which can be read as a verdict."""
        return await self.reply(state, self.writer.body(prompt), self.read_closed, restricted, counted)

    async def reply(
        self,
        state: LoopState,
        body: bytes,
        read: Callable[[bytes], Reply],
        restricted: bool,
        counted: bool = True,
    ) -> Reply:
        """Look a request up, or wait for the one sending of it, which ends when nobody waits for it any more.

        Raises:
            RequestError: There is no reply that can be read.
        """
        key = key_of(body)
        found = self.cache.get(key)
        if found is not None:
            self.counters.cache_hits += counted
            return found
        # Equal texts of a row that may go anywhere are no way round for one that may not.
        restricted = restricted and self._checks_addresses
        flight = state.flights.get((key, restricted))
        if flight is None:
            flight = Flight(asyncio.ensure_future(self.fetch(state, key, body, read, restricted)))
            state.flights[key, restricted] = flight
        else:
            self.counters.joined += counted
        flight.waiters += 1
        try:
            # The cancellation of one waiter is not the others' business.
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                flight.task.cancel()
                if state.flights.get((key, restricted)) is flight:
                    del state.flights[key, restricted]

    async def fetch(
        self, state: LoopState, key: bytes, body: bytes, read: Callable[[bytes], Reply], restricted: bool
    ) -> Reply:
        """Send a request, and keep its reply."""
        reply = await state.dispatcher.send(PATH, lambda: body, read, restricted)
        self.cache.put(key, reply)
        return reply

    def read_closed(self, raw: bytes) -> Reply:
        """The reply in a server's answer to a closed question.

        Raises:
            RequestError: It is no completion (malformed), or no verdict (unreadable, truncated).
        """
        completion = read_completion(raw)
        probability = probability_of_yes(completion.logprobs) if self.spec.soft else None
        try:
            read_verdict(completion.text, self.spec.structured)
        except JudgeError as error:
            raise unreadable(completion, str(error)) from error
        return Reply(completion.text, probability)

    def verdict(self, reply: Reply) -> Verdict:
        """The verdict of a reply that can be read."""
        if self.spec.soft and reply.probability is None:
            self.counters.soft_missing += 1
        return Verdict(read_verdict(reply.text, self.spec.structured), self.model, probability=reply.probability)

    def explain(self, error: RequestError) -> str:
        """An error with what to type, where a server does not take the way in which replies are held to a verdict."""
        if error.status in (400, 422) and any(word in str(error) for word in STRUCTURE_WORDS):
            hint = "; a server that does not know this needs judge.structured=json_schema (OpenAI's), or none"
            return str(error)[: MAX_REASON - len(hint)] + hint
        return str(error)

    def state(self) -> LoopState:
        """What belongs to the running event loop, made when it is first needed."""
        loop = asyncio.get_running_loop()
        found = self.loops.get(loop)
        if found is None:
            clients = [
                OpenAIClient(url, self._key, timeout_s=self.spec.timeout_s, local_networks=self.spec.local_networks)
                for url in self.endpoints
            ]
            dispatcher = Dispatcher(clients, self.limits, self.counters, stopper=self.stopper, lacking=LACKING)
            found = self.loops[loop] = LoopState(dispatcher, self.spec.max_inflight)
        return found

    def stats(self) -> JudgeStats:
        """What was done since the last `take_stats`."""
        return self.counters.snapshot(sum(len(state.flights) for state in self.loops.values()))

    def take_stats(self) -> JudgeStats:
        """What was done since the last call."""
        taken = self.stats()
        self.counters.reset()
        return taken

    async def close(self) -> None:
        """Close the connections of the running event loop, and write the cache where it is this pool's own."""
        state = self.loops.pop(asyncio.get_running_loop(), None)
        if state is not None:
            await state.dispatcher.close()
        if self._owns_cache:
            self.cache.close()


def limits_of(spec: JudgeSpec, backoff_s: float = 0.5) -> Limits:
    """The limits of a spec."""
    return Limits(
        timeout_s=spec.timeout_s,
        max_retries=spec.max_retries,
        max_concurrent=spec.max_concurrent,
        max_per_minute=spec.max_per_minute,
        breaker_failures=spec.breaker_failures,
        breaker_seconds=spec.breaker_seconds,
        breaker=spec.breaker,
        backoff_s=backoff_s,
    )


def read_chat(raw: bytes) -> Reply:
    """The reply in a server's answer to a conversation, which may say anything."""
    completion = read_completion(raw)
    if not completion.text:
        raise unreadable(completion, "the judge's message has no text")
    return Reply(completion.text)


def unreadable(completion: Completion, message: str) -> RequestError:
    """The error of a reply that is not what was asked for."""
    if completion.finish_reason == "length":
        return RequestError(f"{message} (cut at the limit of its length)", Failure.TRUNCATED, 200)
    return RequestError(message, Failure.UNREADABLE, 200)

# SPDX-License-Identifier: Apache-2.0
"""Asks judge models: any number of OpenAI-compatible servers behind one Judge (vLLM, SGLang, verl's router).

The SHA-256 of a request's bytes identifies it. The request is answered from the cache, or joins an equal request in
progress, or is sent (runtime.dispatch has limits, retries and breakers). Every error becomes a Verdict without
`correct` and with a Failure; `ask` raises nothing but a cancellation. It works with and without Ray.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.judge.cache import ReplyCache, key_of, open_cache
from medix_verl.judge.judge import MAX_REASON, Question
from medix_verl.judge.prompt import ChatRequest, Writer, chat_body
from medix_verl.judge.reply import Reply, probability_of_yes, read_verdict
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import Counters, JudgeStats
from medix_verl.openai_client import (
    Completion,
    OpenAIClient,
    RequestError,
    read_completion,
    read_key,
    split_reasoning,
)
from medix_verl.runtime.dispatch import Breaker, Dispatcher, Limits
from medix_verl.types import Failure, Verdict

__all__ = ["JudgePool", "limits_of"]

PATH = "/chat/completions"
TOKENS = ("prompt_tokens", "completion_tokens")
LACKING = "no verdict"
NEUTRAL = "Reply with the single word YES."
"""A neutral prompt, which no server has a reason to refuse."""
STRUCTURE_WORDS = ("structured_outputs", "response_format")
"""Parameter names in the error of a server that does not support the structured output that was requested."""


@dataclass(slots=True)
class Flight:
    """A request in progress, and the number of callers that wait for its reply."""

    task: asyncio.Task[Reply]
    waiters: int = 0


class LoopState:
    """State of one event loop; it cannot be shared between event loops."""

    def __init__(self, dispatcher: Dispatcher, clients: Sequence[OpenAIClient], max_inflight: int) -> None:
        self.dispatcher = dispatcher
        self.clients = clients
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
            cache: A shared cache, which its owner closes; None opens the spec's.

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
        self.adapted: frozenset[str] = frozenset()
        """Parameters that the servers did not support in event loops that are now closed, and that are left out."""
        self.tokens: tuple[int, ...] = (0,) * len(TOKENS)
        """Token counts of all prompts and replies so far, as reported by the servers; cached replies add nothing."""
        self._key = read_key(spec.api_key_env)
        self._owns_cache = cache is None
        self.cache = open_cache(spec) if cache is None else cache
        # The run's own nodes may receive every row, and so may any address if the user sets allow_credentialed.
        self._checks_addresses = spec.kind != "verl" and not spec.allow_credentialed

    def __repr__(self) -> str:
        return f"JudgePool(model={self.model!r}, endpoints={self.endpoints!r})"

    @property
    def stopped(self) -> str:
        """Why no more requests are sent; empty otherwise."""
        return self.stopper.stopped

    async def ask(self, question: Question) -> Verdict:
        """Ask the model, once or in both directions; waits while too many questions are in progress."""
        self.counters.asked += 1
        state = self.state()
        async with state.places:
            prompt = self.writer.prompt(question.candidate, question.reference)
            try:
                verdict = self.verdict(await self.closed_reply(state, prompt, question))
                if self.spec.swap and verdict.correct:
                    verdict = await self.second_pass(state, question, verdict)
            except RequestError as error:
                self.counters.unscored += 1
                return Verdict(None, self.model, self.explain(error)[:MAX_REASON], failure=error.failure)
        return verdict

    async def second_pass(self, state: LoopState, question: Question, first: Verdict) -> Verdict:
        """The question with candidate and reference exchanged, asked after a YES; a NO needs no second pass.

        Both passes must be YES. If they disagree, the verdict is NO, because the first YES depended on the order and
        the wording; P(YES) is the smaller of the two.
        """
        prompt = self.writer.swapped_prompt(question.candidate, question.reference)
        second = self.verdict(await self.closed_reply(state, prompt, question, counted=False))
        both = (first.probability, second.probability)
        probability = None if both[0] is None or both[1] is None else min(both[0], both[1])
        if second.correct:
            return Verdict(True, self.model, probability=probability)
        self.counters.swap_splits += 1
        return Verdict(False, self.model, "swap", probability)

    async def chat(self, request: ChatRequest) -> str:
        """The next message of a conversation, under this pool's limits, retries and breakers, and from its cache.

        Raises:
            RequestError: A server refused, every attempt failed, or the reply has no text; the key is never in the
                message.
        """
        state = self.state()
        self.counters.asked += 1
        async with state.places:
            settings = (self.model, self.spec.structured, self.spec.max_tokens, self.spec.extra_body)
            make_body = partial(chat_body, request, *settings)
            try:
                return (await self.reply(state, make_body, self.read_chat, request.restricted)).text
            except RequestError as error:
                self.counters.unscored += 1
                message = self.explain(error)[:MAX_REASON]
                raise RequestError(message, error.failure, error.status) from error

    async def closed_reply(self, state: LoopState, prompt: str, question: Question, counted: bool = True) -> Reply:
        """The reply to a closed question (YES or NO), with the question's pictures if the recipe shows them."""
        pictures = question.pictures if self.spec.images else ()
        make_body = partial(self.writer.body, prompt, pictures, question.left_out)
        return await self.reply(state, make_body, self.read_closed, question.restricted, counted)

    async def reply(
        self,
        state: LoopState,
        make_body: Callable[[], bytes],
        read: Callable[[bytes], Reply],
        restricted: bool,
        counted: bool = True,
    ) -> Reply:
        """Return the cached reply, or wait for the request in progress; it is cancelled when its last waiter is
        cancelled.

        The request's bytes are built twice, for the key and when there is a slot: with pictures they are large, and
        many requests wait.

        Raises:
            RequestError: There is no readable reply.
        """
        key = key_of(make_body())
        found = self.cache.get(key)
        if found is not None:
            self.counters.cache_hits += counted
            return found
        # A restricted request does not join an equal unrestricted one, which may be sent to any address.
        restricted = restricted and self._checks_addresses
        flight = state.flights.get((key, restricted))
        if flight is None:
            flight = Flight(asyncio.ensure_future(self.fetch(state, key, make_body, read, restricted)))
            state.flights[key, restricted] = flight
        else:
            self.counters.joined += counted
        flight.waiters += 1
        try:
            # Cancelling one waiter must not cancel the request of the others.
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                flight.task.cancel()
                if state.flights.get((key, restricted)) is flight:
                    del state.flights[key, restricted]

    async def fetch(
        self,
        state: LoopState,
        key: bytes,
        make_body: Callable[[], bytes],
        read: Callable[[bytes], Reply],
        restricted: bool,
    ) -> Reply:
        """Send a request, and cache its reply."""
        reply = await state.dispatcher.send(PATH, make_body, read, restricted)
        self.cache.put(key, reply)
        return reply

    def completion_of(self, raw: bytes) -> Completion:
        """Parse a server's answer and count its tokens, which are paid for whether or not the reply is readable."""
        completion = read_completion(raw)
        self.tokens = tuple(
            known + completion.usage.get(name, 0) for known, name in zip(self.tokens, TOKENS, strict=True)
        )
        return completion

    def read_chat(self, raw: bytes) -> Reply:
        """The reply to a conversation, which may be any text."""
        completion = self.completion_of(raw)
        if not completion.text:
            raise unreadable(completion, "the judge's message has no text")
        return Reply(completion.text)

    def read_closed(self, raw: bytes) -> Reply:
        """The reply to a closed question.

        Raises:
            RequestError: It is not a completion (malformed), or has no verdict (unreadable, truncated).
        """
        whole = self.completion_of(raw)
        completion = split_reasoning(whole)
        probability = probability_of_yes(whole.logprobs) if self.spec.soft else None
        text = completion.text
        if not whole.text.strip() and whole.reasoning and whole.finish_reason != "length":
            # Some servers return the whole reply of a non-reasoning model as its reasoning.
            text = whole.reasoning
        try:
            read_verdict(text)
        except JudgeError as error:
            raise unreadable(completion, str(error)) from error
        return Reply(text, probability)

    def verdict(self, reply: Reply) -> Verdict:
        """The verdict of a readable reply."""
        if self.spec.soft and reply.probability is None:
            self.counters.soft_missing += 1
        return Verdict(read_verdict(reply.text), self.model, probability=reply.probability)

    def explain(self, error: RequestError) -> str:
        """The error's text, with the setting to change if a setting of the judge may fix it."""
        hint = ""
        if error.status in (400, 422) and any(word in str(error) for word in STRUCTURE_WORDS):
            hint = "; a server that does not know this needs judge.structured=json_schema (OpenAI's), or none"
        elif error.failure is Failure.TRUNCATED:
            hint = (
                "; raise judge.max_tokens (a model that thinks needs 2048), or set judge.extra_body="
                "{chat_template_kwargs: {enable_thinking: false}}"
            )
        elif error.failure is Failure.UNREADABLE:
            other = "json_schema" if self.spec.structured == "choice" else "choice"
            hint = f"; hold it to a form with judge.structured={other}, or see judge.extra_body and judge.max_tokens"
        return str(error)[: MAX_REASON - len(hint)] + hint

    def state(self) -> LoopState:
        """State of the running event loop, created when it is first needed."""
        loop = asyncio.get_running_loop()
        found = self.loops.get(loop)
        if found is None:
            spec = self.spec
            settings: dict[str, Any] = {"timeout_s": spec.timeout_s, "local_networks": spec.local_networks}
            # The run's own nodes are not behind a proxy.
            settings["use_proxies"] = spec.use_proxies and spec.kind != "verl"
            clients = [OpenAIClient(url, self._key, **settings) for url in self.endpoints]
            neutral = self.writer.body(NEUTRAL)
            dispatcher = Dispatcher(
                clients, self.limits, self.counters, stopper=self.stopper, lacking=LACKING, neutral=neutral
            )
            found = self.loops[loop] = LoopState(dispatcher, clients, self.spec.max_inflight)
        return found

    def stats(self) -> JudgeStats:
        """Counts since the last `take_stats`."""
        return self.counters.snapshot(sum(len(state.flights) for state in self.loops.values()))

    def take_stats(self) -> JudgeStats:
        """Counts since the last call; resets them."""
        taken = self.stats()
        self.counters.reset()
        return taken

    async def close(self) -> None:
        """Close the connections of the running event loop, and close the cache if this pool owns it."""
        state = self.loops.pop(asyncio.get_running_loop(), None)
        if state is not None:
            self.adapted = self.adapted.union(*(client.adapted for client in state.clients))
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


def unreadable(completion: Completion, message: str) -> RequestError:
    """The error of a reply that is not in the requested form."""
    if completion.reasoning:
        message += f" (it thought {len(completion.reasoning)} characters before)"
    if completion.finish_reason == "length":
        return RequestError(f"{message} (cut at the limit of its length)", Failure.TRUNCATED, 200)
    return RequestError(message, Failure.UNREADABLE, 200)

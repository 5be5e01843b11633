# SPDX-License-Identifier: Apache-2.0
"""The judge that asks models: any number of OpenAI-compatible servers behind one Judge (vLLM, SGLang, verl's router).

An answer that plainly equals its reference is right, and one that a guard stops is wrong, without a call. What is
left is looked up, or joins the same question that is under way, or is asked. Whatever goes wrong becomes a Verdict
without `correct` and with a reason; `ask` raises nothing but a cancellation, and the refusal of a credentialed row
where a server is not local. It runs with Ray and without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.judge.cache import open_cache
from medix_verl.judge.chat import ChatRequest, chat_body
from medix_verl.judge.credentials import Gate
from medix_verl.judge.dispatch import Dispatcher
from medix_verl.judge.endpoint import Endpoint
from medix_verl.judge.prompt import load_prompt
from medix_verl.judge.question import Question, Writer
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.guards import guard
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import Counters, JudgeStats
from medix_verl.judge.verdict import read_verdict
from medix_verl.judge.wire import Reply, fixed_part, read_key, request_body
from medix_verl.types import Reference, Verdict

__all__ = ["JudgePool", "plain_verdict"]

MAX_REASON = 300
"""Characters of a reason; servers answer with whole pages."""


@dataclass(slots=True)
class Flight:
    """A question that is under way, and how many wait for it."""

    task: asyncio.Task[Verdict]
    waiters: int = 0


class Room:
    """What belongs to one event loop and cannot be shared with another."""

    def __init__(self, dispatcher: Dispatcher, max_inflight: int) -> None:
        self.dispatcher = dispatcher
        self.places = asyncio.Semaphore(max_inflight)
        self.flights: dict[bytes, Flight] = {}


class JudgePool:
    """Satisfies medix_verl.judge.judge.Judge; may be asked from several event loops, each with its own connections."""

    def __init__(
        self, spec: JudgeSpec, urls: Sequence[str] = (), model: str | None = None, backoff_s: float = 0.5
    ) -> None:
        """Check the settings, read the API key, open the cache; nothing is asked yet.

        Args:
            spec: Limits, prompt and structure of the reply.
            urls: Base addresses with their version; none takes the spec's.
            model: Name of the model; None takes the spec's.
            backoff_s: Seconds before the first retry; doubles with each.

        Raises:
            ConfigError: No address, no model, no such prompt, the key's variable is not set, or a bad cache file.
        """
        self.urls, name = tuple(urls) or spec.urls, model or spec.model
        if not self.urls:
            raise ConfigError("the openai judge has no address; set judge.url to http://host:port/v1")
        if not name:
            raise ConfigError("the openai judge has no model; set judge.model to the name that the server lists")
        self.spec = spec
        self.gate = Gate(spec, self.urls)
        self.model = name
        self.backoff_s = backoff_s
        self.counters = Counters()
        self.fixed = fixed_part(spec, name)
        self.writer = Writer(spec, load_prompt(spec.prompt, spec.show_question), self.fixed)
        self.rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, Room] = WeakKeyDictionary()
        self._key = read_key(spec.api_key_env)
        self.cache = open_cache(spec)

    def __repr__(self) -> str:
        return f"JudgePool(model={self.model!r}, urls={self.urls!r})"

    async def ask(self, candidate: str, reference: Reference) -> Verdict:
        """Judge one candidate answer; a failure of the service is a verdict without `correct`.

        Raises:
            ConfigError: The row is credentialed and a server is not local (see medix_verl.judge.credentials).
        """
        self.gate.check(reference)
        plain = plain_verdict(candidate, reference, self.counters, self.spec.guard)
        return plain or await self.ask_model(self.writer.ask(candidate, reference))

    async def ask_model(self, question: Question) -> Verdict:
        """Look a question up, or ask the model; waits where too many questions are under way."""
        self.counters.asked += 1
        room = self.room()
        async with room.places:
            found = self.cache.get(question.key)
            if found is not None:
                self.counters.cache_hits += 1
                return found
            return await self.join(room, question)

    async def chat(self, request: ChatRequest) -> str:
        """Free-form chat under this pool's limits, retries and breakers; nothing of it is cached.

        Raises:
            JudgeError: A server refused, every attempt failed, or the reply has no text; never with the key.
        """
        room = self.room()
        self.counters.asked += 1
        async with room.places:
            try:
                reply = await room.dispatcher.send(lambda: chat_body(request, self.model, self.spec.structured))
            except JudgeError as error:
                self.counters.unscored += 1
                raise JudgeError(self.hide_key(str(error))[:MAX_REASON]) from error
        return reply.text

    async def join(self, room: Room, question: Question) -> Verdict:
        """Wait for the one asking of a question, which ends when nobody waits for it any more."""
        flight = room.flights.get(question.key)
        if flight is None:
            flight = Flight(asyncio.ensure_future(self.decide(room, question)))
            room.flights[question.key] = flight
        else:
            self.counters.joined += 1
        flight.waiters += 1
        try:
            # The cancellation of one waiter is not the others' business.
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                flight.task.cancel()
                if room.flights.get(question.key) is flight:
                    del room.flights[question.key]

    async def decide(self, room: Room, question: Question) -> Verdict:
        """Ask the model, once or in both directions, and keep the verdict."""
        try:
            verdict = await self.first_pass(room, question)
            if self.spec.swap and verdict.correct:
                verdict = await self.second_pass(room, question, verdict)
        except JudgeError as error:
            self.counters.unscored += 1
            return Verdict(None, self.model, self.hide_key(str(error))[:MAX_REASON])
        self.cache.put(question.key, verdict)
        return verdict

    async def first_pass(self, room: Room, question: Question) -> Verdict:
        """The question as it is."""
        reply = await room.dispatcher.send(lambda: request_body(self.fixed, self.writer.write(question)))
        return self.read(reply)

    async def second_pass(self, room: Room, question: Question, first: Verdict) -> Verdict:
        """The question with candidate and reference exchanged, after a YES; a NO needs no second one.

        Both must be YES. Where they disagree the verdict is NO, because a judge that changes its mind with the order
        was won by the wording; and P(YES) is the smaller one.
        """
        reply = await room.dispatcher.send(lambda: request_body(self.fixed, self.writer.write_swapped(question)))
        second = self.read(reply)
        both = (first.probability, second.probability)
        probability = None if both[0] is None or both[1] is None else min(both[0], both[1])
        if second.correct:
            return Verdict(True, self.model, probability=probability)
        self.counters.swap_splits += 1
        return Verdict(False, self.model, "swap", probability)

    def read(self, reply: Reply) -> Verdict:
        """The verdict in a reply.

        Raises:
            JudgeError: There is none.
        """
        try:
            correct = read_verdict(reply.text, self.spec.structured)
        except JudgeError:
            self.counters.failures["verdict"] += 1
            raise
        if self.spec.soft and reply.probability is None:
            self.counters.soft_missing += 1
        return Verdict(correct, self.model, probability=reply.probability)

    def room(self) -> Room:
        """What belongs to the running event loop, made when it is first needed."""
        loop = asyncio.get_running_loop()
        found = self.rooms.get(loop)
        if found is None:
            endpoints = [Endpoint(url, self.spec, self._key) for url in self.urls]
            dispatcher = Dispatcher(self.spec, endpoints, self.counters, self.backoff_s)
            found = self.rooms[loop] = Room(dispatcher, self.spec.max_inflight)
        return found

    def stats(self) -> JudgeStats:
        """What was done since the last `take_stats`."""
        return self.counters.snapshot(sum(len(room.flights) for room in self.rooms.values()))

    def take_stats(self) -> JudgeStats:
        """What was done since the last call."""
        taken = self.stats()
        self.counters.reset()
        return taken

    async def close(self) -> None:
        """Close the connections of the running event loop, and write the cache."""
        room = self.rooms.pop(asyncio.get_running_loop(), None)
        if room is not None:
            for endpoint in room.dispatcher.endpoints:
                await endpoint.close()
        self.cache.close()

    def hide_key(self, text: str) -> str:
        """A server may echo the key in its message."""
        return text.replace(self._key, "***") if self._key else text


def plain_verdict(candidate: str, reference: Reference, counters: Counters, guarded: bool = True) -> Verdict | None:
    """The verdict that needs no model, counted: equality first, so that no guard can stop a right answer."""
    if equal(candidate, reference):
        counters.note_equality()
        return Verdict(True, "equality")
    reason = guard(candidate, reference) if guarded else None
    if reason is None:
        return None
    counters.note_guard()
    return Verdict(False, "guard", reason)

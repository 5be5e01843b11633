# SPDX-License-Identifier: Apache-2.0
"""Judges written by hand for tests: they say what a script says, and remember what they were asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medix_verl.evaluation.grading.asking import Voter
from medix_verl.judge.judge import GuardedJudge, Question
from medix_verl.judge.prompt import ChatRequest
from medix_verl.openai_client import RequestError
from medix_verl.types import Failure, Reference, Verdict


class Scripted:
    """Replies to the n-th chat with the n-th text, to each question with one verdict; an exception is raised."""

    endpoints: tuple[str, ...] = ()
    stopped = ""

    def __init__(self, *replies: str | Exception, verdict: bool | Exception | None = True) -> None:
        self.replies = replies
        self.verdict = verdict
        self.requests: list[ChatRequest] = []
        self.asked: list[tuple[str, Reference]] = []
        self.closed = 0

    async def ask(self, question: Question) -> Verdict:
        self.asked.append((question.candidate, question.reference))
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return Verdict(self.verdict, "scripted", "" if self.verdict is not None else "no verdict: made up")

    async def chat(self, request: ChatRequest) -> str:
        self.requests.append(request)
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def close(self) -> None:
        self.closed += 1


class Answering(Scripted):
    """Replies as a function of the first message says."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        super().__init__("")
        self.reply = reply

    async def chat(self, request: ChatRequest) -> str:
        self.requests.append(request)
        return self.reply(request.turns[0].content)


def voters(*judges: Scripted) -> Sequence[Voter]:
    return [Voter(f"judge-{place}", GuardedJudge(judge)) for place, judge in enumerate(judges)]


DOWN = RequestError("no verdict after 4 attempts, the last: connection failed", Failure.UNREACHABLE)

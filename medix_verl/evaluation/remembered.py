# SPDX-License-Identifier: Apache-2.0
"""A judge that asks nothing twice, not even after a kill, and notices when the server behind it is down for good.

It stands between a protocol and any judge of medix_verl.judge. Each verdict and each message of a conversation goes
to the journal before it is used; failures never do. A reply that cannot be read is no failure of the server: it leaves
one answer unscored, and the next one is asked.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from medix_verl.errors import JudgeError
from medix_verl.evaluation.journal import Journal, key_of
from medix_verl.evaluation.watch import Watch
from medix_verl.judge.chat import ChatRequest
from medix_verl.types import Reference, Verdict

__all__ = ["RememberedJudge"]

SERVICE = ("no verdict", "HTTP ", "connection ", "no answer", "judge.url")
"""How reasons begin that speak of the server (medix_verl.judge.dispatch, .endpoint, .wire), not of a reply."""


class RememberedJudge:
    """Satisfies medix_verl.judge.judge.Judge, and has the `chat` of a pool."""

    def __init__(self, judge: Any, identity: Any, journal: Journal | None, watch: Watch) -> None:
        """Stand before a judge.

        Args:
            judge: A judge of medix_verl.judge; only a pool has `chat`.
            identity: Everything of its settings that changes what it says; JSON values.
            journal: Where answers are kept; None keeps none.
            watch: Told of each failure and success of the server.
        """
        self.judge = judge
        self.identity = identity
        self.journal = journal
        self.watch = watch

    def __getattr__(self, name: str) -> Any:
        """Whatever else the judge has: its model, spec, numbers."""
        return getattr(self.judge, name)

    async def ask(self, candidate: str, reference: Reference) -> Verdict:
        """Judge one candidate answer."""
        key = key_of("ask", self.identity, candidate, asdict(reference))
        found = self.journal.get(key) if self.journal is not None else None
        if found is not None:
            return Verdict(**found)
        self.watch.check()
        verdict = await self.judge.ask(candidate, reference)
        if verdict.correct is not None:
            self.keep(key, asdict(verdict))
        elif verdict.reason.startswith(SERVICE):
            self.watch.fail(verdict.reason)
        return verdict

    async def chat(self, request: ChatRequest) -> str:
        """The next message of a conversation.

        Raises:
            JudgeError: The judge could not be asked.
            RunStoppedError: The judge's server counts as down.
        """
        key = key_of("chat", self.identity, asdict(request))
        found = self.journal.get(key) if self.journal is not None else None
        if found is not None:
            return str(found)
        self.watch.check()
        try:
            reply: str = await self.judge.chat(request)
        except JudgeError as error:
            if str(error).startswith(SERVICE):
                self.watch.fail(str(error))
            raise
        self.keep(key, reply)
        return reply

    def keep(self, key: str, value: Any) -> None:
        """Note an answer."""
        self.watch.succeed()
        if self.journal is not None:
            self.journal.put(key, value)

    async def close(self) -> None:
        """Close the judge."""
        await self.judge.close()

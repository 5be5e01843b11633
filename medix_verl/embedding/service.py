# SPDX-License-Identifier: Apache-2.0
"""One encoder for all reward processes of a Ray run: the named actor that holds it, and its stand-in in each of them.

Twin of medix_verl.judge.worker. The actor takes no CPU and no GPU from Ray's books, so it never competes with verl's
placement groups; where it computes is the spec's `device` and `threads`. Ray brings it back when its process dies, and
a question that was under way is asked again: it is never answered with a made-up number.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from medix_verl.embedding.encoder import Pair, SentenceEncoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError
from medix_verl.types import Similarity

__all__ = ["EncoderHost", "RemoteEncoder", "collect_stats", "inside_ray"]

NAME = "medix_encoder"
WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between two attempts to reach the actor; after the last its answers are unscored."""

Answer = tuple["float | None", str]


class EncoderHost:
    """What runs in the actor; also runs without Ray."""

    def __init__(self, spec: SemanticSpec, model: Any = None) -> None:
        self.spec = spec
        self.model = model
        self.encoder: SentenceEncoder | None = None
        self.lock = asyncio.Lock()

    async def load(self) -> str:
        """Load the model if it is not there; the reason why it cannot be, or ""."""
        async with self.lock:
            if self.encoder is None:
                try:
                    self.encoder = await asyncio.to_thread(SentenceEncoder, self.spec, self.model)
                except EncoderError as error:
                    return str(error)
        return ""

    async def compare_many(self, pairs: Sequence[Pair]) -> list[Answer]:
        """Value and reason for each pair, in order; plain tuples, because they are pickled by the thousand."""
        reason = await self.load()
        if self.encoder is None:
            return [(None, reason)] * len(pairs)
        return [(found.value, found.reason) for found in await self.encoder.compare_many(pairs)]

    async def take_stats(self) -> dict[str, float]:
        """What was done since the last call."""
        if self.encoder is None:
            return {}
        return {name: float(value) for name, value in asdict(self.encoder.take_stats()).items()}

    async def process(self) -> int:
        """Number of the process, for those who watch or end it."""
        return os.getpid()


@dataclass(slots=True)
class Tray:
    """Pairs asked in one tick of an event loop, each with everybody who waits for it."""

    pairs: dict[Pair, list[asyncio.Future[Similarity]]] = field(default_factory=dict)


class RemoteEncoder:
    """Satisfies medix_verl.embedding.base.Encoder; asks the run's actor, one call a tick of the event loop."""

    def __init__(self, spec: SemanticSpec, waits_s: Sequence[float] = WAITS_S) -> None:
        """Find or create the actor and have it load the model.

        Raises:
            EncoderError: The model cannot be loaded.
        """
        import ray

        self.spec = spec
        self.waits_s = waits_s
        self.trays: WeakKeyDictionary[asyncio.AbstractEventLoop, Tray] = WeakKeyDictionary()
        self.tasks: set[asyncio.Task[None]] = set()
        self.actor = open_actor(spec)
        reason = ray.get(self.actor.load.remote())
        if reason:
            raise EncoderError(reason)

    async def compare(self, candidate: str, reference: str) -> Similarity:
        """Cosine similarity of two texts; no value, with the reason, where the actor cannot be reached for long."""
        loop = asyncio.get_running_loop()
        tray = self.trays.setdefault(loop, Tray())
        if not tray.pairs:
            loop.call_soon(self.send, loop)
        future: asyncio.Future[Similarity] = loop.create_future()
        tray.pairs.setdefault((candidate, reference), []).append(future)
        return await future

    async def close(self) -> None:
        """Wait for what was asked here; the actor belongs to the run and stays."""
        loop = asyncio.get_running_loop()
        self.send(loop)
        await asyncio.gather(*(task for task in self.tasks if task.get_loop() is loop), return_exceptions=True)

    def send(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask the actor for what lies in this event loop's tray."""
        tray = self.trays.pop(loop, Tray())
        if tray.pairs:
            task = loop.create_task(self.answer(tray))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def answer(self, tray: Tray) -> None:
        """Resolve the futures of one tray, whatever happens."""
        pairs = list(tray.pairs)
        try:
            answers = [Similarity(value, reason) for value, reason in await self.ask(pairs)]
        except Exception as error:  # noqa: BLE001 - whatever Ray raises is a reason, and nobody may wait for ever
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            answers = [Similarity(None, f"the shared encoder failed ({cause})")] * len(pairs)
        for pair, answer in zip(pairs, answers, strict=True):
            for future in tray.pairs[pair]:
                if not future.done():
                    future.set_result(answer)

    async def ask(self, pairs: list[Pair]) -> list[Answer]:
        """One call of the actor, again while it is being brought back."""
        from ray.exceptions import ObjectLostError, RayActorError, WorkerCrashedError

        for wait_s in self.waits_s:
            try:
                answers: list[Answer] = await self.actor.compare_many.remote(pairs)
                return answers
            except (ObjectLostError, RayActorError, WorkerCrashedError):
                await asyncio.sleep(wait_s)
                # Ray restarts a process that died; an actor that was ended on purpose has to be made anew.
                self.actor = open_actor(self.spec)
        last: list[Answer] = await self.actor.compare_many.remote(pairs)
        return last


def inside_ray() -> bool:
    """Whether this process belongs to a Ray run; Ray is not imported to find out."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def open_actor(spec: SemanticSpec) -> Any:
    """The run's encoder actor, created if there is none."""
    import ray

    extra: dict[str, Any] = {}
    if spec.device != "cpu":
        # Ray hides all GPUs from an actor that books none.
        extra = {"runtime_env": {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}}
    options = ray.remote(EncoderHost).options(
        name=NAME, get_if_exists=True, num_cpus=0, max_restarts=-1, max_concurrency=1000, **extra
    )
    return options.remote(spec)


def collect_stats(timeout_s: float = 5.0) -> dict[str, float]:
    """What the run's encoder did since the last call; empty where there is none or it does not answer in time."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    if not ray.is_initialized():
        return {}
    try:
        actor = ray.get_actor(NAME)
        found: dict[str, float] = ray.get(actor.take_stats.remote(), timeout=timeout_s)
    except (ValueError, GetTimeoutError, RayActorError):  # ValueError: no such actor
        return {}
    return found

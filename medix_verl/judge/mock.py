# SPDX-License-Identifier: Apache-2.0
"""A judge server without a model: OpenAI-compatible, fast, and faulty on demand, for tests, benchmarks and rehearsals.

    python -m medix_verl.judge.mock --port 0 --latency-ms 50 --slots 256 --fail-share 0.05 --retry-after 1

prints its address as the first line and serves /v1/chat/completions, /v1/models, /stats and /reset until it is ended.
In a program: `async with MockJudge(MockSpec(latency_ms=50)) as mock: mock.url, mock.stats()`.

A verdict depends on the prompt alone, a fault on (seed, prompt, how often that prompt was asked), so that two runs
meet the same faults in whatever order their requests arrive. It judges nothing: never score real answers with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

from medix_verl.errors import ConfigError
from medix_verl.specs import Amount, Count, Integer, Natural, Share, Text, spec

if TYPE_CHECKING:
    from aiohttp import web

__all__ = [
    "FAULTS",
    "RULES",
    "MockJudge",
    "MockSpec",
    "completion",
    "digest",
    "main",
    "parse",
    "probability_of",
    "serve",
    "verdict_of",
]

FAULTS = ("fail", "hang", "drop", "garbage", "truncate")
"""An error status, no answer at all, a connection that is cut, a reply that is no verdict, half a body."""
GARBAGE = ("I would say that it depends.", "NO, not YES", "", "YESNO")
RULES = ("hash", "yes", "no", "fooled")
"""What decides a verdict: a coin that depends on the prompt, always YES, always NO, or `fooled`, which reads the prompt
`reference` as a weak model does: it passes whatever has the reference's words somewhere, and an answer without a word
(arXiv 2507.08794), so that guards have something to stop. `contains:TEXT` is a YES for a prompt that has the text."""
REFERENCE = re.compile(r"^Reference answer:\n(.*)$", re.MULTILINE)
QUOTED = re.compile(r"^> (.*)$", re.MULTILINE)
WORD = re.compile(r"\w+")
TOKENS = {"plain": ("{}",), "json": ('{"', "verdict", '":"', "{}", '"}')}


@spec("mock")
class MockSpec:
    """How the server behaves."""

    latency_ms: Amount = 0.0
    """Milliseconds that an answer takes, once it has a slot."""
    slots: Count = 256
    """Answers that are worked on at once; further requests wait, as they do in a real engine."""
    verdict: str = "hash"
    """One of RULES, or contains:TEXT."""
    fail_share: Share = 0.0
    """Share of requests that get `fail_status`; this and the shares below sum to at most 1."""
    hang_share: Share = 0.0
    drop_share: Share = 0.0
    garbage_share: Share = 0.0
    truncate_share: Share = 0.0
    fail_status: Annotated[int, Integer(400)] = 503
    retry_after: Amount | None = None
    """Seconds in the Retry-After header of a failure; None sends none."""
    seed: Natural = 0
    model: Text = "mock-judge"
    """The name that /v1/models lists; requests may name any."""

    def __post_init__(self) -> None:
        if math.fsum(self.shares.values()) > 1 + 1e-9:
            raise ConfigError(f"the mock's shares sum to {sum(self.shares.values()):g}; bring them to at most 1")
        check_rule(self.verdict)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each kind of fault."""
        return {kind: getattr(self, f"{kind}_share") for kind in FAULTS}

    def fault(self, prompt: str, attempt: int) -> str | None:
        """The fault that the `attempt`-th request (from 0) with this prompt meets, or None."""
        point = chance(f"{self.seed}:{attempt}:{prompt}")
        for kind, share in self.shares.items():
            if point < share:
                return kind
            point -= share
        return None


class MockJudge:
    """The server; one event loop, one core."""

    def __init__(self, spec: MockSpec | None = None, port: int = 0) -> None:
        """Keep the settings; nothing is served yet. Port 0 takes a free one, and keeps it over stop and start."""
        self.spec = spec or MockSpec()
        self.port = port
        self.reset()

    @property
    def url(self) -> str:
        """The base address with its version, as JudgeSpec.url takes it."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> MockJudge:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to serve."""
        from aiohttp import web

        # handler_cancellation: a client that gave up on a hanging request frees its slot.
        server = web.Server(self.handle, access_log=None, handler_cancellation=True)  # type: ignore[arg-type]
        self.runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self.runner.setup()
        self.free = asyncio.Semaphore(self.spec.slots)
        await web.TCPSite(self.runner, "127.0.0.1", self.port, backlog=8192, reuse_address=True).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        """Cut all connections and serve no more."""
        await self.runner.cleanup()

    def reset(self) -> None:
        """Forget what was asked."""
        self.requests = 0
        self.in_flight = 0
        self.peak = 0
        self.faults: Counter[str] = Counter()
        self.asked: Counter[bytes] = Counter()
        self.answered: set[bytes] = set()

    def stats(self) -> dict[str, Any]:
        """What reached the server since the last reset; `unanswered` counts prompts that only met faults."""
        return {
            "requests": self.requests,
            "distinct": len(self.asked),
            "answered": len(self.answered),
            "unanswered": len(self.asked) - len(self.answered),
            "in_flight": self.in_flight,
            "in_flight_peak": self.peak,
            "faults": {kind: self.faults[kind] for kind in FAULTS},
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever its path."""
        from aiohttp import web

        path = request.rel_url.path
        if path == "/v1/chat/completions" and request.method == "POST":
            return await self.complete(request)
        if path == "/v1/models":
            return web.json_response({"object": "list", "data": [{"id": self.spec.model, "object": "model"}]})
        if path == "/reset":
            self.reset()
        if path in ("/stats", "/reset", "/health"):
            return web.json_response(self.stats())
        return web.json_response({"error": {"message": f"no such path: {path}"}}, status=404)

    async def complete(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one chat completion."""
        from aiohttp import web

        try:
            body = json.loads(await request.read())
            prompt = str(body["messages"][-1]["content"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return web.json_response({"error": {"message": f"bad request ({type(error).__name__})"}}, status=400)
        key = digest(prompt)
        fault = self.spec.fault(prompt, self.asked[key])
        self.asked[key] += 1
        self.requests += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            async with self.free:
                if self.spec.latency_ms:
                    await asyncio.sleep(self.spec.latency_ms / 1000)
                if fault is None:
                    self.answered.add(key)
                    return web.Response(body=self.reply(body, prompt), content_type="application/json")
                self.faults[fault] += 1
                return await self.misbehave(fault, request, body, prompt)
        finally:
            self.in_flight -= 1

    async def misbehave(
        self, fault: str, request: web.BaseRequest, body: dict[str, Any], prompt: str
    ) -> web.StreamResponse:
        """Meet a request with a fault."""
        from aiohttp import web

        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "drop" and request.transport is not None:
            request.transport.abort()
        if fault in ("drop", "fail"):
            headers = None if self.spec.retry_after is None else {"Retry-After": f"{self.spec.retry_after:g}"}
            return web.Response(status=self.spec.fail_status, text="injected failure", headers=headers)
        if fault == "truncate":
            raw = self.reply(body, prompt)
            return web.Response(body=raw[: len(raw) // 2], content_type="application/json")
        garbage = completion(self.spec.model, GARBAGE[digest(prompt)[1] % len(GARBAGE)])
        return web.Response(body=garbage, content_type="application/json")

    def reply(self, body: dict[str, Any], prompt: str) -> bytes:
        """The whole answer to a request: a bare word, or JSON where a schema is asked for, and log-probabilities."""
        correct = verdict_of(prompt, self.spec.verdict)
        tokens = TOKENS["json" if "response_format" in body else "plain"]
        pieces = [token.replace("{}", "YES" if correct else "NO") for token in tokens]
        logprobs = None
        if body.get("logprobs"):
            share = probability_of(prompt, self.spec.verdict)
            top = min(int(body.get("top_logprobs") or 0), 20)
            logprobs = {"content": [token_logprobs(piece, share, top) for piece in pieces]}
        return completion(self.spec.model, "".join(pieces), logprobs)


def token_logprobs(piece: str, share: float, top: int) -> dict[str, Any]:
    """One token as OpenAI describes it; a verdict's mass is spread over spellings, as models do."""
    spread = {piece: 1.0}
    if piece in ("YES", "NO"):
        spread = {"YES": 0.9 * share, "NO": 0.9 * (1 - share), "Yes": 0.1 * share, " No": 0.1 * (1 - share)}
    ranked = sorted(spread, key=lambda text: -spread[text])
    entries = {text: {"token": text, "logprob": math.log(spread[text])} for text in ranked}
    return {**entries[piece], "top_logprobs": list(entries.values())[:top]}


def completion(model: str, text: str, logprobs: dict[str, Any] | None = None) -> bytes:
    """A chat completion with one choice."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
    return json.dumps({"id": "mock", "object": "chat.completion", "model": model, "choices": [choice]}).encode()


def check_rule(rule: str) -> None:
    """Refuse an unknown rule.

    Raises:
        ConfigError: There is no such rule.
    """
    if rule not in RULES and not rule.startswith("contains:"):
        raise ConfigError(f"mock.verdict is {rule!r}; accepted: {', '.join(RULES)}, contains:TEXT")


def verdict_of(prompt: str, rule: str = "hash") -> bool:
    """The verdict on a prompt."""
    if rule.startswith("contains:"):
        return rule.partition(":")[2] in prompt
    if rule == "fooled":
        return is_fooled(prompt)
    return rule == "yes" if rule != "hash" else bool(digest(prompt)[0] & 1)


def is_fooled(prompt: str) -> bool:
    """Whether the candidate has the reference's words in it, or none at all; NO to another prompt than `reference`."""
    reference = REFERENCE.search(prompt)
    if reference is None:
        return False
    candidate = words(" ".join(QUOTED.findall(prompt)))
    return not candidate.strip() or words(reference[1]) in candidate


def words(text: str) -> str:
    return f" {' '.join(WORD.findall(text.lower()))} "


def probability_of(prompt: str, rule: str = "hash") -> float:
    """P(YES) that the log-probabilities say: above 0.5 for a YES, below for a NO."""
    sure = 0.55 + 0.44 * chance(f"p:{prompt}")
    return sure if verdict_of(prompt, rule) else 1 - sure


def digest(text: str) -> bytes:
    """Eight bytes that stand for a text."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def chance(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(digest(text), "big") / 2**64


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; every field of MockSpec is a flag."""
    parser = argparse.ArgumentParser(prog="python -m medix_verl.judge.mock", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    kinds = {"slots": int, "fail_status": int, "seed": int, "verdict": str, "model": str}
    for item in fields(MockSpec):
        kind: Any = kinds.get(item.name, float)
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=kind, default=item.default)
    return parser.parse_args(argv)


async def serve(mock: MockJudge) -> None:
    """Serve until the process is told to end."""
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    async with mock:
        print(mock.url, file=sys.stdout, flush=True)
        await ended.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server as a program."""
    args = vars(parse(argv))
    port = args.pop("port")
    try:
        asyncio.run(serve(MockJudge(MockSpec(**args), port)))
    except (ConfigError, OSError) as error:
        print(f"mock judge: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

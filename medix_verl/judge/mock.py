# SPDX-License-Identifier: Apache-2.0
"""A judge server without a model: OpenAI-compatible, fast, and faulty on demand, for tests, benchmarks and rehearsals.

    python -m medix_verl.judge.mock --port 0 --latency-ms 50 --slots 256 --fail-share 0.05 --retry-after 1

prints its address as the first line and serves /v1/chat/completions, /v1/models, /stats and /reset until it is ended.
With --per-second 10 it accepts ten requests a second and answers 429 to the others.
In a program: `async with MockJudge(MockSpec(latency_ms=50)) as mock: mock.url, mock.stats()`.

A verdict depends on the prompt alone; a fault depends on (seed, prompt, number of earlier requests with that prompt).
Two runs therefore get the same faults in whatever order their requests arrive. Never score real answers with it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import math
import re
import signal
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

from medix_verl.errors import ConfigError
from medix_verl.specs import Amount, Choice, Count, Integer, Natural, Share, Text, spec

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
"""An error status, no answer, a closed connection, a reply without a verdict, a truncated body."""
GARBAGE = ("I would say that it depends.", "NO, not YES", "", "YESNO")
RULES = ("hash", "yes", "no", "fooled")
"""How a verdict is chosen: pseudo-randomly by a hash of the prompt, always YES, always NO, or `fooled`. `fooled` mimics
a weak model on the prompt `reference`: it accepts any answer with the reference's words in it, and any answer without a
word (arXiv 2507.08794), so that guards can be tested. `contains:TEXT` is YES for a prompt that contains the text."""
REFERENCE = re.compile(r"^Reference answer:\n(.*)$", re.MULTILINE)
QUOTED = re.compile(r"^> (.*)$", re.MULTILINE)
WORD = re.compile(r"\w+")
TOKENS = {"plain": ("{}",), "json": ('{"', "verdict", '":"', "{}", '"}')}


@spec("mock")
class MockSpec:
    """Settings of the server."""

    latency_ms: Amount = 0.0
    """Processing time of an answer in milliseconds, without the wait for a slot."""
    slots: Count = 256
    """Answers that are processed at once; further requests wait, as in an inference engine."""
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
    """Seconds in the Retry-After header of a failure; None sends no header."""
    per_second: Count | None = None
    """Requests that are accepted in any second, as by a paid service; others get 429 and `retry_after`. None accepts
    all."""
    seed: Natural = 0
    pictures: Annotated[str, Choice(("take", "refuse"))] = "take"
    """Whether pictures in a message are accepted (without effect on the verdict) or refused with 400."""
    model: Text = "mock-judge"
    """The name that /v1/models lists; requests may use any name."""

    def __post_init__(self) -> None:
        if math.fsum(self.shares.values()) > 1 + 1e-9:
            raise ConfigError(f"the mock's shares sum to {sum(self.shares.values()):g}; bring them to at most 1")
        check_rule(self.verdict)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each kind of fault."""
        return {kind: getattr(self, f"{kind}_share") for kind in FAULTS}

    def fault(self, prompt: str, attempt: int) -> str | None:
        """The fault of the `attempt`-th request (from 0) with this prompt, or None."""
        point = chance(f"{self.seed}:{attempt}:{prompt}")
        for kind, share in self.shares.items():
            if point < share:
                return kind
            point -= share
        return None


class MockJudge:
    """The server; one event loop, one core."""

    def __init__(self, spec: MockSpec | None = None, port: int = 0) -> None:
        """Store the settings; serving starts later. Port 0 selects a free port, kept across stop and start."""
        self.spec = spec or MockSpec()
        self.port = port
        self.reset()

    @property
    def url(self) -> str:
        """The base address with its version, as for JudgeSpec.url."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> MockJudge:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start serving."""
        from aiohttp import web

        # handler_cancellation: a client that gives up on a hanging request frees its slot.
        server = web.Server(self.handle, access_log=None, handler_cancellation=True)  # type: ignore[arg-type]
        self.runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self.runner.setup()
        self.free = asyncio.Semaphore(self.spec.slots)
        await web.TCPSite(self.runner, "127.0.0.1", self.port, backlog=8192, reuse_address=True).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        """Close all connections and stop serving."""
        await self.runner.cleanup()

    def reset(self) -> None:
        """Reset the counters."""
        self.requests = 0
        self.in_flight = 0
        self.peak = 0
        self.faults: Counter[str] = Counter()
        self.asked: Counter[bytes] = Counter()
        self.answered: set[bytes] = set()
        self.pictures: Counter[str] = Counter()
        """Number of times each picture was received, by the SHA-256 of its bytes."""
        self.taken: deque[float] = deque()
        self.limited = 0

    def is_over(self, moment: float) -> bool:
        """Whether a request exceeds the limit of the second before `moment`; if not, it is counted as accepted."""
        if self.spec.per_second is None:
            return False
        while self.taken and self.taken[0] <= moment - 1.0:
            self.taken.popleft()
        if len(self.taken) >= self.spec.per_second:
            self.limited += 1
            return True
        self.taken.append(moment)
        return False

    def stats(self) -> dict[str, Any]:
        """Counts since the last reset; `unanswered` counts prompts that only got faults."""
        return {
            "requests": self.requests,
            "distinct": len(self.asked),
            "answered": len(self.answered),
            "unanswered": len(self.asked) - len(self.answered),
            "in_flight": self.in_flight,
            "pictures": dict(self.pictures),
            "in_flight_peak": self.peak,
            "faults": {kind: self.faults[kind] for kind in FAULTS},
            "limited": self.limited,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, by its path."""
        from aiohttp import web

        path = request.rel_url.path
        if path == "/v1/chat/completions" and request.method == "POST":
            return await self.complete(request)
        if path == "/v1/models":
            # `root` as in vLLM: the model that is served under the name.
            listed = {"id": self.spec.model, "object": "model", "root": f"mock/{self.spec.model}"}
            return web.json_response({"object": "list", "data": [listed]})
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
            prompt, pictures = read_content(body["messages"][-1]["content"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return web.json_response({"error": {"message": f"bad request ({type(error).__name__})"}}, status=400)
        if self.is_over(asyncio.get_running_loop().time()):
            said = {"message": "Rate limit reached for requests", "type": "requests", "code": "rate_limit_exceeded"}
            return web.json_response({"error": said}, status=429, headers=self.headers())
        if pictures and self.spec.pictures == "refuse":
            message = f"{self.spec.model} is not a multimodal model and takes no image_url"
            return web.json_response({"error": {"message": message}}, status=400)
        self.pictures.update(hashlib.sha256(picture).hexdigest() for picture in pictures)
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
        """Answer a request with a fault."""
        from aiohttp import web

        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "drop" and request.transport is not None:
            request.transport.abort()
        if fault in ("drop", "fail"):
            return web.Response(status=self.spec.fail_status, text="injected failure", headers=self.headers())
        if fault == "truncate":
            raw = self.reply(body, prompt)
            return web.Response(body=raw[: len(raw) // 2], content_type="application/json")
        garbage = completion(self.spec.model, GARBAGE[digest(prompt)[1] % len(GARBAGE)])
        return web.Response(body=garbage, content_type="application/json")

    def headers(self) -> dict[str, str]:
        """Headers of a failure."""
        return {} if self.spec.retry_after is None else {"Retry-After": f"{self.spec.retry_after:g}"}

    def reply(self, body: dict[str, Any], prompt: str) -> bytes:
        """The whole response to a request: a bare word, or JSON if a schema is requested, and log-probabilities."""
        correct = verdict_of(prompt, self.spec.verdict)
        tokens = TOKENS["json" if "response_format" in body else "plain"]
        pieces = [token.replace("{}", "YES" if correct else "NO") for token in tokens]
        logprobs = None
        if body.get("logprobs"):
            share = probability_of(prompt, self.spec.verdict)
            top = min(int(body.get("top_logprobs") or 0), 20)
            logprobs = {"content": [token_logprobs(piece, share, top) for piece in pieces]}
        return completion(self.spec.model, "".join(pieces), logprobs, prompt)


def token_logprobs(piece: str, share: float, top: int) -> dict[str, Any]:
    """One token in OpenAI's format; the mass of a verdict is spread over its spellings, as by real models."""
    spread = {piece: 1.0}
    if piece in ("YES", "NO"):
        spread = {"YES": 0.9 * share, "NO": 0.9 * (1 - share), "Yes": 0.1 * share, " No": 0.1 * (1 - share)}
    ranked = sorted(spread, key=lambda text: -spread[text])
    entries = {text: {"token": text, "logprob": math.log(spread[text])} for text in ranked}
    return {**entries[piece], "top_logprobs": list(entries.values())[:top]}


def completion(model: str, text: str, logprobs: dict[str, Any] | None = None, prompt: str = "") -> bytes:
    """A chat completion with one choice; token counts are word counts."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
    head = {"id": "mock", "object": "chat.completion", "model": model}
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


def read_content(content: Any) -> tuple[str, list[bytes]]:
    """The text and the pictures of a message, which is a text or a list of OpenAI's parts.

    Raises:
        ValueError: A part has another type, or a picture is not a data URI (a real server would fetch the address).
        KeyError: A part is missing a key that its type requires.
    """
    if not isinstance(content, list):
        return str(content), []
    texts, pictures = [], []
    for part in content:
        if part["type"] == "text":
            texts.append(str(part["text"]))
            continue
        head, _, data = str(part["image_url"]["url"]).partition(";base64,")
        if part["type"] != "image_url" or not head.startswith("data:image/"):
            raise ValueError("no picture by value")
        pictures.append(base64.b64decode(data, validate=True))
    return "\n".join(texts), pictures


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
    """Whether the candidate contains words of the reference, or no word; NO for a prompt other than `reference`."""
    reference = REFERENCE.search(prompt)
    if reference is None:
        return False
    candidate = words(" ".join(QUOTED.findall(prompt)))
    return not candidate.strip() or words(reference[1]) in candidate


def words(text: str) -> str:
    return f" {' '.join(WORD.findall(text.lower()))} "


def probability_of(prompt: str, rule: str = "hash") -> float:
    """P(YES) in the log-probabilities: above 0.5 for a YES, below for a NO."""
    sure = 0.55 + 0.44 * chance(f"p:{prompt}")
    return sure if verdict_of(prompt, rule) else 1 - sure


def digest(text: str) -> bytes:
    """Eight bytes that identify a text."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def chance(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(digest(text), "big") / 2**64


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; every field of MockSpec is a flag."""
    parser = argparse.ArgumentParser(prog="python -m medix_verl.judge.mock", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    numbers = dict.fromkeys(("slots", "per_second", "fail_status", "seed"), int)
    kinds: dict[str, Any] = {**numbers, **dict.fromkeys(("verdict", "pictures", "model"), str)}
    for item in fields(MockSpec):
        kind: Any = kinds.get(item.name, float)
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=kind, default=item.default)
    return parser.parse_args(argv)


async def serve(mock: MockJudge) -> None:
    """Serve until the process gets a signal to end."""
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    async with mock:
        print(mock.url, file=sys.stdout, flush=True)
        await ended.wait()


def main(argv: Sequence[str] | None = None, server: type[MockJudge] = MockJudge, title: str = "mock judge") -> int:
    """Run a server as a program; `title` is its name in error messages."""
    args = vars(parse(argv))
    port = args.pop("port")
    try:
        asyncio.run(serve(server(MockSpec(**args), port)))
    except (ConfigError, OSError) as error:
        print(f"{title}: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The judge's section of a recipe, frozen and checked: which judge, where it is served, and its limits.

Every limit is for the whole run. It holds the name of the environment variable with the API key, never the key: specs
are logged and pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import lru_cache, partial
from importlib import metadata
from typing import Annotated, Any

from pydantic import PlainValidator

from medix_verl.credentialed import parse_networks
from medix_verl.errors import ConfigError
from medix_verl.openai_client import check_urls
from medix_verl.runtime.dispatch import BREAKERS
from medix_verl.specs import Choice, Count, Natural, Number, Positive, Refused, Section, Share, Text, check, spec

__all__ = ["KINDS", "STRUCTURES", "JudgeSpec", "check_kind", "installed_kinds"]

KINDS = ("rule", "openai", "verl")
GROUP = "medix_verl.judges"
"""Entry point group of judges from other packages: NAME = module:factory, and factory(spec) gives a Judge."""
STRUCTURES = ("choice", "json_schema", "none")


@lru_cache(maxsize=1)
def installed_kinds() -> dict[str, metadata.EntryPoint]:
    """The judges that installed packages offer, by name; a name of KINDS stays ours."""
    return {point.name: point for point in metadata.entry_points(group=GROUP) if point.name not in KINDS}


def read_kind(value: Any, ours: Sequence[str] = KINDS) -> Any:
    """Check a kind; what is installed is only looked up for what is not ours: that reads many files."""
    if value in ours:
        return value
    return Choice((*ours, *sorted(installed_kinds()))).func(value)  # type: ignore[call-arg]


def check_kind(name: str, value: Any, ours: Sequence[str] = KINDS) -> None:
    """Refuse a kind of judge that is neither one of `ours` nor installed.

    Raises:
        ConfigError: It is none; the message names those there are.
    """
    check(name, value, PlainValidator(partial(read_kind, ours=ours)))


def read_networks(value: Any) -> Any:
    """Check the list of private networks.

    Raises:
        Refused: It is no list of texts.
        ConfigError: One of them is no private network.
    """
    if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
        raise Refused(value, "write a list as [10.1.0.0/16]")
    parse_networks(value, "judge.local_networks")
    return value


@spec("judge")
class JudgeSpec(Section):
    """Which judge decides, and how it is asked."""

    kind: Annotated[str, PlainValidator(read_kind)] = "rule"
    """`rule` (no model), `openai` (a server at `url`), `verl` (served by verl in its own resource pool), or the name
    of a judge that an installed package offers as an entry point of the group `medix_verl.judges`."""
    url: Annotated[str | tuple[str, ...], PlainValidator(partial(check_urls, setting="judge.url"))] | None = None
    """Base address of an OpenAI-compatible server with its version, as http://host:8000/v1; or a list of them."""
    model: Text | None = None
    """Name under which the server knows the judge model."""
    api_key_env: Text | None = None
    """Name of the environment variable that holds the API key; None sends no key."""
    prompt: Text = "reference"
    """Name of a prompt in medix_verl/judge/prompts, or the path of a .txt file."""
    show_question: bool = True
    """False accepts a prompt without {question}: the judge sees neither the question nor its options."""
    structured: Annotated[str, Choice(STRUCTURES)] = "choice"
    """How the reply is held to YES or NO: vLLM's `choice`, OpenAI's `json_schema`, or `none`."""
    timeout_s: Positive = 60.0
    """Seconds that one attempt may take."""
    max_retries: Natural = 3
    """Attempts after the first, for failures that may pass."""
    max_concurrent: Count = 256
    """Requests that may be under way at once, over all endpoints."""
    max_per_minute: Count | None = None
    """Requests that may be sent in any minute, over all endpoints; None sets no limit."""
    max_inflight: Count = 10_000
    """Questions that may be waiting or under way at once; beyond, asking waits."""
    max_candidate_chars: Count = 2000
    """Characters of the candidate answer that the judge is shown."""
    tolerance: Share = 0.0
    """Relative error that the rule judge accepts for a measured quantity whose reference sets none."""
    temperature: Annotated[float, Number(high=2.0)] = 0
    """Sampling temperature of the judge model; 0 always takes the likeliest word."""
    seed: Natural | None = None
    """Seed of that sampling, sent with every request; None sends none."""
    soft: bool = False
    """Ask for log-probabilities, so that verdicts carry P(YES)."""
    swap: bool = False
    """Ask a YES a second time with candidate and reference exchanged; both must be YES."""
    guard: bool = True
    """Plain non-answers are a NO without a call (judge.rule.guards); False is for measuring what they stop."""
    cache: Text = "memory"
    """Where verdicts are kept: `memory`, `none`, or the path of an SQLite file, which outlives the run."""
    cache_size: Count = 100_000
    """Verdicts that are kept in memory."""
    breaker: Annotated[str, Choice(BREAKERS)] = "wait"
    """When endpoints stay down: `wait` for them, `stop` asking for good, or `off`: ask each question all the same."""
    breaker_failures: Count = 8
    """Failures in a row after which an endpoint is left alone, or (`stop`) nothing is asked any more."""
    breaker_seconds: Positive = 15.0
    """Seconds until one request tries an endpoint again that was left alone."""
    worker: bool = True
    """Under Ray: one pool for all processes of the run, in an actor; otherwise each process has its own."""
    workers: Count = 1
    """How many such actors; the limits are divided among them."""
    local_networks: Annotated[tuple[str, ...], PlainValidator(read_networks)] = ()
    """Private networks (CIDR) whose addresses may see credentialed rows, as this machine's own may."""
    allow_credentialed: bool = False
    """Send credentialed rows to a judge anywhere, at the user's own responsibility."""
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    """For a judge from another package, which reads and checks them itself; the others take none."""

    def __post_init__(self) -> None:
        if self.options and self.kind in KINDS:
            taken = ", ".join(self.options)
            raise ConfigError(f"judge.options has {taken} and judge.kind {self.kind!r} takes none; remove them")
        if self.soft and self.structured == "json_schema":
            raise ConfigError(
                "judge.soft is true with judge.structured 'json_schema', whose first token is a brace; "
                "set judge.structured=choice or none"
            )
        for name in ("max_concurrent", "max_per_minute", "max_inflight"):
            limit = getattr(self, name)
            if limit is not None and limit < self.workers:
                raise ConfigError(f"judge.{name} is {limit} for {self.workers} workers; set judge.workers={limit}")

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses in `url`, none, one or several."""
        if self.url is None:
            return ()
        return (self.url,) if isinstance(self.url, str) else self.url

# SPDX-License-Identifier: Apache-2.0
"""The judge's section of a recipe, frozen and checked: which judge, where it is served, and its limits.

Every limit is for the whole run. It holds the name of the environment variable with the API key, never the key: specs
are logged and pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from typing import Any

from medix_verl.credentialed import parse_networks
from medix_verl.errors import ConfigError
from medix_verl.runtime.dispatch import BREAKERS
from medix_verl.specs import check_choice, check_flag, check_integer, check_number, check_text, read_mapping

__all__ = ["KINDS", "STRUCTURES", "JudgeSpec", "check_kind", "installed_kinds"]

KINDS = ("rule", "openai", "verl")
GROUP = "medix_verl.judges"
"""Entry point group of judges from other packages: NAME = module:factory, and factory(spec) gives a Judge."""
STRUCTURES = ("choice", "json_schema", "none")


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """Which judge decides, and how it is asked."""

    kind: str = "rule"
    """`rule` (no model), `openai` (a server at `url`), `verl` (served by verl in its own resource pool), or the name
    of a judge that an installed package offers as an entry point of the group `medix_verl.judges`."""
    url: str | tuple[str, ...] | None = None
    """Base address of an OpenAI-compatible server with its version, as http://host:8000/v1; or a list of them."""
    model: str | None = None
    """Name under which the server knows the judge model."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the API key; None sends no key."""
    prompt: str = "reference"
    """Name of a prompt in medix_verl/judge/prompts, or the path of a .txt file."""
    show_question: bool = True
    """False accepts a prompt without {question}: the judge sees neither the question nor its options."""
    structured: str = "choice"
    """How the reply is held to YES or NO: vLLM's `choice`, OpenAI's `json_schema`, or `none`."""
    timeout_s: float = 60.0
    """Seconds that one attempt may take."""
    max_retries: int = 3
    """Attempts after the first, for failures that may pass."""
    max_concurrent: int = 256
    """Requests that may be under way at once, over all endpoints."""
    max_per_minute: int | None = None
    """Requests that may be sent in any minute, over all endpoints; None sets no limit."""
    max_inflight: int = 10_000
    """Questions that may be waiting or under way at once; beyond, asking waits."""
    max_candidate_chars: int = 2000
    """Characters of the candidate answer that the judge is shown."""
    tolerance: float = 0.0
    """Relative error that the rule judge accepts for a measured quantity whose reference sets none."""
    temperature: float = 0
    """Sampling temperature of the judge model; 0 always takes the likeliest word."""
    seed: int | None = None
    """Seed of that sampling, sent with every request; None sends none."""
    soft: bool = False
    """Ask for log-probabilities, so that verdicts carry P(YES)."""
    swap: bool = False
    """Ask a YES a second time with candidate and reference exchanged; both must be YES."""
    guard: bool = True
    """Plain non-answers are a NO without a call (judge.rule.guards); False is for measuring what they stop."""
    cache: str = "memory"
    """Where verdicts are kept: `memory`, `none`, or the path of an SQLite file, which outlives the run."""
    cache_size: int = 100_000
    """Verdicts that are kept in memory."""
    breaker: str = "wait"
    """When endpoints stay down: `wait` for them as long as retries allow, or `stop` asking for good at once."""
    breaker_failures: int = 8
    """Failures in a row after which an endpoint is left alone, or (`stop`) nothing is asked any more."""
    breaker_seconds: float = 15.0
    """Seconds until one request tries an endpoint again that was left alone."""
    worker: bool = True
    """Under Ray: one pool for all processes of the run, in an actor; otherwise each process has its own."""
    workers: int = 1
    """How many such actors; the limits are divided among them."""
    local_networks: tuple[str, ...] = ()
    """Private networks (CIDR) whose addresses may see credentialed rows, as this machine's own may."""
    allow_credentialed: bool = False
    """Send credentialed rows to a judge anywhere, at the user's own responsibility."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """For a judge from another package, which reads and checks them itself; the others take none."""

    def __post_init__(self) -> None:
        check_kind("judge.kind", self.kind)
        check_choice("judge.breaker", self.breaker, BREAKERS)
        object.__setattr__(self, "options", read_options(self.kind, self.options))
        check_choice("judge.structured", self.structured, STRUCTURES)
        for name in ("model", "api_key_env"):
            check_text(f"judge.{name}", getattr(self, name), optional=True)
        for name in ("prompt", "cache"):
            check_text(f"judge.{name}", getattr(self, name))
        for name in ("soft", "swap", "guard", "worker", "show_question", "allow_credentialed"):
            check_flag(f"judge.{name}", getattr(self, name))
        # A list from YAML could be changed from outside; a frozen spec keeps none.
        object.__setattr__(self, "url", read_url(self.url))
        object.__setattr__(self, "local_networks", read_networks(self.local_networks))
        self.check_limits()
        if self.soft and self.structured == "json_schema":
            raise ConfigError(
                "judge.soft is true with judge.structured 'json_schema', whose first token is a brace; "
                "set judge.structured=choice or none"
            )

    def check_limits(self) -> None:
        """Refuse numbers out of range, and fewer slots than workers.

        Raises:
            ConfigError: A limit is not accepted.
        """
        for name in ("timeout_s", "breaker_seconds"):
            check_number(f"judge.{name}", getattr(self, name), above=True)
        check_integer("judge.max_retries", self.max_retries)
        positive = (
            "max_concurrent",
            "max_inflight",
            "max_candidate_chars",
            "cache_size",
            "breaker_failures",
            "workers",
        )
        for name in positive:
            check_integer(f"judge.{name}", getattr(self, name), low=1)
        if self.max_per_minute is not None:
            check_integer("judge.max_per_minute", self.max_per_minute, low=1)
        check_number("judge.tolerance", self.tolerance, high=1.0)
        check_number("judge.temperature", self.temperature, high=2.0)
        if self.seed is not None:
            check_integer("judge.seed", self.seed)
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

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> JudgeSpec:
        """Read a recipe's `judge` section; see medix_verl.specs.read_mapping for what is refused."""
        return read_mapping(cls, mapping, "judge")


@lru_cache(maxsize=1)
def installed_kinds() -> dict[str, metadata.EntryPoint]:
    """The judges that installed packages offer, by name; a name of KINDS stays ours."""
    return {point.name: point for point in metadata.entry_points(group=GROUP) if point.name not in KINDS}


def check_kind(name: str, value: Any, builtin: tuple[str, ...] = KINDS) -> None:
    """Refuse a kind of judge that neither we nor an installed package have.

    Raises:
        ConfigError: There is no such kind; it lists those there are.
    """
    if value not in builtin:  # what is installed is looked up only where it matters: that reads many files
        check_choice(name, value, (*builtin, *sorted(installed_kinds())))


def read_options(kind: str, value: Any) -> dict[str, Any]:
    """Check the options of a judge from another package.

    Raises:
        ConfigError: They are no mapping with texts as keys, or the kind is one of ours.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"judge.options is {value!r}; write a mapping as {{name: value}}")
    if value and kind in KINDS:
        raise ConfigError(f"judge.options has {', '.join(value)} and judge.kind {kind!r} takes none; remove them")
    return dict(value)


def read_url(value: Any) -> str | tuple[str, ...] | None:
    """Check one address or several; several become a tuple.

    Raises:
        ConfigError: An address without http:// or https://, an empty list, or an address given twice.
    """
    several = isinstance(value, (list, tuple))
    addresses = tuple(value) if several else (value,)
    if not addresses:
        raise ConfigError("judge.url is an empty list; name a server as http://host:port/v1, or set it to null")
    for address in addresses:
        check_text("judge.url", address, optional=not several)
        if address is not None and not address.startswith(("http://", "https://")):
            raise ConfigError(f"judge.url is {address!r}; write it as http://host:port/v1")
    if len(set(addresses)) < len(addresses):
        raise ConfigError(f"judge.url names {max(addresses, key=addresses.count)!r} twice; name each server once")
    return addresses if several else value


def read_networks(value: Any) -> tuple[str, ...]:
    """Check the list of private networks.

    Raises:
        ConfigError: It is no list of texts, or one of them is no private network.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        raise ConfigError(f"judge.local_networks is {value!r}; write a list as [10.1.0.0/16]")
    parse_networks(value, "judge.local_networks")
    return tuple(value)

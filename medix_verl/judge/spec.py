# SPDX-License-Identifier: Apache-2.0
"""The judge section of a recipe, frozen and validated: which judge, where it is served, and its limits.

Every limit applies to the whole run. The spec contains the name of the environment variable with the API key, never the
key, because specs are logged and pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from difflib import get_close_matches
from functools import lru_cache, partial
from importlib import metadata
from typing import Annotated, Any

from pydantic import PlainValidator

from medix_verl.credentialed import parse_networks
from medix_verl.errors import ConfigError
from medix_verl.openai_client import check_urls
from medix_verl.runtime.dispatch import BREAKERS
from medix_verl.specs import (
    Choice,
    Count,
    Integer,
    Natural,
    Number,
    Positive,
    Refused,
    Section,
    Share,
    Text,
    check,
    spec,
)

__all__ = ["KINDS", "STRUCTURES", "JudgeSpec", "check_kind", "installed_kinds"]

KINDS = ("rule", "openai", "verl")
GROUP = "medix_verl.judges"
"""Entry point group of judges from other packages: NAME = module:factory, and factory(spec) returns a Judge."""
STRUCTURES = ("choice", "json_schema", "none")
OWN_KEYS = {
    **{key: f"set judge.{key} instead" for key in ("model", "temperature", "max_tokens", "seed")},
    "max_completion_tokens": "set judge.max_tokens, which is sent under this name where the server wants it",
    **dict.fromkeys(("response_format", "structured_outputs", "guided_choice"), "set judge.structured instead"),
    **dict.fromkeys(("logprobs", "top_logprobs"), "set judge.soft=true instead"),
    **dict.fromkeys(("messages", "prompt"), "set judge.prompt instead"),
    **dict.fromkeys(("stream", "n"), "one whole reply is read; leave it out"),
}
"""Keys of a request that `extra_body` must not contain, and what to do instead."""


@lru_cache(maxsize=1)
def installed_kinds() -> dict[str, metadata.EntryPoint]:
    """The judges of installed packages, by name; names in KINDS cannot be overridden."""
    return {point.name: point for point in metadata.entry_points(group=GROUP) if point.name not in KINDS}


def read_kind(value: Any, ours: Sequence[str] = KINDS) -> Any:
    """Check a kind; installed packages are searched only for one that is not in `ours`: the search reads many files."""
    if value in ours:
        return value
    return Choice((*ours, *sorted(installed_kinds()))).func(value)  # type: ignore[call-arg]


def check_kind(name: str, value: Any, ours: Sequence[str] = KINDS) -> None:
    """Refuse a kind of judge that is neither one of `ours` nor installed.

    Raises:
        ConfigError: It is neither; the message lists the accepted ones.
    """
    check(name, value, PlainValidator(partial(read_kind, ours=ours)))


def read_networks(value: Any) -> Any:
    """Check the list of private networks.

    Raises:
        Refused: It is not a list of texts.
        ConfigError: One of them is not a private network.
    """
    if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
        raise Refused(value, "write a list as [10.1.0.0/16]")
    parse_networks(value, "judge.local_networks")
    return value


def read_extra_body(value: Any) -> Any:
    """Check the keys that are added to each request; null means none (a recipe's null can be overridden with a
    mapping).

    Raises:
        Refused: It is not a mapping with text keys, or cannot be written as JSON.
        ConfigError: It has a key that the judge sets itself, or one with which a reply could not be read.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise Refused(value, "set it to a mapping, as {chat_template_kwargs: {enable_thinking: false}}")
    for key in value:
        if key in OWN_KEYS:
            raise ConfigError(f"judge.extra_body has {key}, which the judge sets itself; {OWN_KEYS[key]}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise Refused(value, "its values must be such as JSON has") from None
    return value


def read_panel(value: Any) -> Any:
    """Check the form of a panel; its members are checked when the whole section is read.

    Raises:
        Refused: It is not a list of two or more mappings.
    """
    if value is None:
        return ()
    if not isinstance(value, tuple) or not all(isinstance(entry, Mapping) for entry in value) or len(value) == 1:
        # The value itself is not shown: an address in it may contain a password.
        got = f"a list of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"
        raise Refused(got, "write two judge sections or more, as [{model: A, url: URL}, {model: B, url: URL}]")
    return tuple(dict(entry) for entry in value)


@spec("judge")
class JudgeSpec(Section):
    """Which judge decides, and how it is asked."""

    kind: Annotated[str, PlainValidator(read_kind)] = "rule"
    """`rule` (no model), `openai` (a server at `url`), `verl` (served by verl in its own resource pool), or the name
    of a judge that an installed package offers as an entry point of the group `medix_verl.judges`."""
    url: Annotated[str | tuple[str, ...], PlainValidator(partial(check_urls, setting="judge.url"))] | None = None
    """Base address of an OpenAI-compatible server with its version, such as http://host:8000/v1; or a list of them."""
    model: Text | None = None
    """Name of the judge model on the server."""
    api_key_env: Text | None = None
    """Name of the environment variable with the API key; None sends no key."""
    prompt: Text = "reference"
    """Name of a prompt in medix_verl/judge/prompts, or the path of a .txt file."""
    show_question: bool = True
    """False accepts a prompt without {question}: the judge sees neither the question nor its options."""
    structured: Annotated[str, Choice(STRUCTURES)] = "choice"
    """How the reply is restricted to YES or NO: vLLM's `choice`, OpenAI's `json_schema`, or `none`."""
    max_tokens: Count | None = None
    """Maximum tokens of a reply, including its reasoning; None takes the few that a verdict needs. A reasoning model
    needs about 1,000 to 4,000."""
    extra_body: Annotated[dict[str, Any], PlainValidator(read_extra_body)] = field(default_factory=dict, hash=False)
    """Further keys of each request, such as {chat_template_kwargs: {enable_thinking: false}} (vLLM, SGLang) or
    {reasoning_effort: low} (OpenAI); keys that this section sets itself are refused."""
    use_proxies: bool = False
    """Use the proxies that the environment names (HTTP_PROXY, HTTPS_PROXY, NO_PROXY). A credentialed row is never sent
    through a proxy, and neither are requests to a judge that verl serves."""
    timeout_s: Positive = 60.0
    """Time limit of one attempt in seconds."""
    max_retries: Natural = 3
    """Attempts after the first, for temporary failures; waiting for a rate limit does not count."""
    max_concurrent: Count = 256
    """Maximum concurrent requests over all endpoints."""
    max_per_minute: Count | None = None
    """Maximum requests in any minute over all endpoints; None sets no limit. A server's own limit is found from its
    refusals (429), which fail no answer; set the limit here to avoid them."""
    max_inflight: Count = 10_000
    """Maximum questions that are waiting or in progress; beyond it, callers wait."""
    max_candidate_chars: Count = 2000
    """Characters of the candidate answer that the judge is shown."""
    tolerance: Share = 0.0
    """Relative error that the rule judge accepts for a measured quantity whose reference sets none."""
    temperature: Annotated[float, Number(high=2.0)] = 0
    """Sampling temperature of the judge model; 0 is greedy."""
    seed: Natural | None = None
    """Sampling seed, sent with every request; None sends none."""
    soft: bool = False
    """Ask for log-probabilities, so that verdicts contain P(YES)."""
    swap: bool = False
    """After a YES, ask again with candidate and reference exchanged; both must be YES."""
    guard: bool = True
    """Texts that are clearly no answer are a NO without a call (judge.rule.guards); False disables the guards."""
    cache: Text = "memory"
    """Where verdicts are cached: `memory`, `none`, or the path of an SQLite file, which is kept after the run."""
    cache_size: Count = 100_000
    """Maximum verdicts in memory."""
    breaker: Annotated[str, Choice(BREAKERS)] = "wait"
    """If endpoints stay down: `wait` for them, `stop` asking permanently, or `off`: ask each question anyway."""
    breaker_failures: Count = 8
    """Consecutive failures after which an endpoint is not asked, or (`stop`) no endpoint is asked any more."""
    breaker_seconds: Positive = 15.0
    """Seconds until one request probes an endpoint that is down."""
    worker: bool = True
    """Under Ray: one pool for all processes of the run, in an actor; if false, each process has its own."""
    workers: Count = 1
    """Number of such actors; the limits are divided among them."""
    local_networks: Annotated[tuple[str, ...], PlainValidator(read_networks)] = ()
    """Private networks (CIDR) whose addresses may receive credentialed rows, in addition to this machine's."""
    allow_credentialed: bool = False
    """Send credentialed rows to a judge at any address, at the user's own responsibility."""
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    """Settings of a judge from another package, which checks them itself; other judges accept none."""
    images: bool = False
    """Show the judge the question's pictures, for a multimodal model; `prompt: pictures` mentions them. A question
    without pictures is asked as text; one whose picture cannot be read has no verdict."""
    max_images: Count = 8
    """Maximum pictures shown per question: the first ones, and the prompt mentions how many are left out."""
    image_pixels: Annotated[int, Integer(64)] = 1024 * 1024
    """Area, in pixels, above which a picture is scaled down before it is sent."""
    panel: Annotated[tuple[Any, ...], PlainValidator(read_panel)] = field(default=(), hash=False)
    """Several judges that are asked in parallel, with a majority verdict (medix_verl.judge.panel): a list of judge
    sections, each of which inherits missing values from this section (but no key for an address of its own); () is a
    single judge."""

    def __post_init__(self) -> None:
        if self.panel:
            check_panel(self)
        elif self.images and self.kind == "rule":
            raise ConfigError(
                "judge.images is true with judge.kind 'rule', which sees no picture; set judge.kind=openai or verl"
            )
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
    def members(self) -> tuple[JudgeSpec, ...]:
        """The judges of the panel as complete specs; () for a single judge."""
        return tuple(member_of(self, place) for place in range(len(self.panel)))

    @property
    def shows_pictures(self) -> bool:
        """Whether this judge, or a member of the panel, is shown pictures."""
        return any(member.images for member in self.members) if self.panel else self.images

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses in `url` as a tuple."""
        if self.url is None:
            return ()
        return (self.url,) if isinstance(self.url, str) else self.url


OF_THE_PANEL = (
    *("panel", "guard", "local_networks", "allow_credentialed", "max_images", "image_pixels", "worker", "workers"),
)
"""Settings of the whole panel; they would have no effect in a member's section."""


def member_of(whole: JudgeSpec, place: int) -> JudgeSpec:
    """The spec of one judge of a panel: the panel's section, overridden by the member's.

    Raises:
        ConfigError: A key that is unknown or belongs to the panel, or a value that is not accepted; names the member.
    """
    entry, name = whole.panel[place], f"judge.panel[{place}]"
    idle = next((key for key in OF_THE_PANEL if key in entry), None)
    if idle is not None:
        nested = idle == "panel"
        why = "a panel has no panel in it; list all judges in one" if nested else f"write it once, as judge.{idle}"
        raise ConfigError(f"{name} has {idle}, which is for the whole panel: {why}")
    known = [key for key in JudgeSpec.__dataclass_fields__ if key not in OF_THE_PANEL]
    for key in entry:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it"
            raise ConfigError(f"{name} has an unknown key {key!r}; accepted: {', '.join(known)}; {hint}")
    if whole.api_key_env and "api_key_env" not in entry and entry.get("url", whole.url) != whole.url:
        raise ConfigError(
            f"{name} has an address of its own, which would be sent the key of judge.api_key_env={whole.api_key_env}; "
            f"write api_key_env there too: {whole.api_key_env}, another variable's name, or null"
        )
    unseeing = {"images": False} if entry.get("kind", whole.kind) == "rule" else {}
    try:
        return replace(whole, panel=(), **{**unseeing, **entry})
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def check_panel(whole: JudgeSpec) -> None:
    """Refuse a panel whose members cannot be built, or that has the same judge twice.

    Raises:
        ConfigError: One of the two.
    """
    members = whole.members
    for place, member in enumerate(members):
        for before, other in enumerate(members[:place]):
            pair = f"judge.panel[{before}] and judge.panel[{place}]"
            if member == other:
                raise ConfigError(
                    f"{pair} are the same judge, whose vote would count twice; give one of them another model or url, "
                    "or leave it out"
                )
            kept = member.cache not in ("memory", "none")
            if kept and replace(member, url=None, api_key_env=None) == replace(other, url=None, api_key_env=None):
                raise ConfigError(
                    f"{pair} differ in their address only and share the cache file {member.cache!r}, in which the same "
                    "model is the same judge: one would be given the other's replies; give each member a cache of its "
                    "own, or leave one out"
                )

# SPDX-License-Identifier: Apache-2.0
"""How an evaluation judges, frozen and checked, and the judges that do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.asking import Voter
from medix_verl.evaluation.subjects import EXTRACTS
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.judge import build_judge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.specs import check_choice, check_flag, check_integer, check_number, read_mapping

if TYPE_CHECKING:
    from medix_verl.evaluation.protocol import Protocol

__all__ = ["PROTOCOLS", "ProtocolSpec", "build_protocol", "build_voters"]

PROTOCOLS = ("published", "robust")


@dataclass(frozen=True, slots=True)
class ProtocolSpec:
    """How judges are asked."""

    name: str = "robust"
    """One of PROTOCOLS (see medix_verl.evaluation.protocol)."""
    rounds: int | None = None
    """Votes of each judge; None is three of one judge, one of each judge of a panel."""
    temperature: float = 0.7
    """`robust`: of a judge's votes after the first, which is always the training judge's own at 0."""
    seed: int = 0
    """`robust`: of those votes."""
    swap: bool = True
    """`robust`: a YES must hold with candidate and reference exchanged."""
    extract: str = "text"
    """`block` judges nothing but an answer block, as the training reward does; `text` whatever was said."""
    rereads: int = 1
    """Further askings after a reply that cannot be read."""
    max_chars: int = 8000
    """Characters of the candidate that a judge is shown."""
    suffix: str = ""
    """A last line for the judge model, such as `/no_think` for Qwen3."""

    def __post_init__(self) -> None:
        check_choice("protocol", self.name, PROTOCOLS)
        check_choice("protocol.extract", self.extract, EXTRACTS)
        check_flag("protocol.swap", self.swap)
        check_number("protocol.temperature", self.temperature, high=2.0)
        for name, low in (("seed", 0), ("rereads", 0), ("max_chars", 1)):
            check_integer(f"protocol.{name}", getattr(self, name), low)
        if self.rounds is not None:
            check_integer("protocol.rounds", self.rounds, 1)
        if not isinstance(self.suffix, str):
            raise ConfigError(f"protocol.suffix is {self.suffix!r}; set it to a text, such as /no_think")

    @property
    def votes(self) -> int:
        """Votes of a single judge."""
        return 3 if self.rounds is None else self.rounds

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ProtocolSpec:
        """Read a mapping; see medix_verl.specs.read_mapping for what is refused."""
        return read_mapping(cls, mapping, "protocol")


def build_protocol(spec: ProtocolSpec, judges: Sequence[JudgeSpec], cache: ReplyCache | None = None) -> Protocol:
    """The protocol with its judges; nothing is asked yet.

    Args:
        spec: How judges are asked.
        judges: One, or a panel.
        cache: Where replies of all of them are kept; None opens each judge's own.

    Raises:
        ConfigError: The settings do not fit together.
    """
    from medix_verl.evaluation.protocol import Protocol

    return Protocol(spec, build_voters(spec, judges, cache))


def build_voters(spec: ProtocolSpec, judges: Sequence[JudgeSpec], cache: ReplyCache | None = None) -> list[Voter]:
    """One voter for each vote; votes of the same judge share its limits. The judge of another package has one vote.

    Raises:
        ConfigError: A rule judge is one of several, or a judge's settings are wrong.
    """
    if len(judges) > 1 and any(judge.kind == "rule" for judge in judges):
        raise ConfigError("the rule judge was named beside others; name it alone, or name models only")
    if not judges:
        raise ConfigError("no judge was named; type --judge rule, or --judge openai --judge-url URL --judge-model NAME")
    voters = []
    for judge in judges:
        alone = judge.kind == "openai" and len(judges) == 1
        count = (spec.votes if alone else spec.rounds or 1) if spec.name == "robust" and judge.kind != "rule" else 1
        voters += [voter_of(spec, judge, place, count, cache) for place in range(count)]
    return voters


def voter_of(spec: ProtocolSpec, judge: JudgeSpec, place: int, count: int, cache: ReplyCache | None) -> Voter:
    """The vote at one place: the first as the judge is, the others sampled with a seed each."""
    if judge.kind == "rule":
        return Voter("rule", build_judge(judge))
    sampled: dict[str, Any] = {"temperature": spec.temperature, "seed": spec.seed + place} if place else {}
    shown = max(judge.max_candidate_chars, spec.max_chars)
    swap = spec.swap if spec.name == "robust" else judge.swap
    own = replace(judge, max_candidate_chars=shown, swap=swap, **share_of(judge, place, count), **sampled)
    return Voter(judge.model or judge.kind, build_judge(own, cache=cache), own.temperature, own.seed)


def share_of(judge: JudgeSpec, place: int, count: int) -> dict[str, Any]:
    """A voter's share of the judge's limits; the shares of all its votes sum to the limits.

    Raises:
        ConfigError: A limit is below the number of votes.
    """
    shares: dict[str, Any] = {}
    for name in ("max_concurrent", "max_inflight", "max_per_minute"):
        limit = getattr(judge, name)
        if limit is None:
            continue
        if limit < count:
            raise ConfigError(f"judge.{name} is {limit} for {count} votes; raise it, or set protocol.rounds={limit}")
        shares[name] = limit // count + (place < limit % count)
    return shares

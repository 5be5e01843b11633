# SPDX-License-Identifier: Apache-2.0
"""How an evaluation judges, frozen and checked, and the judges that do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.asking import Voter
from medix_verl.evaluation.subjects import EXTRACTS
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.judge import build_judge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.specs import Choice, Count, Natural, Number, Section, spec

if TYPE_CHECKING:
    from medix_verl.evaluation.protocol import Protocol

__all__ = ["PROTOCOLS", "ProtocolSpec", "build_protocol", "build_voters"]

PROTOCOLS = ("published", "robust")


@spec("protocol")
class ProtocolSpec(Section):
    """How judges are asked."""

    name: Annotated[str, Choice(PROTOCOLS)] = field(default="robust", metadata={"label": "protocol"})
    """One of PROTOCOLS (see medix_verl.evaluation.protocol)."""
    rounds: Count | None = None
    """Votes of each judge; None is three of one judge, one of each judge of a panel."""
    temperature: Annotated[float, Number(high=2.0)] = 0.7
    """`robust`: of a judge's votes after the first, which is always the training judge's own at 0."""
    seed: Natural = 0
    """`robust`: of those votes."""
    swap: bool = True
    """`robust`: a YES must hold with candidate and reference exchanged."""
    extract: Annotated[str, Choice(EXTRACTS)] = "text"
    """`block` judges nothing but an answer block, as the training reward does; `text` whatever was said."""
    rereads: Natural = 1
    """Further askings after a reply that cannot be read."""
    max_chars: Count = 8000
    """Characters of the candidate that a judge is shown."""
    suffix: str = ""
    """A last line for the judge model, such as `/no_think` for Qwen3."""

    @property
    def votes(self) -> int:
        """Votes of a single judge."""
        return 3 if self.rounds is None else self.rounds


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

# SPDX-License-Identifier: Apache-2.0
"""Settings of the judging protocol, and construction of the protocol and its judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.grading.asking import Voter
from medix_verl.evaluation.grading.subjects import EXTRACTS
from medix_verl.evaluation.settings import named, setting
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.judge import build_judge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.specs import Choice, Count, Natural, Number, Section, spec
from medix_verl.thinking import Thinking

if TYPE_CHECKING:
    from medix_verl.evaluation.grading.protocol import Protocol

__all__ = ["PROTOCOLS", "ProtocolSpec", "build_protocol", "build_voters"]

PROTOCOLS = ("published", "robust")


@spec("protocol", label=named("protocol"))
class ProtocolSpec(Section):
    """How judges are asked."""

    name: Annotated[str, Choice(PROTOCOLS)] = "robust"
    """One of PROTOCOLS (see medix_verl.evaluation.grading.protocol)."""
    rounds: Count | None = None
    """Votes of each judge; None means three for a single judge, one for each judge of a panel."""
    temperature: Annotated[float, Number(high=2.0)] = 0.7
    """`robust`: temperature of a judge's votes after the first; the first uses temperature 0, as in training."""
    seed: Natural = 0
    """`robust`: seed of the votes after the first."""
    swap: bool = True
    """`robust`: a YES must be repeated with candidate and reference exchanged."""
    extract: Annotated[str, Choice(EXTRACTS)] = "text"
    """`block`: only the answer block is judged, as in the training reward; `text`: without a block, the text after the
    reasoning is judged."""
    thinking: Annotated[str, Choice(tuple(state.value for state in Thinking))] = "none"
    """How the model's chat template handles thinking (medix_verl.thinking). With `open`, a text in which the thinking
    is never closed consists of reasoning only."""
    rereads: Natural = 1
    """Further requests after an unreadable reply."""
    max_chars: Count = 8000
    """Maximum number of the candidate's characters in the judge's prompt."""
    suffix: str = ""
    """A last line for the judge model, such as `/no_think` for Qwen3."""

    @property
    def votes(self) -> int:
        """Votes of a single judge."""
        return 3 if self.rounds is None else self.rounds


def build_protocol(spec: ProtocolSpec, judges: Sequence[JudgeSpec], cache: ReplyCache | None = None) -> Protocol:
    """Build the protocol with its judges; no request is made.

    Args:
        spec: How judges are asked.
        judges: One, or a panel.
        cache: Shared cache of their replies; None opens each judge's own.

    Raises:
        ConfigError: The settings are inconsistent.
    """
    from medix_verl.evaluation.grading.protocol import Protocol

    return Protocol(spec, build_voters(spec, judges, cache))


def build_voters(spec: ProtocolSpec, judges: Sequence[JudgeSpec], cache: ReplyCache | None = None) -> list[Voter]:
    """Build one voter for each vote; votes of the same judge share its limits.

    Without `rounds`, a judge of another package has one vote.

    Raises:
        ConfigError: A rule judge is combined with others, or a judge's settings are invalid.
    """
    if len(judges) > 1 and any(judge.kind == "rule" for judge in judges):
        raise ConfigError("the rule judge was named beside others; name it alone, or name models only")
    if not judges:
        raise ConfigError(
            f"no judge was named; type {setting('judge.kind', 'rule')}, or {setting('judge.kind', 'openai')} "
            f"with {setting('judge.url')} and {setting('judge.model')}"
        )
    if any(judge.panel for judge in judges):
        raise ConfigError(
            "a panel was given as one judge, which gives verdicts and holds no conversation; give its members, as "
            "medix_verl.evaluation.grading.judge_settings.judge_specs lists them: each is a voter"
        )
    voters = []
    for judge in judges:
        alone = judge.kind == "openai" and len(judges) == 1
        count = (spec.votes if alone else spec.rounds or 1) if spec.name == "robust" and judge.kind != "rule" else 1
        voters += [voter_of(spec, judge, place, count, cache) for place in range(count)]
    return voters


def voter_of(spec: ProtocolSpec, judge: JudgeSpec, place: int, count: int, cache: ReplyCache | None) -> Voter:
    """The voter at one place: the first has the judge's own settings, the others are sampled with one seed each."""
    if judge.kind == "rule":
        return Voter("rule", build_judge(judge))
    sampled: dict[str, Any] = {"temperature": spec.temperature, "seed": spec.seed + place} if place else {}
    shown = max(judge.max_candidate_chars, spec.max_chars)
    swap = spec.swap if spec.name == "robust" else judge.swap
    own = replace(judge, max_candidate_chars=shown, swap=swap, **share_of(judge, place, count), **sampled)
    return Voter(judge.model or judge.kind, build_judge(own, cache=cache), own.temperature, own.seed)


def share_of(judge: JudgeSpec, place: int, count: int) -> dict[str, Any]:
    """A voter's share of the judge's limits; the shares of all votes add up to the limits.

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

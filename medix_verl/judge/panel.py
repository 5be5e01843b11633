# SPDX-License-Identifier: Apache-2.0
"""A panel of judges: several are asked in parallel, and the majority decides.

Two conditions: more than half of the members must have answered, and more than half of these must agree. Of three
members, two that agree decide, whether the third failed or disagrees. Otherwise there is no verdict: the failure is
`disagreement` if enough members answered, else the members' most frequent failure. P(YES) is the mean over the
majority's members, so that it agrees with the verdict. A member without P(YES) counts as 1 or 0 by its verdict; if no
member gives P(YES), the panel has none.

GuardedJudge handles equality, guards, credentialed rows and pictures once, before the panel.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.judge import MAX_REASON, GuardedJudge, Judge, Question, build_judge
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import Counters, JudgeStats, add_up, panel_shares
from medix_verl.openai_client import RequestError
from medix_verl.types import Failure, Verdict

__all__ = ["Member", "Panel", "agreement_lines", "agreement_of", "build_panel", "decide", "name_of"]


@dataclass(frozen=True, slots=True)
class Member:
    """One judge of a panel, and its name."""

    name: str
    judge: Judge
    trusted: bool = False
    """Whether its endpoints are the run's own nodes, as those that verl serves are."""


class Panel:
    """A Judge; each member has its own limits, breakers and cache."""

    def __init__(self, members: Sequence[Member]) -> None:
        """Store the members; nothing is asked yet.

        Raises:
            ConfigError: There are fewer than two.
        """
        if len(members) < 2:
            raise ConfigError(f"a panel got {len(members)} judges; name two or more in judge.panel")
        self.members = tuple(members)
        self.model = "+".join(member.name for member in members)
        self.endpoints = tuple(dict.fromkeys(url for member in members for url in member.judge.endpoints))
        elsewhere = {url for member in members if not member.trusted for url in member.judge.endpoints}
        self.own = tuple(url for url in self.endpoints if url not in elsewhere)
        """Endpoints that are used only by members on the run's own nodes."""
        self.counters = Counters()
        self.under_way = 0
        self.said: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"Panel({', '.join(repr(member.judge) for member in self.members)})"

    async def ask(self, question: Question) -> Verdict:
        """Ask every member, and decide when all have answered or failed."""
        self.counters.asked += 1
        self.under_way += 1
        tasks = [asyncio.ensure_future(ask_one(member, question)) for member in self.members]
        try:
            verdicts = await asyncio.gather(*tasks)
        finally:
            self.under_way -= 1
            for task in tasks:
                task.cancel()
        verdict = replace(decide([member.name for member in self.members], verdicts), source=self.model)
        self.note(verdicts, verdict)
        return verdict

    def note(self, verdicts: Sequence[Verdict], decided: Verdict) -> None:
        """Count the verdicts of the members and of the panel."""
        if decided.correct is None:
            self.counters.unscored += 1
        if decided.failure is Failure.DISAGREEMENT:
            self.counters.failures[Failure.DISAGREEMENT.value] += 1
        words = [verdict.correct for verdict in verdicts if verdict.correct is not None]
        self.said["compared"] += len(words) > 1
        self.said["agreed"] += len(words) > 1 and len(set(words)) == 1
        for place, verdict in enumerate(verdicts, start=1):
            answered = verdict.correct is not None
            # Also entered when 0, so that a member that never answers appears in the counts.
            self.said[f"verdicts_{place}"] += answered
            self.said[f"yes_{place}"] += bool(verdict.correct)
            self.said[f"dissents_{place}"] += answered and decided.correct not in (None, verdict.correct)

    def stats(self) -> JudgeStats:
        """Counts since the last `take_stats`: questions of the panel, requests summed over its members."""
        members = add_up(member.judge.stats() for member in self.members if isinstance(member.judge, JudgePool))
        own = self.counters.snapshot(self.under_way)
        return replace(
            members,
            asked=own.asked,
            equality=own.equality,
            guard_hits=own.guard_hits,
            retries=members.retries + own.retries,
            unscored=own.unscored,
            no_picture=own.no_picture,
            inflight=own.inflight,
            failures=dict(Counter(members.failures) + Counter(own.failures)),
            panel=dict(self.said),
        )

    def agreement(self) -> dict[str, Any]:
        """Agreement of the members so far, for a report: counts, and the shares of panel_shares by member.

        Returns:
            `compared` and `agreed` (questions), `agreement` (a share, None without questions), and `members`: for each
            its `name`, `verdicts`, and the shares `yes` and `dissent`, None without verdicts.
        """
        shares = panel_shares({f"panel_{name}": float(count) for name, count in self.said.items()})
        members = [
            {
                "name": member.name,
                "verdicts": self.said[f"verdicts_{place}"],
                "yes": shares.get(f"member_{place}_yes"),
                "dissent": shares.get(f"member_{place}_dissent"),
            }
            for place, member in enumerate(self.members, start=1)
        ]
        counts = {name: self.said[name] for name in ("compared", "agreed")}
        return {**counts, "agreement": shares.get("agreement"), "members": members}

    def take_stats(self) -> JudgeStats:
        """Counts since the last call; resets them."""
        taken = self.stats()
        self.counters.reset()
        self.said.clear()
        for member in self.members:
            if isinstance(member.judge, JudgePool):
                member.judge.counters.reset()
        return taken

    async def close(self) -> None:
        """Close every member."""
        for member in self.members:
            await member.judge.close()


async def ask_one(member: Member, question: Question) -> Verdict:
    """One member's verdict; an exception other than ConfigError counts as its failure, and the others decide."""
    try:
        return await member.judge.ask(question)
    except ConfigError:
        raise
    except RequestError as error:
        return Verdict(None, member.name, str(error)[:MAX_REASON], failure=error.failure)
    except Exception as error:  # noqa: BLE001 - a user's judge may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Verdict(None, member.name, reason[:MAX_REASON], failure=Failure.INTERNAL)


def decide(names: Sequence[str], verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of a panel, by the rule in the module's docstring.

    Args:
        names: Name of each member.
        verdicts: Verdict of each member, in the same order.

    Returns:
        A verdict. Its reason gives the votes if they differ, or why there is no verdict.
    """
    answered = [verdict for verdict in verdicts if verdict.correct is not None]
    yes = sum(bool(verdict.correct) for verdict in answered)
    no = len(answered) - yes
    lost = [
        f"{name}: {' '.join(verdict.reason.split()) or 'no verdict'}"
        for name, verdict in zip(names, verdicts, strict=True)
        if verdict.correct is None
    ]
    votes = f"{yes} YES, {no} NO" + (f", {len(lost)} without a verdict" if lost else "")
    if 2 * len(answered) <= len(verdicts):
        kinds = Counter(verdict.failure or Failure.INTERNAL for verdict in verdicts if verdict.correct is None)
        failure = kinds.most_common(1)[0][0]
        reason = (
            f"{len(answered)} of {len(verdicts)} judges of the panel answered, too few to decide; {'; '.join(lost)}"
        )
        return Verdict(None, "panel", reason[:MAX_REASON], failure=failure)
    if yes == no:
        reason = "; ".join([f"the judges of the panel disagree: {votes}", *lost])
        return Verdict(None, "panel", reason[:MAX_REASON], failure=Failure.DISAGREEMENT)
    side = yes > no
    probability = mean_probability([verdict for verdict in answered if verdict.correct is side])
    unanimous = not lost and 0 in (yes, no)
    return Verdict(side, "panel", "" if unanimous else votes, probability)


def mean_probability(majority: Sequence[Verdict]) -> float | None:
    """The mean P(YES) of the members of the majority; None if no member has one."""
    if all(verdict.probability is None for verdict in majority):
        return None
    said = [float(bool(one.correct)) if one.probability is None else one.probability for one in majority]
    return math.fsum(said) / len(said)


def agreement_of(judge: GuardedJudge | None) -> dict[str, Any] | None:
    """`Panel.agreement` of a judge in this process; None if it is not a panel."""
    return judge.judge.agreement() if judge is not None and isinstance(judge.judge, Panel) else None


def agreement_lines(counts: dict[str, Any] | None) -> list[str]:
    """Report lines for the result of `agreement_of`; empty for a judge that is not a panel."""
    if counts is None:
        return []
    share = (
        f"{counts['agreed']} of {counts['compared']} questions"
        if counts["compared"]
        else "no question that two answered"
    )
    lines = [f"panel agreed on         {share}"]
    for member in counts["members"]:
        said = f"{member['verdicts']} verdicts"
        if member["verdicts"]:
            said += f", {member['yes']:.1%} YES, {member['dissent']:.1%} against the panel"
        lines.append(f"  {member['name']:21} {said}")
    return lines


def name_of(spec: JudgeSpec) -> str:
    """Name of a member: its model, else its kind; the rule judge has no model, even if the panel sets one."""
    return spec.kind if spec.kind == "rule" else spec.model or spec.kind


def build_panel(
    members: Sequence[JudgeSpec],
    served_url: str | None = None,
    served_model: str | None = None,
    cache: ReplyCache | None = None,
) -> Panel:
    """Build the panel in this process; nothing is asked yet.

    Args:
        members: `JudgeSpec.members`.
        served_url: `ip:port` of verl's reward router, for members of kind `verl`.
        served_model: Name of the model behind that router; the spec's own name takes precedence.
        cache: Shared by all; None opens each member's own.

    Raises:
        ConfigError: A member cannot be built.
    """
    made = []
    for spec in members:
        judge = build_judge(spec, served_url, served_model, cache).judge
        made.append(Member(judge.model if isinstance(judge, JudgePool) else name_of(spec), judge, spec.kind == "verl"))
    return Panel(made)

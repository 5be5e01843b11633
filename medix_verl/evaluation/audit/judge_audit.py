# SPDX-License-Identifier: Apache-2.0
"""Runs a judge on labelled pairs and attacks, and measures its agreement, consistency and latency.

Every case is asked `repeats` times, in successive rounds, so that no reply is shared between repeats; the judge must
not have a cache. Agreement, passed attacks and latency are from the first round. Then each pair is asked with candidate
and reference exchanged. Cases without a verdict are excluded from shares and counted. The audit stops if the judge
returns no verdict for any of the first cases.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.evaluation.audit.agreement import Estimate, cohen_kappa, quantile, share
from medix_verl.evaluation.audit.pairs import Case
from medix_verl.judge.judge import GuardedJudge
from medix_verl.types import Reference, Verdict

__all__ = ["AuditReport", "run_audit"]

NO_CALL = ("equality", "guard")
"""Verdict sources that do not call the judge; excluded from its latency."""
SILENT = 8
"""Number of cases without any verdict after which the audit stops."""
MAX_CAUSES = 5

Question = tuple[str, Reference]


@dataclass(frozen=True, slots=True)
class Reply:
    """One verdict and the seconds it took."""

    verdict: Verdict
    seconds: float


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Results of an audit. A share is None if no case has a verdict, or none was given."""

    pairs: int
    attacks: int
    repeats: int
    accuracy: Estimate | None
    """Share of the pairs whose verdict is the label."""
    kappa: Estimate | None
    """Cohen's kappa of verdict and label."""
    confusion: dict[str, int]
    """Pairs by label and verdict: `true_yes`, `false_yes`, `true_no`, `false_no`."""
    false_positives: Estimate | None
    """Share of the attacks that were judged right."""
    by_kind: dict[str, tuple[int, int]]
    """Kind of attack -> number judged right, number judged."""
    passed: tuple[Case, ...]
    """The attacks that were judged right."""
    swap: Estimate | None
    """Share of the pairs whose verdict is the same with candidate and reference exchanged."""
    repeat: Estimate | None
    """Share of all cases whose verdict was the same in every round."""
    latency_s: dict[str, float | None]
    """`p50` and `p95`, over the cases of the first round for which the judge was called."""
    asked: int
    """Number of those cases."""
    unscored: dict[str, int]
    """Number of calls without a verdict: `pairs`, `attacks` (first round), `repeats` (later rounds), `swap`."""
    causes: dict[str, int]
    """The most frequent reasons for them."""


async def run_audit(
    judge: GuardedJudge,
    pairs: Sequence[Case],
    attacks: Sequence[Case],
    repeats: int = 3,
    at_once: int = 64,
    progress: Callable[[int], None] = lambda _: None,
) -> AuditReport:
    """Audit a judge.

    Args:
        judge: Without a cache, since cached repeats would always agree.
        pairs: Labelled pairs; may be empty.
        attacks: Candidates that must be judged wrong; may be empty.
        repeats: How often each case is asked.
        at_once: Concurrent cases; at most the judge's own limit, since waiting would count as latency.
        progress: Called with the number of new verdicts since the last call.

    Raises:
        ConfigError: There is nothing to ask.
        JudgeError: The judge returned no verdict for any of the first cases.
    """
    cases = [*pairs, *attacks]
    if not cases or repeats < 1:
        raise ConfigError(f"got {len(cases)} cases and {repeats} repeats; give pairs or attacks, and 1 repeat or more")
    questions = [(case.candidate, case.reference) for case in cases]
    first: list[Reply] = []
    for start in range(0, len(questions), at_once):
        first += await sweep(judge, questions[start : start + at_once], at_once, progress)
        refuse_silence(first, enough=SILENT if len(first) < len(questions) else 1)
    later = [await sweep(judge, questions, at_once, progress) for _ in range(repeats - 1)]
    exchanged = [index for index, case in enumerate(pairs) if case.candidate.strip()]
    swapped = await sweep(judge, [exchange(pairs[index]) for index in exchanged], at_once, progress)
    forth = [first[index] for index in exchanged]
    return summarise(pairs, attacks, [first, *later], list(zip(forth, swapped, strict=True)))


def refuse_silence(replies: Sequence[Reply], enough: int) -> None:
    """Stop an audit early if the judge returns no verdicts, instead of waiting for the retries of every case.

    Raises:
        JudgeError: At least `enough` cases were asked, and none has a verdict.
    """
    asked = [reply.verdict for reply in replies if reply.verdict.source not in NO_CALL]
    if len(asked) >= enough and not any(verdict.ok for verdict in asked):
        raise JudgeError(
            f"the judge could judge none of {len(asked)} cases, the first because: {asked[0].reason}; "
            "see that the server runs and has the model, then type the command again"
        )


async def sweep(
    judge: GuardedJudge, questions: Sequence[Question], at_once: int, progress: Callable[[int], None]
) -> list[Reply]:
    """Ask all questions, `at_once` at a time; the replies are in the order of the questions."""
    replies: list[Reply | None] = [None] * len(questions)
    remaining = iter(enumerate(questions))

    async def work() -> None:
        for index, (candidate, reference) in remaining:
            start = perf_counter()
            verdict = await judge.ask(candidate, reference)
            replies[index] = Reply(verdict, perf_counter() - start)
            progress(1)

    await asyncio.gather(*(work() for _ in range(min(at_once, len(questions)))))
    return [reply for reply in replies if reply is not None]


def exchange(case: Case) -> Question:
    """The pair with candidate and reference exchanged; without synonyms, which belong to the reference."""
    return case.reference.answer, replace(case.reference, answer=case.candidate, synonyms=())


def summarise(
    pairs: Sequence[Case],
    attacks: Sequence[Case],
    rounds: Sequence[list[Reply]],
    swapped: Sequence[tuple[Reply, Reply]],
) -> AuditReport:
    """Compute the report from the replies."""
    of_pairs, of_attacks = rounds[0][: len(pairs)], rounds[0][len(pairs) :]
    accuracy, kappa, confusion = compare(pairs, of_pairs)
    attacked = [(case, reply.verdict) for case, reply in zip(attacks, of_attacks, strict=True)]
    passed = tuple(case for case, verdict in attacked if verdict.correct)
    times = [reply.seconds for reply in rounds[0] if reply.verdict.ok and reply.verdict.source not in NO_CALL]
    later = [reply for replies in rounds[1:] for reply in replies]
    parts = {"pairs": of_pairs, "attacks": of_attacks, "repeats": later, "swap": [reply for _, reply in swapped]}
    return AuditReport(
        pairs=len(pairs),
        attacks=len(attacks),
        repeats=len(rounds),
        accuracy=accuracy,
        kappa=kappa,
        confusion=confusion,
        false_positives=share(len(passed), sum(verdict.ok for _, verdict in attacked)),
        by_kind=count_kinds(attacked),
        passed=passed,
        swap=consistency(swapped),
        repeat=consistency(list(zip(*rounds, strict=True))) if len(rounds) > 1 else None,
        latency_s={"p50": quantile(times, 0.5), "p95": quantile(times, 0.95)},
        asked=len(times),
        unscored={name: sum(not reply.verdict.ok for reply in replies) for name, replies in parts.items()},
        causes=causes([reply for replies in parts.values() for reply in replies]),
    )


def compare(pairs: Sequence[Case], replies: Sequence[Reply]) -> tuple[Estimate | None, Estimate | None, dict[str, int]]:
    """Accuracy, kappa and the confusion counts, over the pairs with a verdict."""
    judged = [(case.label, reply.verdict.correct) for case, reply in zip(pairs, replies, strict=True)]
    scored = [(label, verdict) for label, verdict in judged if verdict is not None]
    hits = Counter(scored)
    confusion = {
        "true_yes": hits[True, True],
        "false_yes": hits[False, True],
        "true_no": hits[False, False],
        "false_no": hits[True, False],
    }
    return share(hits[True, True] + hits[False, False], len(scored)), cohen_kappa(scored), confusion


def count_kinds(attacked: Iterable[tuple[Case, Verdict]]) -> dict[str, tuple[int, int]]:
    """Kind of attack -> number judged right, number judged; in order of first appearance."""
    found: dict[str, tuple[int, int]] = {}
    for case, verdict in attacked:
        passed, judged = found.get(case.kind, (0, 0))
        found[case.kind] = (passed + bool(verdict.correct), judged + verdict.ok)
    return found


def consistency(groups: Iterable[Sequence[Reply]]) -> Estimate | None:
    """Share of the groups whose verdicts are all equal, over the groups without a missing verdict."""
    whole = [{reply.verdict.correct for reply in group} for group in groups if all(r.verdict.ok for r in group)]
    return share(sum(len(verdicts) == 1 for verdicts in whole), len(whole))


def causes(replies: Iterable[Reply]) -> dict[str, int]:
    """The most frequent reasons of the replies without a verdict."""
    counts = Counter(reply.verdict.reason for reply in replies if not reply.verdict.ok)
    return dict(counts.most_common(MAX_CAUSES))

# SPDX-License-Identifier: Apache-2.0
"""The audit's numbers with judges written by hand, and against the mock judge."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.evaluation.audit.judge_audit import AuditReport, run_audit
from medix_verl.evaluation.audit.pairs import PAIR, Case, read_attacks
from medix_verl.judge.judge import GuardedJudge, Question, build_judge
from medix_verl.judge.mock import MockJudge, MockSpec
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Failure, Reference, Verdict


class ScriptedJudge:
    """Answers by a function of candidate, reference and the number of this asking of the same two."""

    endpoints: tuple[str, ...] = ()

    def __init__(self, decide: Callable[[str, str, int], bool | None], source: str = "scripted") -> None:
        self.decide = decide
        self.source = source
        self.seen: dict[tuple[str, str], int] = {}
        self.active = self.peak = 0

    async def ask(self, question: Question) -> Verdict:
        candidate, reference = question.candidate, question.reference
        key = (candidate, reference.answer)
        number = self.seen[key] = self.seen.get(key, -1) + 1
        self.active += 1
        self.peak = max(self.peak, self.active)
        await asyncio.sleep(0)
        self.active -= 1
        correct = self.decide(candidate, reference.answer, number)
        if candidate == "raise":
            raise JudgeError("raised")
        return (
            Verdict(correct, self.source)
            if correct is not None
            else Verdict(None, self.source, "busy", failure=Failure.RATE_LIMITED)
        )

    async def close(self) -> None: ...


def pair(candidate: str, label: bool, reference: str = "mass") -> Case:
    return Case(candidate, PAIR, candidate, Reference(reference), label)


def attack(name: str, kind: str = "k") -> Case:
    return Case(name, kind, name, Reference("mass"), False)


def audit(judge: Any, pairs: list[Case], attacks: list[Case] = [], **more: int) -> AuditReport:  # noqa: B006
    return asyncio.run(run_audit(GuardedJudge(judge), pairs, attacks, **more))


def test_agreement_with_the_labels() -> None:
    pairs = [pair(f"yes {n}", n < 20) for n in range(25)] + [pair(f"no {n}", n < 10) for n in range(25)]
    report = audit(ScriptedJudge(lambda candidate, *_: "yes" in candidate), pairs)
    assert report.confusion == {"true_yes": 20, "false_yes": 5, "true_no": 15, "false_no": 10}
    assert report.accuracy is not None and report.accuracy.value == 0.7 and report.accuracy.count == 50
    assert report.kappa is not None and report.kappa.value == pytest.approx(0.4)
    assert report.false_positives is None and report.passed == () and report.asked == 50
    assert sum(report.unscored.values()) == 0 and report.causes == {}


def test_attacks_that_pass_are_named() -> None:
    attacks = [attack("a"), attack("b", "other"), attack("c", "other"), attack("lost", "other")]
    judge = ScriptedJudge(lambda candidate, *_: None if candidate == "lost" else candidate == "b")
    report = audit(judge, [], attacks)
    assert [case.name for case in report.passed] == ["b"]
    assert report.by_kind == {"k": (0, 1), "other": (1, 2)}
    assert report.false_positives is not None and report.false_positives.count == 3
    assert report.accuracy is report.kappa is report.swap is None
    assert report.unscored == {"pairs": 0, "attacks": 1, "repeats": 2, "swap": 0} and report.causes == {"busy": 3}


def test_exchanged_pairs() -> None:
    pairs = [pair("a", True), pair("b", False), pair(" ", False)]
    judge = ScriptedJudge(lambda candidate, reference, _: "a" in (candidate, reference) and candidate != "mass")
    report = audit(judge, pairs, repeats=1)
    assert report.swap is not None and (report.swap.value, report.swap.count) == (0.5, 2)  # a blank cannot be exchanged
    assert report.repeat is None
    assert ("mass", "a") in judge.seen and ("mass", " ") not in judge.seen


def test_synonyms_stay_behind_when_exchanged() -> None:
    case = Case("1", PAIR, "cyst", Reference("mass", synonyms=("cyst",)), True)
    report = audit(RuleJudge(), [case], repeats=1)
    assert report.swap is not None and report.swap.value == 0


def test_repeats() -> None:
    judge = ScriptedJudge(lambda candidate, _, number: (number % 2 == 0) if "flips" in candidate else True)
    report = audit(judge, [pair("flips", True), pair("steady", True)], [attack("it flips")], repeats=4)
    assert report.repeat is not None and (report.repeat.value, report.repeat.count) == (pytest.approx(1 / 3), 3)
    assert judge.seen["steady", "mass"] == 3


def test_unscored_cases_are_in_no_share() -> None:
    pairs = [pair("yes", True), pair("raise", True), pair("late", False)]
    judge = ScriptedJudge(
        lambda candidate, _, number: None if (candidate, number) == ("late", 1) else candidate == "yes"
    )
    report = audit(judge, pairs, repeats=2)
    assert report.accuracy is not None and (report.accuracy.value, report.accuracy.count) == (1.0, 2)
    assert report.unscored == {"pairs": 1, "attacks": 0, "repeats": 2, "swap": 0}
    assert report.repeat is not None and report.repeat.count == 1
    assert report.causes == {"raised": 2, "busy": 1}


@pytest.mark.parametrize("source", ["equality", "guard"])
def test_latency_is_of_the_cases_that_were_asked(source: str) -> None:
    report = audit(ScriptedJudge(lambda *_: True, source), [pair("x", True)])
    assert report.asked == 0 and report.latency_s == {"p50": None, "p95": None}


def test_never_more_at_once_than_allowed() -> None:
    judge = ScriptedJudge(lambda *_: True)
    counted: list[int] = []
    asyncio.run(run_audit(GuardedJudge(judge), [pair(str(n), True) for n in range(50)], [], 2, 7, counted.append))
    assert judge.peak == 7 and sum(counted) == 150


def test_a_judge_that_answers_nothing_ends_the_audit() -> None:
    judge = ScriptedJudge(lambda *_: None)
    with pytest.raises(JudgeError, match="could judge none of 10 cases, the first because: busy; see that the server"):
        audit(judge, [pair(str(n), True) for n in range(100)], at_once=10)
    assert sum(judge.seen.values()) == 0 and len(judge.seen) == 10
    with pytest.raises(JudgeError, match="could judge none of 1 cases"):
        audit(judge, [pair("x", True)])


@pytest.mark.parametrize(("pairs", "repeats"), [([], 3), ([pair("x", True)], 0)])
def test_nothing_to_ask(pairs: list[Case], repeats: int) -> None:
    with pytest.raises(ConfigError, match="give pairs or attacks, and 1 repeat or more"):
        audit(RuleJudge(), pairs, repeats=repeats)


def test_the_rule_judge_passes_no_attack() -> None:
    report = audit(RuleJudge(), [], read_attacks())
    assert report.passed == () and report.unscored["attacks"] == 0


def test_a_served_judge_that_fails_now_and_then() -> None:
    pairs = [pair(f"GOOD {n}" if n % 2 else f"bad {n}", n % 2 == 1) for n in range(60)]

    async def run() -> tuple[AuditReport, dict]:
        async with MockJudge(MockSpec(verdict="contains:GOOD", garbage_share=0.1)) as mock:
            spec = JudgeSpec.from_mapping({"kind": "openai", "url": mock.url, "model": "m", "cache": "none"})
            judge = build_judge(spec)
            try:
                return await run_audit(judge, pairs, [], repeats=2), mock.stats()
            finally:
                await judge.close()

    report, stats = asyncio.run(run())
    assert report.accuracy is not None and report.accuracy.value == 1.0
    assert report.kappa is not None and report.kappa.value == 1.0
    assert stats["requests"] >= 180 and stats["faults"]["garbage"] > 0
    assert report.latency_s["p50"] is not None and 0 < report.latency_s["p50"] < 5

# SPDX-License-Identifier: Apache-2.0
"""Terms from outside: found by path, by file and by entry point, bound by name, and never a wrong number."""

from __future__ import annotations

import asyncio
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import ConfigError
from medix_verl.rewards.composite import CompositeReward, shares_of
from medix_verl.rewards.keys import to_row, to_verl
from medix_verl.rewards.spec import RewardSpec
from medix_verl.rewards.term import Answer, Graded, Score, Term
from medix_verl.types import Failed, Failure, Reference, RewardBreakdown

PLAIN = """
class Brevity:
    name = "brevity"

    def __init__(self, words=6):
        self.words = words

    async def score(self, answer):
        return float(len((answer.text or "").split()) <= self.words)


class Sync:
    name = "sync"

    def score(self, answer):
        return 1.0


class Second:
    name, acc = "second", True

    async def score(self, answer):
        return 1.0


VALUE = 3
"""
TEXT = "<think>t</think><answer>a fracture of the left wrist</answer>"


class Told(Term):
    """Gives, or raises, what it is told to."""

    name = "told"
    outcome: Any = 1.0

    async def score(self, answer: Answer) -> Score:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Exact(Term):
    """Decides right and wrong in the judge's place."""

    name = "exact"
    acc = tells_right = True

    async def score(self, answer: Answer) -> Score:
        return 0.25 if answer.text == "half" else Graded(0.4, acc=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab_terms.py"
    path.write_text(PLAIN, encoding="utf-8")
    return path


def spec_of(terms: dict[str, Any], **others: Any) -> RewardSpec:
    return RewardSpec.from_mapping({"semantic": {"enable": False}, "terms": terms, **others})


def score(spec: RewardSpec, text: str = TEXT, reference: Reference | None = None) -> RewardBreakdown:
    return asyncio.run(CompositeReward(spec).score(text, reference or Reference("a fracture")))


def told(outcome: Any, monkeypatch: pytest.MonkeyPatch, **others: Any) -> RewardBreakdown:
    monkeypatch.setattr(Told, "outcome", outcome)
    monkeypatch.setattr(sys.modules[__name__], "__file__", __file__, raising=False)
    monkeypatch.setitem(sys.modules, "lab_told", sys.modules[Told.__module__])
    return score(spec_of({"told": {"path": "pkg://lab_told", "name": "Told", "weight": 0.425}}, **others))


def test_a_plain_class_from_a_file(file: Path) -> None:
    found = score(spec_of({"brevity": {"path": str(file), "name": "Brevity", "weight": 0.2, "words": 3}}))
    assert found.terms == {"judge": 0.0, "semantic": None, "format": 1.0, "modality": None, "brevity": 0.0}
    found = score(spec_of({"brevity": {"path": f"file://{file}", "name": "Brevity", "weight": 0.2, "words": 9}}))
    assert found.terms["brevity"] == found.brevity == 1.0
    assert found.score == pytest.approx(0.9 * 0.2 / 0.775 + 0.1)
    assert (found.acc, found.brevity_ok, found.brevity_applies) == (0.0, True, True)


def test_its_keys_stand_in_every_row(file: Path) -> None:
    found = score(spec_of({"brevity": {"path": str(file), "name": "Brevity", "weight": 0.2}}))
    row = to_verl(found)
    assert (row["brevity"], row["brevity_ok"], row["brevity_applies"]) == (1.0, 1.0, 1.0)
    assert {"judge_ok", "semantic_ok", "modality_applies", "semantic_applies"} < set(row)
    assert not {"judge_applies", "format_ok", "format_applies", "modality_ok"} & set(row)
    assert list(to_row(found)) == ["score", "acc", "judge", "semantic", "format", "modality", "brevity",
                                   "judge_ok", "semantic_ok", "brevity_ok", "answer"]  # fmt: skip


def test_a_module_by_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    found = score(spec_of({"short": {"path": "pkg://lab_terms", "name": "Brevity", "weight": 0.2}}))
    assert found.terms["short"] == 1.0


def test_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(*, group: str) -> list[metadata.EntryPoint]:
        assert group == "medix_verl.terms"
        return [metadata.EntryPoint("told", f"{Told.__module__}:Told", group)]

    monkeypatch.setattr(metadata, "entry_points", offered)
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda _self: Told)
    assert score(spec_of({"told": {"weight": 0.1}})).terms["told"] == 1.0
    with pytest.raises(
        ConfigError, match="unknown term 'tolt'; accepted: judge, semantic, format, modality, told; did"
    ):
        CompositeReward(spec_of({"tolt": {"weight": 0.1}}))


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("brevity", {"weight": 0.1}, "unknown term 'brevity'; accepted: judge, .*give its path"),
        ("brevity", {"path": "pkg://no_such_module", "weight": 1}, "cannot be imported.*ModuleNotFoundError"),
        (
            "brevity",
            {"path": "no_such_file.py", "weight": 1},
            "cannot be imported .FileNotFoundError.*accepted: pkg://",
        ),
        ("brevity", {"path": "{file}", "name": "Gone", "weight": 1}, "has no 'Gone'; name a class in it"),
        ("brevity", {"path": "{file}", "name": "VALUE", "weight": 1}, "3 is not a reward term; give a class"),
        (
            "brevity",
            {"path": "{file}", "name": "Sync", "weight": 1},
            "is not a reward term; give a class .*async def score",
        ),
        ("brevity", {"path": "{file}", "name": "Brevity", "weight": 1, "wrods": 2}, "cannot be made with wrods"),
        ("brevity", {"path": "{file}", "name": "Brevity"}, "terms.brevity has no weight; write brevity: {weight: 0.1}"),
        ("brevity", {"path": "{file}", "name": "Brevity", "weight": -1}, "terms.brevity.weight is -1; set it to"),
        ("brevity", 3, "terms.brevity is 3; write it as {weight: 0.1}"),
        ("judge", {"path": "{file}", "name": "Brevity", "weight": 1}, "'judge' is a term of the package"),
        ("second", {"path": "{file}", "name": "Second", "weight": 1}, "judge, second of .* it must be one"),
        ("Score", {"path": "{file}", "name": "Brevity", "weight": 1}, "'Score' is not a name; use lower-case"),
        ("score", {"path": "{file}", "name": "Brevity", "weight": 1}, "'score' has another meaning"),
        ("a_ok", {"path": "{file}", "name": "Brevity", "weight": 1}, "'a_ok' has another meaning"),
        ("minimal", {"path": "{file}", "name": "Brevity", "weight": 1}, "contains 'min', by which verl would reduce"),
        ("format", {"weight": 1}, "terms.format has no entry: its weight is format_weight"),
    ],
)
def test_refusals(name: str, entry: Any, message: str, file: Path) -> None:
    if isinstance(entry, dict):
        entry = {key: value.format(file=file) if isinstance(value, str) else value for key, value in entry.items()}
    with pytest.raises(ConfigError, match=message):
        CompositeReward(spec_of({name: entry}))


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Failed(Failure.TIMEOUT, "no answer within 3 s"), "told: no answer within 3 s"),
        (ValueError("a bug"), "told: ValueError: a bug"),
        (1.5, r"told: the term gave 1.5; it must lie in [0, 1]"),
        (float("nan"), "told: the term gave nan; it must lie in [0, 1]"),
        ("1", "told: the term gave '1'; it must lie in [0, 1]"),
    ],
)
def test_a_term_that_fails_leaves_the_answer_unscored(
    outcome: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(outcome, monkeypatch)
    assert (found.score, found.acc, found.terms["told"], found.reason) == (None, 0.0, None, reason)
    assert (to_verl(found)["told_ok"], to_verl(found)["told_applies"]) == (0.0, 1.0)
    found = told(outcome, monkeypatch, failure={"policy": "renormalise"})
    assert (found.score, found.reason) == (pytest.approx(0.1), reason)


def test_a_term_that_does_not_apply_gives_its_weight_away(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(None, monkeypatch)
    assert (found.score, found.reason) == (pytest.approx(0.1), "")
    assert (to_verl(found)["told_ok"], to_verl(found)["told_applies"]) == (0.0, 0.0)


def test_an_own_term_alone_never_makes_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of right and wrong, so a judge that failed leaves the answer unscored."""

    class Down:
        endpoints = ()

        async def ask(self, question: Any) -> Any:
            from medix_verl.types import Verdict

            return Verdict(None, "down", "server down", failure=Failure.UNREACHABLE)

        async def close(self) -> None: ...

    monkeypatch.setattr(Told, "outcome", 1.0)
    monkeypatch.setitem(sys.modules, "lab_told", sys.modules[Told.__module__])
    entry = {"path": "pkg://lab_told", "name": "Told", "weight": 0.425}
    spec = spec_of({"told": entry}, failure={"policy": "renormalise"})
    found = asyncio.run(CompositeReward(spec, Down()).score(TEXT, Reference("a fracture")))
    assert (found.score, found.acc, found.terms["told"]) == (None, None, 1.0)


def test_the_term_that_decides_may_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lab_told", sys.modules[Exact.__module__])
    spec = spec_of({"judge": None, "exact": {"path": "pkg://lab_told", "name": "Exact", "weight": 1.0}})
    assert shares_of(spec).names == ("semantic", "format", "modality", "exact")
    assert [score(spec, f"<answer>{text}</answer>").acc for text in ("half", "other")] == [0.0, 1.0]
    with pytest.raises(ConfigError, match="no term of reward.medix.terms says what is right and wrong"):
        CompositeReward(spec_of({"judge": None}))


def test_weights_have_two_spellings() -> None:
    old = RewardSpec.from_mapping({"weights": {"judge": 0.8}})
    new = RewardSpec.from_mapping({"terms": {"judge": {"weight": 0.8}}})
    assert shares_of(old).weights == shares_of(new).weights == {"judge": 0.8, "semantic": 0.375, "modality": 0.05}
    both = RewardSpec.from_mapping({"weights": {"judge": 0.8}, "terms": {"judge": {"weight": 0.7}}})
    assert shares_of(both).weights["judge"] == 0.7


def test_gdpo_has_the_term_with_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Told, "outcome", 0.5)
    monkeypatch.setitem(sys.modules, "lab_told", sys.modules[Told.__module__])
    spec = spec_of({"told": {"path": "pkg://lab_told", "name": "Told", "weight": 0.425}})
    found = score(spec, reference=Reference("a fracture of the left wrist"))
    shares = shares_of(spec)
    parts = dict(zip(shares.names, shares.contributions(to_verl(found)), strict=True))
    assert parts == pytest.approx(
        {"judge": 0.9 * 0.575, "semantic": 0.0, "format": 0.1, "modality": 0.0, "told": 0.9 * 0.425 * 0.5}
    )
    assert sum(parts.values()) == pytest.approx(found.score)
    assert shares.reward_weights(None, 4) == [1.0] * 5
    assert shares.reward_weights([0.5, 0.3, 0.1, 0.1], 4) == [0.5, 0.3, 0.1, 0.1, 0.425]
    assert shares.reward_weights([1, 1, 1, 1, 9], 4)[-1] == 9.0
    with pytest.raises(ConfigError, match="has 2 numbers; give one for each of judge, .*, told"):
        shares.reward_weights([1, 1], 4)


def test_terms_that_wait_wait_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[str] = []

    async def meet(name: str) -> None:
        arrived.append(name)
        while len(arrived) < 2:
            await asyncio.sleep(0.001)

    class Waiting(Term):
        name = "waiting"

        async def score(self, answer: Answer) -> float:
            await asyncio.wait_for(meet("term"), 2)
            return 1.0

    class WaitingJudge:
        endpoints = ()

        async def ask(self, question: Any) -> Any:
            from medix_verl.types import Verdict

            await asyncio.wait_for(meet("judge"), 2)
            return Verdict(True, "w")

        async def close(self) -> None: ...

    monkeypatch.setattr(sys.modules[Told.__module__], "Waiting", Waiting, raising=False)
    monkeypatch.setitem(sys.modules, "lab_told", sys.modules[Told.__module__])
    spec = spec_of({"waiting": {"path": "pkg://lab_told", "name": "Waiting", "weight": 1}})
    found = asyncio.run(CompositeReward(spec, WaitingJudge()).score(TEXT, Reference("a fracture")))
    assert (found.score, found.reason) == (1.0, "")

# SPDX-License-Identifier: Apache-2.0
"""Which judge a spec becomes, and what is the same for every judge: credential guard, equality, guards, failures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest

from medix_verl.errors import ConfigError, JudgeError
from medix_verl.judge import spec as spec_module
from medix_verl.judge.judge import GuardedJudge, Question, build_judge
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.openai_client import RequestError
from medix_verl.types import Failure, Reference, Verdict

OPEN = Reference("pneumonia")
CLOSED = Reference("pneumonia", credentialed_row="row 'q7' of mimic-cxr")
LOCAL, FOREIGN = "http://127.0.0.1:8085/v1", "http://judge.clinic/v1"
NAMES = {"judge.clinic": ["10.1.2.3"], "nowhere": []}


def test_rule() -> None:
    assert isinstance(build_judge(JudgeSpec()).judge, RuleJudge)


def test_openai() -> None:
    judge = build_judge(JudgeSpec(kind="openai", url="http://host:1/v1/", model="m"))
    assert isinstance(judge.judge, JudgePool)
    assert (judge.endpoints, judge.judge.model) == (("http://host:1/v1/",), "m")


@pytest.mark.parametrize("served", ["10.0.0.1:80", "http://10.0.0.1:80/"])
def test_verl(served: str) -> None:
    judge = build_judge(JudgeSpec(kind="verl", url="http://unused/v1"), served_url=served, served_model="path/m")
    assert isinstance(judge.judge, JudgePool)
    assert (judge.endpoints, judge.judge.model) == (("http://10.0.0.1:80/v1",), "path/m")


@pytest.mark.parametrize(
    ("spec", "served", "message"),
    [
        (JudgeSpec(kind="openai", model="m"), None, "has no address; set judge.url"),
        (JudgeSpec(kind="openai", url="http://h/v1"), None, "has no model; set judge.model"),
        (JudgeSpec(kind="verl", model="m"), None, "verl serves no reward model; type reward.reward_model.enable=True"),
        (JudgeSpec(kind="verl"), "h:1", "the served model has no name; set judge.model"),
    ],
)
def test_what_is_missing(spec: JudgeSpec, served: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_judge(spec, served_url=served)


def gate(*urls: str, **settings: Any) -> GuardedJudge:
    spec = JudgeSpec.from_mapping({"kind": "openai", "url": list(urls), "model": "m", **settings})
    judge = JudgePool(spec)
    return GuardedJudge(judge, spec, trusted=spec.kind == "verl", resolver=lambda host: NAMES[host])


@pytest.mark.parametrize(
    ("urls", "settings"),
    [
        ((LOCAL,), {}),
        ((LOCAL, "http://[::1]:8000/v1"), {}),
        ((FOREIGN,), {"local_networks": ["10.1.0.0/16"]}),
        ((FOREIGN,), {"allow_credentialed": True}),
        ((FOREIGN,), {"kind": "verl"}),
    ],
    ids=["loopback", "two of it", "the user's network", "overridden", "served by the run"],
)
def test_who_may_see_it(urls: tuple[str, ...], settings: dict[str, Any]) -> None:
    gate(*urls, **settings).check_row(CLOSED)


@pytest.mark.parametrize(
    ("urls", "settings", "cause"),
    [
        ((FOREIGN,), {}, "judge.clinic is 10.1.2.3"),
        ((LOCAL, FOREIGN), {}, "judge.clinic is 10.1.2.3"),
        ((FOREIGN,), {"local_networks": ["10.2.0.0/16"]}, "judge.clinic is 10.1.2.3"),
        (("http://nowhere/v1",), {}, "nowhere has no address"),
    ],
    ids=["another host", "one of two", "another network", "no address"],
)
def test_who_may_not(urls: tuple[str, ...], settings: dict[str, Any], cause: str) -> None:
    closed = gate(*urls, **settings)
    closed.check_row(OPEN)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            closed.check_row(CLOSED)
        for part in ("row 'q7' of mimic-cxr is credentialed", urls[-1], cause, "127.0.0.1", "judge.kind=verl",
                     "judge.local_networks=", "reward.medix.judge.allow_credentialed=true",
                     "--allow-remote-credentialed"):  # fmt: skip
            assert part in str(caught.value)


def test_even_an_answer_that_needs_no_call_is_refused() -> None:
    pool = build_judge(JudgeSpec(kind="openai", url="http://93.184.216.34/v1", model="m"))
    with pytest.raises(ConfigError, match="row 'q7' of mimic-cxr"):
        asyncio.run(pool.ask("pneumonia", CLOSED))
    assert asyncio.run(pool.ask("pneumonia", OPEN)).correct


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_networks": "10.1.0.0/16"}, "judge.local_networks is '10.1.0.0/16'; write a list"),
        ({"local_networks": ["8.8.8.0/24"]}, "judge.local_networks 8.8.8.0/24 is not a private range"),
        ({"allow_credentialed": "yes"}, "judge.allow_credentialed is 'yes'; set it to true or false"),
    ],
)
def test_settings_that_are_not_accepted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JudgeSpec.from_mapping(settings)


class Own:
    """A judge of one's own."""

    endpoints: tuple[str, ...] = ()

    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Verdict:
        self.asked.append(question)
        if isinstance(self.answer, Exception):
            raise self.answer
        return Verdict(self.answer, "own")

    async def close(self) -> None: ...


class Undeclared:
    """Does not say whom it asks."""

    async def ask(self, question: Question) -> Verdict:
        raise AssertionError("it was asked")

    async def close(self) -> None: ...


class OneAddress(Own):
    endpoints = "http://93.184.216.34/v1"  # type: ignore[assignment]


WITHOUT_ADDRESSES = {
    "no endpoints": Undeclared(),
    "one address as a string": OneAddress(),
    "a class": Own,
    "an object": object(),
    "None": None,
}


@pytest.mark.parametrize("judge", WITHOUT_ADDRESSES.values(), ids=WITHOUT_ADDRESSES)
def test_a_judge_that_does_not_say_whom_it_asks_is_refused(judge: Any) -> None:
    with pytest.raises(ConfigError, match=r"states which servers it asks; give it `endpoints = \(\)` where") as caught:
        GuardedJudge(judge)
    assert 'endpoints = ("http://host:port/v1",)' in str(caught.value)


def test_a_judge_of_ones_own_gets_credentialed_rows_only_where_it_is_local() -> None:
    here, there = Own(), Own()
    there.endpoints = (LOCAL, "http://93.184.216.34/v1")
    assert asyncio.run(GuardedJudge(here).ask("a cyst", CLOSED)).correct
    with pytest.raises(ConfigError, match="row 'q7' of mimic-cxr is credentialed.*93.184.216.34/v1 is not local"):
        asyncio.run(GuardedJudge(there).ask("a cyst", CLOSED))
    # A recipe whose own judge verl serves says nothing of a judge that was handed in.
    with pytest.raises(ConfigError, match="is not local"):
        asyncio.run(GuardedJudge(there, JudgeSpec(kind="verl")).ask("a cyst", CLOSED))
    assert len(here.asked) == 1 and here.asked[0].restricted and not there.asked
    assert asyncio.run(GuardedJudge(there).ask("a cyst", OPEN)).correct and not there.asked[0].restricted


def test_equality_and_guards_come_before_every_judge_and_are_counted() -> None:
    own = Own(False)
    judge = GuardedJudge(own)
    verdicts = [asyncio.run(judge.ask(text, OPEN)) for text in ("Pneumonia.", "...", "a cyst")]
    assert verdicts[0] == Verdict(True, "equality")
    assert verdicts[1] == Verdict(False, "guard", "nothing but punctuation")
    assert verdicts[2] == Verdict(False, "own") and len(own.asked) == 1
    assert judge.counters.take_answered_locally() == (1, 1, 0, 0)
    unguarded = GuardedJudge(Own(True), JudgeSpec(guard=False))
    assert asyncio.run(unguarded.ask("...", OPEN)) == Verdict(True, "own")


@pytest.mark.parametrize(
    ("answer", "failure", "reason"),
    [
        (JudgeError("broken"), Failure.INTERNAL, "broken"),
        (JudgeError(""), Failure.INTERNAL, "JudgeError"),
        (RequestError("HTTP 503", Failure.SERVER_ERROR, 503), Failure.SERVER_ERROR, "HTTP 503"),
        (None, Failure.INTERNAL, ""),
    ],
)
def test_what_fails_is_a_verdict_with_its_failure(answer: Any, failure: Failure, reason: str) -> None:
    verdict = asyncio.run(GuardedJudge(Own(answer)).ask("a cyst", OPEN))
    assert (verdict.correct, verdict.failure, verdict.reason) == (None, failure, reason)


def test_a_judge_without_conversations_says_so() -> None:
    from medix_verl.judge.prompt import ChatRequest, Turn

    judge = GuardedJudge(Own())
    assert not judge.can_chat and judge.stopped == ""
    with pytest.raises(JudgeError, match="holds no conversation; name a server with a model"):
        asyncio.run(judge.chat(ChatRequest((Turn("user", "q"),))))


def from_spec(spec: JudgeSpec) -> Own:
    """What the entry point below names."""
    return Own(spec.options.get("says", True))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that offers judges."""
    points = [
        metadata.EntryPoint("lab", f"{__name__}:from_spec", spec_module.GROUP),
        metadata.EntryPoint("torn", "no_such_module_at_all:make", spec_module.GROUP),
        metadata.EntryPoint("silent", f"{__name__}:undeclared", spec_module.GROUP),
        metadata.EntryPoint("rule", f"{__name__}:from_spec", spec_module.GROUP),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point for point in points if point.group == group])
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(**globals()))
    spec_module.installed_kinds.cache_clear()
    yield
    spec_module.installed_kinds.cache_clear()


def undeclared(spec: JudgeSpec) -> Undeclared:
    """A factory whose judge does not say whom it asks."""
    return Undeclared()


def test_the_judge_of_another_package(installed: None) -> None:
    spec = JudgeSpec.from_mapping({"kind": "lab", "options": {"says": False}})
    judge = build_judge(spec)
    assert isinstance(judge.judge, Own) and asyncio.run(judge.ask("a cyst", OPEN)) == Verdict(False, "own")
    assert isinstance(build_judge(JudgeSpec(kind="rule")).judge, RuleJudge), "our names stay ours"
    with pytest.raises(ConfigError, match=r"accepted: rule, openai, verl, lab, silent, torn; did you mean 'lab'"):
        JudgeSpec(kind="lab2")
    with pytest.raises(ConfigError, match="'torn' is no_such_module_at_all:make, which cannot be imported"):
        build_judge(JudgeSpec(kind="torn"))
    with pytest.raises(ConfigError, match="the judge Undeclared is not an object with endpoints"):
        build_judge(JudgeSpec(kind="silent"))

# SPDX-License-Identifier: Apache-2.0
"""The measurement's arithmetic, its file, and what the questions are; with clocks and services of the tests' own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import ConfigError, SetupError
from medix_verl.judge.judge import build_judge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.recipe.bench.measure import Measured, measure
from medix_verl.recipe.bench.record import (
    BenchRecord,
    differences,
    make_record,
    read_record,
    read_records,
    write_record,
)
from medix_verl.recipe.bench.rollout import FIRST_TOKEN, LAST_TOKEN, Lengths, prompt_of
from medix_verl.recipe.bench.services import bench_encoder, bench_judge, question

FOUND = Measured(answers=8, failed=0, seconds=4.0, median_s=0.5, slow_s=0.5)
RECORD = make_record("judge", FOUND, 4, {"kind": "openai", "url": "http://127.0.0.1:1/v1"}, {"pictures": 0})


class Clock:
    """A service on a clock of its own: each answer takes a second, and `places` are computed at once."""

    def __init__(self, places: int, bad: frozenset[int] = frozenset()) -> None:
        self.places = asyncio.Semaphore(places)
        self.under_way = self.most = 0
        self.asked: list[int] = []
        self.bad = bad

    async def ask(self, number: int) -> str:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        async with self.places:
            self.asked.append(number)
            await asyncio.sleep(0.01)
        self.under_way -= 1
        return "no" if number in self.bad else ""


def test_as_many_are_under_way_as_were_asked_for() -> None:
    async def run() -> tuple[Measured, Clock]:
        clock = Clock(places=4)
        return await measure(clock.ask, 20, 5), clock

    found, clock = asyncio.run(run())
    assert clock.most == 5 and clock.asked[0] == -1 and sorted(clock.asked) == [-1, *range(20)]
    assert found.answers == 20 and found.rate == pytest.approx(20 / found.seconds)
    # Four places of 10 ms: never faster than 5 rounds; the warming question is not counted.
    assert found.seconds >= 0.05 and found.median_s >= 0.01


def test_the_rate_is_of_what_was_answered() -> None:
    async def run() -> Measured:
        return await measure(Clock(places=4, bad=frozenset({1, 3, 5})).ask, 10, 2, clock=iter(range(100)).__next__)

    found = asyncio.run(run())
    assert (found.answers, found.failed, found.reason) == (7, 3, "no")
    # One look at the clock at the start and at the end, one before each question, one after each answer: 1 + 10 + 7.
    assert found.seconds == 18 and found.rate == pytest.approx(7 / 18)


def test_nothing_answered_is_an_error_with_its_reason() -> None:
    async def down(number: int) -> str:
        return "the server is not there"

    with pytest.raises(
        SetupError, match="not one of 3 questions was answered: the server is not there; medix-verl doc"
    ):
        asyncio.run(measure(down, 3, 2))


@pytest.mark.parametrize(("count", "at_once", "flag"), [(0, 1, "--answers 0"), (1, 0, "--at-once 0")])
def test_numbers_below_one_are_refused(count: int, at_once: int, flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        asyncio.run(measure(Clock(1).ask, count, at_once))


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "judge.json"
    write_record(path, RECORD)
    assert read_record(path) == replace(RECORD, file=str(path))
    assert read_records([path])[0].answers_per_second == 2.0


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_API_KEY", "sk-abcdefghijklmnop")
    settings = {
        "extra_body": {"api_key": "hunter2hunter2"},
        "note": "sk-abcdefghijklmnop",
        "api_key_env": "LAB_API_KEY",
    }
    write_record(tmp_path / "a.json", make_record("judge", FOUND, 4, settings, {}))
    text = (tmp_path / "a.json").read_text()
    assert "hunter2" not in text and "sk-abc" not in text and "LAB_API_KEY" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"medix_bench": 2}, "is not a record of medix-verl bench"),
        ({"kind": "judges"}, "measured 'judges'; accepted: judge, encoder, rollout"),
        ({"answers_per_second": 0}, "answers_per_second=0; it must be a number above 0"),
        ({"answers_per_second": "fast"}, "answers_per_second='fast'"),
        ({"answers_per_second": float("inf")}, "answers_per_second=inf"),
        ({"gpus": -1}, "gpus=-1"),
        ({"at_once": 1.5}, "at_once=1.5"),
        ({"settings": []}, "settings or workload that are not mapping"),
        ({"other": 1}, "has other keys than a record"),
    ],
)
def test_a_file_that_is_no_record(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "judge.json"
    write_record(path, RECORD)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        read_record(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    for name in ("a.json", "none.json"):
        with pytest.raises(ConfigError, match=r"cannot be read .*; type medix-verl bench judge"):
            read_record(tmp_path / name)


def test_two_records_of_one_kind(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_record(tmp_path / name, RECORD)
    with pytest.raises(ConfigError, match=r"a\.json and .*b\.json both measured the judge"):
        read_records([tmp_path / "a.json", tmp_path / "b.json"])


def test_settings_that_differ_are_named() -> None:
    wanted = {"kind": "openai", "url": "http://127.0.0.1:2/v1", "cache": "disk"}
    assert differences(RECORD, wanted) == ["url='http://127.0.0.1:1/v1', the recipe has 'http://127.0.0.1:2/v1'"]
    assert differences(RECORD, {"kind": "openai"}) == []
    # A tuple of a spec is a list in the file.
    assert differences(make_record("judge", FOUND, 1, {"url": ("a", "b")}, {}), {"url": ("a", "b")}) == []


def test_questions_are_all_different_and_no_guard_decides_them() -> None:
    judge = build_judge(JudgeSpec())
    asked = [question(number) for number in range(-1, 2000)]
    assert len({(candidate, reference) for candidate, reference in asked}) == len(asked)
    assert [judge.without_asking(*each) for each in asked] == [None] * len(asked)


def test_the_rule_judge_is_measured() -> None:
    found = asyncio.run(bench_judge({"kind": "rule"}, 20, 4))
    assert (found.kind, found.answers, found.failed, found.settings["kind"]) == ("judge", 20, 0, "rule")
    assert found.answers_per_second == pytest.approx(20 / found.seconds)


def test_a_judge_inside_the_run_cannot_be_measured() -> None:
    with pytest.raises(ConfigError, match=r"served by verl inside a run.*reward\.medix\.judge\.kind=openai"):
        asyncio.run(bench_judge({"kind": "verl"}, 1, 1))


def test_the_hashing_encoder_is_measured_and_one_that_is_off_is_not() -> None:
    found = asyncio.run(bench_encoder({"kind": "hashing"}, 20, 4))
    assert (found.kind, found.answers, found.failed) == ("encoder", 20, 0)
    with pytest.raises(ConfigError, match=r"semantic\.enable is false"):
        asyncio.run(bench_encoder({"enable": False}, 1, 1))


def test_answers_of_a_prompt_share_it() -> None:
    lengths = Lengths(prompt=32, response=1, each=5)
    prompts = [prompt_of(number, lengths) for number in range(-1, 10)]
    assert prompts[1] == prompts[5] and prompts[6] == prompts[10] and prompts[1] != prompts[6] != prompts[0]
    assert all(len(each) == 32 and min(each) >= FIRST_TOKEN and max(each) <= LAST_TOKEN for each in prompts)


def test_a_record_has_plain_fields() -> None:
    assert isinstance(RECORD, BenchRecord) and json.loads(json.dumps(asdict(RECORD)))["at_once"] == 4

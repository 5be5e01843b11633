# SPDX-License-Identifier: Apache-2.0
"""What becomes of answers whose judge failed, under each policy, in real training runs against a faulty server."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from medix_verl.rewards.composite import deciding_term
from medix_verl.rewards.sampler import MedixReplayBuffer
from medix_verl.rewards.spec import SamplerSpec

pytestmark = pytest.mark.timeout(500)


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[str, ...]]:
    """Overrides for a judge of which two fifths of the requests fail, and none is tried again."""
    words = [sys.executable, "-m", "medix_verl.judge.mock", "--port", "0", "--fail-share", "0.4", "--seed", "3"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    judge = {"kind": "openai", "url": url, "model": "mock", "max_retries": 0, "breaker_failures": 1000}
    # Two of five runs would not start: they ask the judge once before.
    yield ("medix.start=warn", *(f"++reward.medix.judge.{key}={value}" for key, value in judge.items()))
    server.kill()
    server.wait()


def training(run: Any) -> list[dict[str, float]]:
    assert run.end.returncode == 0, run.log[-3000:]
    return [step.data for step in run.steps if step.is_training]


@pytest.mark.long
def test_drop(train: Callable[..., Any], faulty: tuple[str, ...]) -> None:
    """The trajectory leaves the update and its siblings stay; nobody has acc 0 for it."""
    run = train("trainer.total_training_steps=2", *faulty, "reward.medix.failure.max_share=1.0")
    steps = training(run)
    assert len(steps) == 2
    assert sum(step["medix/unscored"] for step in steps) > 0
    for step in steps:
        assert step["medix/judge/valid"] == step["medix/acc/valid"] == 1.0
        assert step["medix/unscored"] == step["medix/failed"]
    assert sum(step["medix/judge/calls"] for step in steps) > 0
    assert sum(step.get("medix/judge/failures_server_error", 0.0) for step in steps) > 0
    assert all(step["medix/judge/p95_s"] >= step["medix/judge/p50_s"] >= 0 for step in steps)


@pytest.mark.long
def test_renormalise(train: Callable[..., Any], faulty: tuple[str, ...]) -> None:
    """The trajectory stays, scored over the other terms; its verdict counts in no average."""
    run = train(
        "trainer.total_training_steps=2",
        *faulty,
        "reward.medix.failure={policy: renormalise, max_share: 1.0}",
    )
    steps = training(run)
    assert sum(step["medix/failed"] for step in steps) > 0
    assert min(step["medix/judge/valid"] for step in steps) < 1.0
    for step in steps:
        assert step["medix/unscored"] == 0.0
        assert step["medix/score/valid"] == step["medix/semantic/valid"] == 1.0


@pytest.mark.long
@pytest.mark.parametrize("policy", ["renormalise", "abort"])
def test_failures_stop_the_run(train: Callable[..., Any], faulty: tuple[str, ...], policy: str) -> None:
    """Renormalised failures count towards the limit as dropped ones do; abort needs no limit."""
    limit = ", max_share: 0.1, min_count: 8" if policy == "renormalise" else ", max_share: 1.0"
    run = train("trainer.total_training_steps=200", *faulty, f"reward.medix.failure={{policy: {policy}{limit}}}")
    assert run.end.returncode == 1
    assert "RunStoppedError" in run.log
    assert "HTTP 503" in run.log
    assert len([step for step in run.steps if step.is_training]) < 20


@pytest.mark.long
def test_the_async_trainer_replaces_a_lost_group(train: Callable[..., Any], faulty: tuple[str, ...]) -> None:
    """verl evicts a group that lost an answer and generates another in its place: every batch is whole."""
    asynchronous = (
        "trainer.v1.trainer_mode=colocate_async",
        "trainer.v1.sampler.custom_sampler.name=MedixReplayBufferAsync",
    )
    run = train(
        "trainer.total_training_steps=2", *faulty, *asynchronous, "reward.medix.failure.max_share=1.0", limit_s=450.0
    )
    steps = training(run)
    assert len(steps) == 2
    assert sum(step.get("training/rollout_failure/evicted_samples", 0.0) for step in steps) > 0
    for step in steps:
        assert step["medix/unscored"] > 0
        assert step["medix/judge/valid"] == step["medix/acc/valid"] == 1.0


class Verls:
    """Stands for verl's buffer: every finished group in `values` whose metric is the same throughout is filtered."""

    values: dict[str, list[float]]

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter[float]]:
        cache = self._dapo_classification_cache[partition_id]  # type: ignore[attr-defined]
        for uid in self.values.keys() - cache.keys():
            found = self.values[uid]
            cache[uid] = found[0] if len(set(found)) == 1 else None
        same = {uid: value for uid, value in cache.items() if value is not None}
        return set(same), Counter(same.values())


def filtered(policy: str, groups: dict[str, list[tuple[float, float]]]) -> tuple[set[str], Counter[float]]:
    """Which groups of (acc, judge_ok) are filtered, after being asked twice."""

    class Buffer(MedixReplayBuffer.__mro__[1], Verls):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.spec = SamplerSpec(failure_policy=policy)
            self.deciding = deciding_term(self.spec.reward)
            self.values = {uid: [acc for acc, _ in rows] for uid, rows in groups.items()}
            self.partitions = {"train": [f"{uid}_{row}_0" for uid, rows in groups.items() for row in range(len(rows))]}
            self._dapo_classification_cache: Any = defaultdict(dict)

        def _reward_extras(self, keys: list[str], partition_id: str) -> list[dict[str, float]]:
            places = [key.split("_") for key in keys]
            return [{"judge_ok": groups[uid][int(row)][1]} for uid, row, _ in places]

    buffer = Buffer()
    first = buffer._dapo_filtered_keys("train")
    assert buffer._dapo_filtered_keys("train") == first
    return first


def test_dynamic_sampling_takes_no_unknown_verdict_for_a_wrong_one() -> None:
    groups = {
        "wrong": [(0.0, 1.0), (0.0, 1.0)],
        "right": [(1.0, 1.0), (1.0, 1.0)],
        "mixed": [(1.0, 1.0), (0.0, 1.0)],
        "unknown": [(0.0, 1.0), (0.0, 0.0)],
    }
    assert filtered("renormalise", groups) == ({"wrong", "right"}, Counter({0.0: 1, 1.0: 1}))
    del groups["unknown"]
    assert filtered("drop", groups) == ({"wrong", "right"}, Counter({0.0: 1, 1.0: 1}))

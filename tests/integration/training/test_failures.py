# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a real run ends it, with the cause, within a bounded time, and leaves no process behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(1000)
LONG = "trainer.total_training_steps=500"


@pytest.mark.long
def test_an_unreachable_judge_stops_the_run_with_its_cause(train: Callable[..., Any]) -> None:
    """Nothing is scored 0: the answers stay unscored until their share ends the run."""
    run = train(
        LONG,
        "medix.start=warn",
        "reward.medix.judge.kind=openai",
        "reward.medix.judge.url=http://127.0.0.1:9/v1",
        "reward.medix.judge.model=nobody",
        "reward.medix.judge.max_retries=0",
        "reward.medix.judge.timeout_s=2",  # also how long a question waits for a server that is down
        "reward.medix.failure={max_share: 0.2, min_count: 16}",
    )
    assert run.end.returncode == 1
    assert "RunStoppedError" in run.log
    assert "connection failed" in run.log
    assert "answers have no score" in run.log


def test_missing_data_names_the_command_that_makes_it(train: Callable[..., Any]) -> None:
    run = train("data.train_files=nowhere/train.parquet")
    assert run.end.returncode == 1
    assert "there is no data file nowhere/train.parquet: type `medix-verl prepare demo --out" in run.log


@pytest.mark.long
def test_a_killed_worker_ends_the_run(start: Callable[..., Any]) -> None:
    run = start(LONG)
    run.wait_for("step:1 ")
    run.process("ray::WorkerDict").kill()
    began = time.monotonic()
    assert run.driver.wait(timeout=120) != 0
    assert time.monotonic() - began < 120
    assert "WorkerDict" in run.log
    assert run.left_behind() == []


@pytest.mark.long
def test_a_killed_rollout_engine_ends_the_run(start: Callable[..., Any]) -> None:
    run = start(LONG, "trainer.v1.sampler.sampler_kwargs.stall_timeout_s=60")
    run.wait_for("step:1 ")
    run.process("VLLM::EngineCore").kill()
    assert run.driver.wait(timeout=150) != 0
    assert "EngineDeadError" in run.log
    assert run.left_behind() == []


@pytest.mark.long
def test_a_hung_worker_ends_the_run(start: Callable[..., Any]) -> None:
    run = start(LONG, "trainer.v1.sampler.sampler_kwargs.stall_timeout_s=30")
    run.wait_for("step:1 ")
    run.process("ray::WorkerDict").send_signal(signal.SIGSTOP)
    assert run.driver.wait(timeout=120) != 0
    assert "no progress for" in run.log
    assert run.left_behind() == []


@pytest.mark.long
def test_ctrl_c_leaves_nothing_behind(start: Callable[..., Any]) -> None:
    run = start(LONG)
    run.wait_for("step:1 ")
    run.driver.send_signal(signal.SIGINT)
    assert run.driver.wait(timeout=60) != 0
    assert run.left_behind() == []

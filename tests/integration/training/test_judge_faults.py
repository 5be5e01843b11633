# SPDX-License-Identifier: Apache-2.0
"""Real training runs whose judge fails in the middle, or is slow by its rate: every step completes, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]
STEPS = 7


def serve(port: int, log: Path, *more: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start the mock judge; returns it with its address."""
    words = [
        sys.executable,
        "-m",
        "medix_verl.judge.mock",
        "--port",
        str(port),
        "--verdict",
        "no",
        "--latency-ms",
        "20",
        *more,
    ]
    with log.open("wb") as stream:
        server = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 30
    while not (lines := log.read_text().split()):
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return server, lines[0]


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], str]]]:
    with contextlib.ExitStack() as at_end:

        def begin(port: int = 0, *more: str) -> tuple[subprocess.Popen[bytes], str]:
            server, url = serve(port, tmp_path / "mock.log", *more)
            at_end.callback(server.wait)
            at_end.callback(server.kill)
            return server, url

        yield begin


def metrics_of(run: Any) -> list[dict[str, float]]:
    path = run.log_path.parent / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["data"] for row in rows if "timing_s/step" in row["data"]]


def test_the_judge_and_its_worker_are_killed_in_the_middle(
    start: Callable[..., Any], mock: Callable[..., tuple[subprocess.Popen[bytes], str]]
) -> None:
    """The server is away for ten seconds and comes back; then the run's judge actor is killed and is made again."""
    server, url = mock()
    run = start(
        f"trainer.total_training_steps={STEPS}",
        "reward.medix.judge.kind=openai",
        f"reward.medix.judge.url={url}",
        "reward.medix.judge.model=mock-judge",
        "reward.medix.judge.max_retries=10",
        "reward.medix.judge.timeout_s=5",
    )
    run.wait_for("step:2 ")
    server.kill()
    server.wait()
    time.sleep(10)
    mock(int(url.rsplit(":", 1)[1].split("/")[0]))
    run.wait_for("step:4 ")
    run.process("ray::JudgeService").kill()
    assert run.driver.wait(timeout=240) == 0, run.log[-3000:]
    steps = metrics_of(run)
    assert len(steps) == STEPS
    # The mock says NO to every question, so only plain equality is right; an outage scored as wrong could not be told
    # from that, hence the count: every answer of every step has a verdict, and none was given up.
    assert [step["medix/unscored"] for step in steps] == [0.0] * STEPS
    assert [step["medix/judge/valid"] for step in steps] == [1.0] * STEPS
    assert run.left_behind() == []


def test_a_judge_that_takes_ten_requests_a_second(
    train: Callable[..., Any], mock: Callable[..., tuple[subprocess.Popen[bytes], str]]
) -> None:
    """128 answers a step come at once, under default limits: each has its verdict, and the log says why it is slow."""
    _, url = mock(0, "--per-second", "10", "--retry-after", "1")
    run = train(
        "trainer.total_training_steps=3",
        "data.train_batch_size=16",
        "actor_rollout_ref.actor.ppo_mini_batch_size=16",
        "actor_rollout_ref.rollout.n=8",
        "reward.medix.judge.kind=openai",
        f"reward.medix.judge.url={url}",
        "reward.medix.judge.model=mock-judge",
        limit_s=500.0,
    )
    assert run.end.returncode == 0, run.log[-3000:]
    steps = [step.data for step in run.steps if step.is_training]
    assert [step["medix/unscored"] for step in steps] == [0.0] * 3
    assert [step["medix/judge/valid"] for step in steps] == [1.0] * 3
    with urlopen(f"{url.removesuffix('/v1')}/stats") as answer:
        stats = json.load(answer)
    assert stats["limited"] > 0, "the limit was met"
    assert stats["answered"] > 3 * 16, "by more answers than a second's"
    assert "set judge.max_per_minute to its limit" in run.log

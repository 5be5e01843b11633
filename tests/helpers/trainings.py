# SPDX-License-Identifier: Apache-2.0
"""Small training runs through verl's own entry point: their command, how they ended, and one that is disturbed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil

from medix_verl.demo.processes import MARK, RunEnd, survivors
from medix_verl.demo.summary import Step

SMALL = (
    "data.train_batch_size=4",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    "actor_rollout_ref.rollout.n=4",
    "data.train_max_samples=48",
    "data.val_max_samples=8",
    "trainer.val_before_train=false",
    "trainer.test_freq=-1",
    "trainer.save_freq=-1",
)


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    end: RunEnd
    log: str
    steps: list[Step]
    folder: Path
    """Of its metrics and its answers."""


def command(
    demo: Path,
    records: Path,
    overrides: tuple[str, ...],
    recipe: str = "medix_cpu",
    python: str = sys.executable,
) -> list[str]:
    """The words that train with `overrides` at a small size."""
    main = [python, "-m", "verl.trainer.main_ppo", f"+recipe={recipe}", f"medix.demo={demo}"]
    return [*main, f"medix.records={records}", *SMALL, *overrides]


class Started:
    """A training run that is under way, to be disturbed from outside."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.log_path = folder / "train.log"
        with self.log_path.open("wb") as stream:
            self.driver = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark, "VERL_FILE_LOGGER_PATH": str(folder / "metrics.jsonl")},
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for(self, text: str, limit_s: float = 480.0) -> None:
        """Wait until the log has `text`."""
        deadline = time.monotonic() + limit_s
        while text not in self.log:
            assert self.driver.poll() is None, f"ended before {text!r}: {self.log[-2000:]}"
            assert time.monotonic() < deadline, f"no {text!r} within {limit_s} s: {self.log[-2000:]}"
            time.sleep(0.5)

    def process(self, title: str) -> psutil.Process:
        """The run's process with this title."""
        for process in survivors(self.mark, self.driver.pid):
            with contextlib.suppress(psutil.Error):
                if title in " ".join(process.cmdline()):
                    return process
        raise AssertionError(f"no process called {title}")

    def left_behind(self, limit_s: float = 30.0) -> list[str]:
        """Titles of the run's processes that are still there after a while."""
        deadline = time.monotonic() + limit_s
        while (left := survivors(self.mark, self.driver.pid)) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [" ".join(process.cmdline())[:80] for process in left]

    def end(self) -> None:
        """End everything, whatever state it is in."""
        for process in survivors(self.mark, self.driver.pid):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)

# SPDX-License-Identifier: Apache-2.0
"""Runs the actions of `medix.on_save` for each checkpoint while the training continues: a Hydra callback.

The process with the command line polls for checkpoints that verl's callback has announced (`on_save.py`). It starts one
process per checkpoint (`save_work.py`), one at a time, with a time limit. The training never waits for it and cannot be
stopped by its errors. If several checkpoints wait, the last one is taken. When the training has finished, the remaining
work is finished, with the same limit for each checkpoint; after a failure or Ctrl-C it is stopped.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from medix_verl.errors import SetupError
from medix_verl.runs.bounded import run_bounded
from medix_verl.runs.saves.outcomes import Outcome, State, place_of, read_outcomes, write_outcome
from medix_verl.secrets import scrub_text

__all__ = ["AfterSave"]

_logger = logging.getLogger(__name__)
POLL_S = 1.0
ADVICE = "type medix.on_save_options.limit_s=SECONDS"
GRACE_S = 60.0
"""Extra time for stopping a process after its limit."""


class AfterSave:
    """Hydra callback with those methods of `hydra.experimental.callback.Callback` that are used."""

    def __init__(self) -> None:
        """Set the initial state; watches nothing yet."""
        self.thread: threading.Thread | None = None
        self.over = threading.Event()
        self.patience_s = GRACE_S

    def on_job_start(self, config: Any, **_: Any) -> None:
        """Start polling for checkpoints."""
        from omegaconf import OmegaConf

        options = OmegaConf.select(config, "medix.on_save_options")
        actions = OmegaConf.select(config, "medix.on_save")
        folder = OmegaConf.select(config, "trainer.default_local_dir")
        if not actions or not folder:
            return
        given = OmegaConf.to_container(options, resolve=True) if OmegaConf.is_config(options) else {}
        assert isinstance(given, dict)
        run = Path(str(folder)).expanduser().absolute()
        words = json.dumps({"actions": list(actions), **{str(key): value for key, value in given.items()}})
        limit_s = float(given.get("limit_s", 3600.0))
        self.patience_s = 2 * limit_s + GRACE_S  # for the current work and the last checkpoint
        self.thread = threading.Thread(
            target=self._watch, args=(run, words, limit_s), name="medix-on-save", daemon=True
        )
        self.thread.start()

    def _watch(self, run: Path, words: str, limit_s: float) -> None:
        given_up: set[int] = set()
        end_of_earlier(run)
        while True:
            over = self.over.wait(POLL_S)
            waiting: list[Outcome] = []
            try:
                waiting = [one for one in read_outcomes(run) if one.state is State.WAITING and one.step not in given_up]
                for outcome in waiting[:-1]:
                    cause = f"step {waiting[-1].step} was saved before its turn came"
                    write_outcome(run, replace(outcome, state=State.OVERTAKEN, cause=cause))
                if waiting:
                    work_on(run, waiting[-1], words, limit_s)
                elif over:
                    return
            except Exception as cause:  # noqa: BLE001 - work on a checkpoint must not stop the training
                given_up |= {outcome.step for outcome in waiting}
                _logger.warning("a checkpoint in %s was not worked on: %s", run, scrub_text(str(cause)))

    def on_job_end(self, job_return: Any = None, **_: Any) -> None:
        """After a successful training, finish the remaining work; otherwise it ends with this process."""
        from hydra.core.utils import JobStatus

        self.over.set()
        if self.thread is not None and job_return is not None and job_return.status == JobStatus.COMPLETED:
            if self.thread.is_alive():
                _logger.warning("the training is over; its last checkpoint is worked on (medix.on_save)")
            self.thread.join(self.patience_s)

    def __getattr__(self, name: str) -> Any:
        """No-ops for Hydra's other callback methods."""
        if name.startswith("on_"):
            return lambda **_: None
        raise AttributeError(name)


def end_of_earlier(run: Path) -> None:
    """Mark work of an earlier run that was still running as ended."""
    for outcome in read_outcomes(run):
        if outcome.state is State.RUNNING:
            write_outcome(run, replace(outcome, state=State.ENDED, cause="the run ended before it"))


def work_on(run: Path, outcome: Outcome, words: str, limit_s: float) -> None:
    """Work on one checkpoint in a separate process; record how it ended if the process could not."""
    log = place_of(run, outcome.step, ".log")
    write_outcome(run, replace(outcome, state=State.RUNNING))
    command = [sys.executable, "-m", "medix_verl.runs.saves.save_work", str(run), str(outcome.step), words]
    try:
        run_bounded(f"what medix.on_save does with step {outcome.step}", command, log, limit_s, ADVICE)
    except SetupError as cause:
        found = next((one for one in read_outcomes(run) if one.step == outcome.step), outcome)
        ended = tuple(
            replace(work, state=State.ENDED, cause="see the log") if work.state is State.RUNNING else work
            for work in found.work
        )
        state = State.ENDED if found.state is State.RUNNING else found.state
        write_outcome(run, replace(found, state=state, work=ended, cause=found.cause or str(cause)))
    done = next((one for one in read_outcomes(run) if one.step == outcome.step), outcome)
    causes = "; ".join(filter(None, [done.cause, *(work.cause for work in done.work)]))
    _logger.log(
        logging.INFO if done.state is State.DONE else logging.WARNING,
        "medix.on_save, step %s: %s%s",
        *(done.step, done.state.value, f": {scrub_text(causes)}" if causes else ""),
    )

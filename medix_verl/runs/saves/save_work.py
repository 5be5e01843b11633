# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl.runs.saves.save_work RUN STEP OPTIONS`: export a checkpoint, evaluate it, record the outcome.

It runs as a separate process that gives priority to the training: it has a low priority, sees only the accelerators in
the options, and exits when memory is short, before Ray kills workers of the training for that reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medix_verl.errors import DataError, MedixError
from medix_verl.recipe.checks.memory import free_memory_gib, memory_limit_gib
from medix_verl.recipe.on_save import OnSaveSpec
from medix_verl.runs.checkpoints.checkpoint import STEP, find_checkpoint
from medix_verl.runs.checkpoints.export import ExportSpec, export_checkpoint
from medix_verl.runs.saves.outcomes import Outcome, State, Work, place_of, read_outcomes, write_outcome
from medix_verl.secrets import scrub_text

__all__ = ["main", "work"]

POLL_S = 5.0
NICENESS = 10
LOOK_S = 1.0
KEPT_FREE = 0.1
"""Minimum share of free memory; at 0.05 Ray kills workers of the training."""
SHORT = 4
"""Exit status of a process that ended because memory was short."""


def main(words: Sequence[str]) -> int:
    """Work on the checkpoint in the command line; returns 0 if all of it succeeded."""
    run, step = Path(words[0]), int(words[1])
    spec = OnSaveSpec.from_mapping(json.loads(words[2]))
    stand_back(spec.devices)
    threading.Thread(target=give_memory_back, args=(run, step), name="medix-memory", daemon=True).start()
    outcome = work(run, step, spec)
    return 0 if outcome.state is State.DONE else 1


def stand_back(devices: str) -> None:
    """Give the training priority for processor, memory and accelerators."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"):
        os.environ[name] = devices
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")


def give_memory_back(run: Path, step: int) -> None:
    """End this process and its children once memory is short."""
    while (free := free_memory_gib()) > KEPT_FREE * memory_limit_gib():
        time.sleep(LOOK_S)
    found = next((one for one in read_outcomes(run) if one.step == step), Outcome(step))
    cause = (
        f"{free:.1f} GiB of memory were left, which the training may need; type medix-verl evaluate {run} afterwards"
    )
    ended = tuple(replace(one, state=State.ENDED) if one.state is State.RUNNING else one for one in found.work)
    write_outcome(run, replace(found, state=State.ENDED, work=ended, cause=cause))
    os._exit(SHORT)


def work(run: Path, step: int, spec: OnSaveSpec) -> Outcome:
    """Run all actions, and write the outcome after each."""
    began = time.monotonic()
    model = run / "exported" / f"{STEP}{step}"
    outcome = Outcome(step, State.RUNNING)
    # An evaluation needs the model's folder, even if it is removed afterwards.
    plan: list[tuple[str, Callable[[], dict[str, Any]]]] = [("export", lambda: export(run, step, model, spec, began))]
    if "evaluate" in spec.actions:
        plan.append(("evaluate", lambda: evaluate(run, step, model, spec)))
    for action, do in plan:
        if any(done.state is not State.DONE for done in outcome.work):
            break
        outcome = note(run, outcome, Work(action, State.RUNNING))
        start = time.monotonic()
        try:
            found = Work(action, State.DONE, **do())
        except Exception as cause:  # noqa: BLE001 - any error is this checkpoint's outcome
            text = str(cause) if isinstance(cause, MedixError) else f"{type(cause).__name__}: {cause}"
            found = Work(action, State.FAILED, cause=scrub_text(" ".join(text.split()))[:400])
        outcome = note(run, outcome, replace(found, seconds=round(time.monotonic() - start, 1)))
    if "export" not in spec.actions:
        shutil.rmtree(model, ignore_errors=True)
    failed = any(done.state is not State.DONE for done in outcome.work)
    outcome = replace(outcome, state=State.FAILED if failed else State.DONE)
    write_outcome(run, outcome)
    return outcome


def note(run: Path, outcome: Outcome, work: Work) -> Outcome:
    """Add the result of one action to the outcome, and write it."""
    done = replace(outcome, work=(*(one for one in outcome.work if one.action != work.action), work))
    write_outcome(run, done)
    return done


def export(run: Path, step: int, model: Path, spec: OnSaveSpec, began: float) -> dict[str, Any]:
    """Write the model's folder; waits for a checkpoint that is still being written (`async_save`)."""
    actor = run / f"{STEP}{step}" / "actor"
    while True:
        try:
            find_checkpoint(actor)
            break
        except DataError:
            if not actor.parent.is_dir() or time.monotonic() - began > spec.limit_s / 2:
                raise
            time.sleep(POLL_S)
    # This run has just written the checkpoint, so its pickles (Megatron's) are trusted.
    export_checkpoint(ExportSpec(actor, model, spec.limit_s, trust=True), log)
    return {"place": str(model.relative_to(run))}


def log(line: str) -> None:
    """Write one line to the log and flush it."""
    sys.stdout.write(f"{scrub_text(line)}\n")
    sys.stdout.flush()


def evaluate(run: Path, step: int, model: Path, spec: OnSaveSpec) -> dict[str, Any]:
    """Evaluate the model in the folder; returns its figures by task."""
    from medix_verl.evaluation.assemble import TaskChoices
    from medix_verl.evaluation.front_door import evaluate as evaluate_model
    from medix_verl.evaluation.models.source import Model
    from medix_verl.evaluation.models.trained import as_trained

    served = Model(str(model), load_limit_s=spec.limit_s, extra=spec.serve_args)
    asked = as_trained(served, None, "auto", spec.generation_spec)
    out = place_of(run, step, ".evaluation")
    shutil.rmtree(out, ignore_errors=True)  # left by an earlier run with the same step
    found = evaluate_model(
        served,
        spec.chosen,
        out,
        judge=spec.judge_spec,
        choices=TaskChoices(limit=spec.limit, template=asked.template),
        generation=spec.generation_spec,
        sources=spec.sources,
        say=log,
    )
    return {"place": str(out.relative_to(run)), "figures": figures_of(found.folder)}


def figures_of(folder: Path) -> dict[str, float]:
    """Task -> mean score, for tasks that have one."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {line["task"]: line["overall"]["spread"]["mean"] for line in summary["tasks"] if line["overall"]["spread"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

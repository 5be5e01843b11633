# SPDX-License-Identifier: Apache-2.0
"""Logs an evaluation to Weights & Biases (`--wandb PROJECT`): its figures, its settings, and samples of open tasks.

Figures are sent for all tasks, including credentialed ones, as in a paper. Texts are sent only for tasks that are known
to be open. Addresses, paths and keys are not sent: what is sent is listed here. With `WANDB_MODE=offline` everything
stays on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any

from medix_verl.errors import SetupError
from medix_verl.evaluation.reports.table import average_of, bounds_of, read_summaries
from medix_verl.evaluation.stats.summary import TaskSummary
from medix_verl.evaluation.store.read import Evaluation, is_open
from medix_verl.evaluation.store.records import entry_name

__all__ = ["check_wandb", "log_evaluation"]

SETTINGS = ("judge", "protocol", "seed", "settings", "counting", "text_metrics", "versions", "finished")
"""Keys of the manifest that are sent."""
COLUMNS = ("task", "id", "question", "reference", "response", "answer", "score", "status")
SAMPLES = 100
"""Most samples per task."""


def check_wandb() -> None:
    """Check that the package is installed.

    Raises:
        SetupError: It is not.
    """
    if find_spec("wandb") is None:
        raise SetupError("--wandb needs the package wandb; type: pip install wandb, or leave --wandb out")


def log_evaluation(evaluation: Evaluation, project: str) -> str:
    """Log an evaluation as one run.

    Returns:
        The run's URL, or its folder if offline.
    """
    import wandb

    model = evaluation.model
    name = PurePath(model).name if PurePath(model).is_absolute() else model
    config = {key: evaluation.manifest[key] for key in SETTINGS if key in evaluation.manifest}
    run = wandb.init(
        project=project, name=name, job_type="evaluation", config={"model": name, **config}, settings=quiet()
    )
    run.log({**figures_of(evaluation), "samples": wandb.Table(columns=list(COLUMNS), data=samples_of(evaluation))})
    place = run.dir if run.offline else run.url
    run.finish()
    return str(place)


def quiet() -> Any:
    """wandb's settings: no output on the terminal, and no data about the machine or the code is sent."""
    import wandb

    # These are on by default.
    off = ("save_code", "x_save_requirements")
    on = ("silent", "disable_git", "disable_code", "disable_job_creation", "x_disable_stats", "x_disable_meta")
    flags: dict[str, Any] = {**dict.fromkeys(off, False), **dict.fromkeys(on, True)}
    return wandb.Settings(console="off", **flags)


def figures_of(evaluation: Evaluation) -> dict[str, float]:
    """`TASK/score` with interval, counts and other metrics of each task; and the average."""
    manifest = dict(evaluation.manifest)
    summaries = [summary for summary, _ in read_summaries(evaluation.folder, manifest)]
    found: dict[str, float] = {}
    for summary in summaries:
        found |= {f"{entry_name(summary.task, summary.condition)}/{key}": it for key, it in task_of(summary).items()}
    average, ends = average_of(summaries, manifest), bounds_of(summaries, manifest)
    if average is not None:
        found |= {"average/score": average.value, "average/low": average.low, "average/high": average.high}
    if ends is not None:
        found |= {"average/worst": ends[0], "average/best": ends[1]}
    return found


def task_of(summary: TaskSummary) -> Mapping[str, float]:
    """The figures of one task."""
    whole, counts = summary.overall, summary.overall.counts
    found: dict[str, float] = {"scored": counts.scored, "unscored": counts.unscored, "errors": counts.errors}
    if whole.estimate is not None:
        found |= {"score": whole.estimate.value, "low": whole.estimate.low, "high": whole.estimate.high}
    if whole.worst is not None and whole.best is not None:
        found |= {"worst": whole.worst, "best": whole.best}
    return found | {name: it.value for name, it in summary.metrics.items()}


def samples_of(evaluation: Evaluation) -> list[list[Any]]:
    """The first answers of each open task."""
    return [
        [task, it.id, it.question, it.reference, it.response, it.answer, it.value, it.status]
        for task, records in evaluation.tasks().items()
        if is_open(task, evaluation.manifest)
        for it in records[:SAMPLES]
    ]

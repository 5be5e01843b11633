# SPDX-License-Identifier: Apache-2.0
"""Runs one task with inspect_ai and reads the records out of its logs; what the logs look like is known here only.

The library keeps some 24 KB of every question until its log is finished, so a long task is run in slices, each with a
log of its own, and memory does not grow with the number of questions. Its buffer of running samples is off: what must
outlive a kill is in our journals, and they cost less. Logs of a task that a killed run has left unfinished are removed
once whole ones are there. Nothing is bundled or published.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from medix_verl.data.schema import from_row
from medix_verl.errors import RunStoppedError
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.task_run import TaskRun, answer_type_of, cluster_of
from medix_verl.types import Sample

__all__ = ["SLICE", "Served", "logged_samples", "read_logs", "run_task"]

SLICE = 1000
"""Questions of one log."""

LOG_BUFFER = 100
"""Finished samples between two writings of the log."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where the evaluated model is."""

    url: str
    model: str
    """Its name at that server."""
    api_key: str | None = None


def run_task(run: TaskRun, served: Served, log_dir: Path) -> list[Path]:
    """Ask and judge every question of a task.

    Args:
        run: The task.
        served: The model.
        log_dir: Where inspect_ai's logs go.

    Returns:
        The logs, in the order of the questions; the last slices have none where a server went down.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        RunStoppedError: The library gave up; what was done is in the journals.
    """
    logs: list[Path] = []
    for part in slices(run):
        if run.stopped:
            break
        logs.append(run_slice(part, served, log_dir))
    remove_stale(log_dir, run, logs)
    return logs


def slices(run: TaskRun) -> Iterator[TaskRun]:
    """The task in parts that share its journals and watches."""
    left = iter(run.items.items())
    while part := dict(islice(left, SLICE)):
        yield replace(run, items=part)


def run_slice(run: TaskRun, served: Served, log_dir: Path) -> Path:
    """Run a part of a task; returns its log."""
    from inspect_ai import eval as inspect_eval

    from medix_verl.evaluation.inspect_tasks import build_task

    with own_log_level():
        logs = inspect_eval(build_task(run), model=model_of(run, served), log_dir=str(log_dir), **options_of(run))
    # After Ctrl-C there is a cancelled log, or none at all.
    if not logs or logs[0].status == "cancelled":
        raise KeyboardInterrupt
    log = logs[0]
    if log.status != "success":
        cause = " ".join((log.error.message if log.error else "no cause was given").split())[:300]
        raise RunStoppedError(f"{run.spec.name}: inspect_ai ended with status {log.status}: {cause}")
    return Path(log.location)


@contextlib.contextmanager
def own_log_level() -> Iterator[None]:
    """inspect_ai sets the root logger's level for good (its _util/logger.py); other people's warnings stay theirs."""
    root = logging.getLogger()
    level = root.level
    try:
        yield
    finally:
        root.setLevel(level)


def model_of(run: TaskRun, served: Served) -> Any:
    """The evaluated model as inspect_ai asks it."""
    from inspect_ai.model import get_model

    return get_model(
        f"medix/{served.model}",
        base_url=served.url,
        api_key=served.api_key or "none",
        memoize=False,
        timeout_s=run.answering.limits.timeout_s,
    )


def options_of(run: TaskRun) -> dict[str, Any]:
    """How inspect_ai runs a task: quietly, on to the end, and without a picture of credentialed data in its log."""
    return {
        "display": "none",
        "log_level": "error",
        "log_realtime": False,
        "log_images": not run.spec.credentialed,
        "log_model_api": False,
        "log_buffer": LOG_BUFFER,
        "log_header_only": True,
        "score_display": False,
        "fail_on_error": False,
        # Twice: while one half is judged, the other one keeps the model busy.
        "max_samples": 2 * run.answering.limits.connections,
        "ctl_server": False,
        "acp_server": False,
    }


def remove_stale(log_dir: Path, run: TaskRun, keep: Sequence[Path]) -> None:
    """Remove the other logs of this task and condition: a killed run's, and those of an earlier attempt."""
    from inspect_ai.log import list_eval_logs, read_eval_log

    kept = {path.name for path in keep}
    for info in list_eval_logs(str(log_dir)):
        path = Path(info.name.removeprefix("file://"))
        if path.name in kept or info.task.replace("-", "_") != run.spec.name:
            continue
        header = read_eval_log(info, header_only=True)
        if (header.eval.metadata or {}).get("condition") == run.condition:
            path.unlink()


def read_logs(run: TaskRun, paths: Sequence[Path]) -> list[Record]:
    """The records of a task: one for each of its questions, also for those that were never asked."""
    found = {name: logged for path in paths for name, logged in scores_of(path)}
    return [record_of(run, name, found.get(name)) for name in run.items]


def scores_of(path: Path) -> Iterator[tuple[str, Any]]:
    """Id and logged sample, one in memory at a time; what the records do not need is not read."""
    from inspect_ai.log import read_eval_log_samples

    unneeded = {"events", "store", "attachments", "messages", "timelines", "events_data"}
    for sample in read_eval_log_samples(str(path), all_samples_required=False, exclude_fields=unneeded):
        yield str(sample.id), slim(sample)


def slim(sample: Any) -> dict[str, Any]:
    """What a record needs of a logged sample."""
    from medix_verl.evaluation.inspect_model import whole_text

    # There is one scorer; its name carries the package where that is installed.
    score = next(iter((sample.scores or {}).values()), None)
    return {
        "response": whole_text(sample.output) if sample.output.choices else "",
        "latency_s": sample.metadata.get("latency_s"),
        "error": " ".join(sample.error.message.split())[:500] if sample.error else "",
        "value": None if score is None else score.value,
        "answer": None if score is None else score.answer,
        "told": {} if score is None else score.metadata or {},
    }


def record_of(run: TaskRun, name: str, logged: dict[str, Any] | None) -> Record:
    """One record."""
    item = run.items[name]
    sample = item.sample
    given = logged or {"error": run.stopped or "not asked: the run ended before it", "told": {}}
    told = given["told"]
    value, status = standing(given)
    reason = given["error"] or told.get("reason", "")
    return Record(
        task=run.spec.name,
        id=name,
        cluster=cluster_of(sample),
        question=sample.question,
        reference=sample.answer,
        response=given.get("response", ""),
        answer=given.get("answer"),
        value=value,
        status=status,
        reason=reason if reason or status == "scored" else "no cause was given",
        votes=tuple(told.get("votes", ())),
        judge=told.get("judge", run.protocol.judge_name),
        answer_type=answer_type_of(run.spec, sample),
        modality=sample.modality,
        data_source=sample.data_source,
        images=tuple(picture.hash for picture in item.pictures),
        condition=run.condition,
        options=sample.options,
        latency_s=given.get("latency_s"),
    )


def standing(given: dict[str, Any]) -> tuple[float | None, str]:
    """Value and status of a logged sample."""
    value, told = given.get("value"), given["told"]
    if given["error"] or told.get("broke") or not told:
        return None, "error"
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None, "unscored"
    return float(value), "scored"


def logged_samples(log_dir: Path, task: str, condition: str) -> Iterator[Sample]:
    """The questions that a task's log keeps, without their pictures, which no judge sees."""
    from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_samples

    for info in list_eval_logs(str(log_dir)):
        if info.task.replace("-", "_") != task:
            continue
        header = read_eval_log(info, header_only=True)
        if header.status != "success" or (header.eval.metadata or {}).get("condition") != condition:
            continue
        unneeded = {"events", "store", "attachments", "messages", "timelines", "events_data", "output"}
        for logged in read_eval_log_samples(info, all_samples_required=False, exclude_fields=unneeded):
            row = dict(logged.metadata["sample"])
            yield from_row({**row, "images": None, "meta": json.dumps(row["meta"])})

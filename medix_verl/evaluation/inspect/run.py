# SPDX-License-Identifier: Apache-2.0
"""Runs a task with inspect_ai, judges its logs again, and reads records from them; only this module reads the logs.

inspect_ai keeps about 24 KB for every question in memory until its log is finished. A long task is therefore run in
slices with one log each, so that memory does not grow with the number of questions. A slice in which every question has
a score is not run again. inspect_ai's buffer of running samples is disabled: replies that must survive a kill are in a
reply cache (medix_verl.evaluation.assemble.open_replies). Nothing is bundled or published.
"""

from __future__ import annotations

import asyncio
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
from medix_verl.evaluation.store.records import Record
from medix_verl.evaluation.task_run import TaskRun, answer_type_of, cluster_of
from medix_verl.evaluation.tasks.facets import axis_scores, facets_of
from medix_verl.evaluation.tasks.pictures import Item, Picture
from medix_verl.evaluation.tasks.rotation import ROTATION, ROTATION_OF
from medix_verl.types import ImageRef

__all__ = ["SLICE", "Served", "read_logs", "rescore", "run_task"]

SLICE = 1000
"""Maximum number of answers in one log."""

LOG_BUFFER = 100
"""Number of finished samples between two writes of the log."""

READ_AT_ONCE = 50
"""Number of samples of a log that are read into memory at a time."""

UNNEEDED = {"events", "store", "attachments", "messages", "timelines", "events_data"}
"""Parts of a logged sample that are not needed for records, such as pictures."""


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
        log_dir: Folder for inspect_ai's logs.

    Returns:
        The logs, in the order of the questions, including complete slices of an earlier run; the last slices have no
        log if a server went down.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        RunStoppedError: inspect_ai ended with an error; finished answers are kept.
    """
    logs: list[Path] = []
    before = logs_of(log_dir, run.spec.name, run.condition)
    whole = {tuple(log.eval.dataset.sample_ids): path for path, log in before.items() if is_whole(log)}
    for part in slices(run):
        done = whole.get(tuple(part.items))
        if done:
            run.judged_before.extend(part.items)
        if done or not run.stopped:
            logs.append(done or run_slice(part, served, log_dir))
    # Logs of a killed run, or of an earlier attempt.
    for path in before.keys() - set(logs):
        path.unlink()
    return logs


def is_whole(log: Any) -> bool:
    """Whether every question of a log has a score, according to its header; a resumed run skips such a log.

    With several generations for each question, the header counts one score for a question even if some generations have
    none. Such logs are always run again, with the cached answers.
    """
    results = log.results
    once = log.status == "success" and log.eval.config.epochs in (None, 1)
    return once and results is not None and results.scores[0].scored_samples == results.total_samples


def slices(run: TaskRun) -> Iterator[TaskRun]:
    """Split the task into parts that share its caches and circuit breakers."""
    left = iter(run.items.items())
    while part := dict(islice(left, max(1, SLICE // run.answering.generation.generations))):
        yield replace(run, items=part)


def run_slice(run: TaskRun, served: Served, log_dir: Path) -> Path:
    """Run a part of a task; returns its log."""
    from inspect_ai import eval as inspect_eval

    from medix_verl.evaluation.inspect.tasks import build_task

    with own_log_level():
        logs = inspect_eval(build_task(run), model=model_of(run, served), log_dir=str(log_dir), **options_of(run))
    # After Ctrl-C, the log is cancelled or missing.
    if not logs or logs[0].status == "cancelled":
        raise KeyboardInterrupt
    log = logs[0]
    if log.status != "success":
        cause = " ".join((log.error.message if log.error else "no cause was given").split())[:300]
        raise RunStoppedError(f"{run.spec.name}: inspect_ai ended with status {log.status}: {cause}")
    return Path(log.location)


@contextlib.contextmanager
def own_log_level() -> Iterator[None]:
    """Restore the root logger's level, which inspect_ai changes permanently (its _util/logger.py)."""
    root = logging.getLogger()
    level = root.level
    try:
        yield
    finally:
        root.setLevel(level)


def model_of(run: TaskRun, served: Served) -> Any:
    """The evaluated model as an inspect_ai model."""
    from inspect_ai.model import get_model

    return get_model(
        f"medix/{served.model}",
        base_url=served.url,
        api_key=served.api_key or "none",
        memoize=False,
        timeout_s=run.answering.limits.timeout_s,
    )


def options_of(run: TaskRun) -> dict[str, Any]:
    """Options of inspect_ai's `eval`: no display, continue after errors, no pictures of credentialed data in logs."""
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
        # Twice the connections: while half of the samples are judged, the other half keeps the model busy.
        "max_samples": 2 * run.answering.limits.connections,
        "ctl_server": False,
        "acp_server": False,
    }


def rescore(run: TaskRun, source: Path, log_dir: Path) -> Iterator[Record]:
    """Judge the logged answers of a task again, without asking the model.

    Args:
        run: The task without questions, which are read from the logs.
        source: Folder with the logs of an evaluation.
        log_dir: Folder for the new logs, under the old names.
    """
    from inspect_ai.log import read_eval_log, write_eval_log

    for old in whole_logs(source, run.spec.name, run.condition):
        log = read_eval_log(str(old), header_only=True)
        log.samples = list(samples_of(old))
        part = replace(run, items={str(sample.id): logged_item(sample) for sample in log.samples})
        with own_log_level():
            log = asyncio.run(score_again(part, log))
            write_eval_log(log, str(log_dir / old.name))
        yield from (record_of(part, str(sample.id), slim(sample), sample.epoch) for sample in log.samples)


async def score_again(run: TaskRun, log: Any) -> Any:
    """Replace the scores of a log by those of the run's judges."""
    from inspect_ai import score_async

    from medix_verl.evaluation.inspect.scorer import build_scorer

    try:
        scorers = [build_scorer(run)]
        return await score_async(log, scorers, model="none", action="overwrite", display="none", copy=False)
    finally:
        await run.protocol.close()


def whole_logs(log_dir: Path, task: str, condition: str) -> list[Path]:
    """The logs of a task with status `success`, oldest first."""
    return [path for path, log in logs_of(log_dir, task, condition).items() if log.status == "success"]


def logs_of(log_dir: Path, task: str, condition: str) -> dict[Path, Any]:
    """Path -> header of the logs of a task under a condition, oldest first."""
    from inspect_ai.log import list_eval_logs, read_eval_log

    found = {}
    for info in list_eval_logs(str(log_dir), descending=False):
        if info.task.replace("-", "_") == task:
            header = read_eval_log(info, header_only=True)
            if (header.eval.metadata or {}).get("condition") == condition:
                found[log_dir / Path(info.name).name] = header
    return found


def read_logs(run: TaskRun, paths: Sequence[Path]) -> list[Record]:
    """The records of a task: one for each generation of each question, including questions that were not asked."""
    found = {(str(sample.id), sample.epoch): slim(sample) for path in paths for sample in samples_of(path)}
    repeats = range(1, run.answering.generation.generations + 1)
    return [record_of(run, name, found.get((name, repeat)), repeat) for name in run.items for repeat in repeats]


def samples_of(path: Path) -> Iterator[Any]:
    """The samples of a log without the parts that records do not need; READ_AT_ONCE in memory at a time.

    inspect_ai's own iterator over a log's samples reopens the log for each, which takes four times as long.
    """
    from inspect_ai.log import read_eval_log_sample_summaries, read_eval_log_samples_by_id

    names = [(summary.id, summary.epoch) for summary in read_eval_log_sample_summaries(str(path))]
    for start in range(0, len(names), READ_AT_ONCE):
        few = names[start : start + READ_AT_ONCE]
        yield from read_eval_log_samples_by_id(str(path), few, exclude_fields=UNNEEDED)


def slim(sample: Any) -> dict[str, Any]:
    """The values of a logged sample that a record needs."""
    from medix_verl.evaluation.inspect.model import tokens_of, whole_text

    # There is one scorer; its name has the package as a prefix if the package is installed.
    score = next(iter((sample.scores or {}).values()), None)
    return {
        "response": whole_text(sample.output),
        "latency_s": sample.metadata.get("latency_s"),
        "finish": sample.metadata.get("finish"),
        "tokens": tokens_of(sample.output),
        "error": " ".join(sample.error.message.split())[:500] if sample.error else "",
        "value": None if score is None else score.value,
        "answer": None if score is None else score.answer,
        "details": {} if score is None else score.metadata or {},
    }


def record_of(run: TaskRun, name: str, logged: dict[str, Any] | None, repeat: int = 1) -> Record:
    """One record."""
    item = run.items[name]
    sample = item.sample
    given = logged or {"error": run.stopped or "not asked: the run ended before it", "details": {}}
    details = given["details"]
    value, status = standing(given)
    reason = given["error"] or details.get("reason", "")
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
        votes=tuple(details.get("votes", ())),
        judge=details.get("judge", run.protocol.judge_name),
        answer_type=answer_type_of(run.spec, sample),
        modality=sample.modality,
        data_source=sample.data_source,
        images=tuple(picture.hash for picture in item.pictures),
        condition=run.condition,
        options=sample.options,
        latency_s=given.get("latency_s"),
        finish=given.get("finish"),
        perceptual=tuple(picture.perceptual for picture in item.pictures),
        rotation_of=sample.meta.get(ROTATION_OF),
        rotation=sample.meta.get(ROTATION, 0),
        facets=facets_of(sample),
        metrics=axis_scores(sample, value, details.get("votes", ())),
        tokens=given.get("tokens"),
        repeat=repeat,
    )


def standing(given: dict[str, Any]) -> tuple[float | None, str]:
    """Value and status of a logged sample."""
    value, details = given.get("value"), given["details"]
    if given["error"] or details.get("broke") or not details:
        return None, "error"
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None, "unscored"
    return float(value), "scored"


def logged_item(logged: Any) -> Item:
    """The question of a logged sample; its pictures have only their hashes."""
    row = logged.metadata["sample"]
    names = row["images"] or ()
    near = logged.metadata.get("perceptual") or [""] * len(names)
    sample = from_row({**row, "images": None, "meta": json.dumps(row["meta"])})
    sample = replace(sample, images=tuple(ImageRef(path=name) for name in names))
    return Item(sample, tuple(Picture(name, (0, 0), "", mark) for name, mark in zip(names, near, strict=True)))

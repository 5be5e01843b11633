# SPDX-License-Identifier: Apache-2.0
"""Writes an evaluation in lm-evaluation-harness's JSON format, for tools that read it.

The folder MODEL/ (the model's name as the harness spells it) contains `results_DATE.json` and one
`samples_TASK_DATE.jsonl` per task, with the keys of github.com/EleutherAI/lm-evaluation-harness,
lm_eval/result_schema.py and loggers/evaluation_tracker.py of August 2026. Fields that the format does not have are
written under our own keys: `bounds_low` and `bounds_high` of a figure, `status` and `reason` of an answer. The figure
of a task with too many unscored questions is "N/A", the harness's value for unknown. An answer without a score has no
score in its line. Standard errors are clustered. Texts of credentialed tasks and of unknown tasks are not written.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from medix_verl.data.prompts import is_template, render_prompt
from medix_verl.errors import ConfigError
from medix_verl.evaluation.stats.intervals import CONFIDENCE, Spread, student
from medix_verl.evaluation.stats.missing import as_wrong, counting_of, summary_of
from medix_verl.evaluation.stats.summary import TaskSummary
from medix_verl.evaluation.store.manifest import FILE
from medix_verl.evaluation.store.read import Evaluation, is_open
from medix_verl.evaluation.store.records import Record, first_answers
from medix_verl.runtime.files import write_json, write_text
from medix_verl.types import ImageRef, Sample

__all__ = ["ExportedResults", "export_results"]

UNKNOWN = "N/A"
METRICS = {"report": "report_score", "rubric": "rubric_score"}
"""Answer type -> name of its score; `acc` for all others."""
UNSAFE = re.compile(r"[\"<>:/|\\?*\[\]]+")
"""Characters that the harness replaces in a model's name."""


@dataclass(frozen=True, slots=True)
class ExportedResults:
    """What was written."""

    files: tuple[Path, ...]
    without_samples: tuple[str, ...]
    """Tasks written as figures only."""


def export_results(evaluation: Evaluation, out: Path, names: Sequence[str] | None = None) -> ExportedResults:
    """Write the files.

    Args:
        evaluation: A finished evaluation.
        out: The parent of the model's folder.
        names: Tasks to write; None for all.

    Raises:
        ConfigError: A task is not in the evaluation, or the evaluation did not finish.
    """
    if not evaluation.finished:
        raise ConfigError(f"{evaluation.folder} did not finish; type: medix-verl evaluate ... --resume")
    there = evaluation.tasks()
    for name in names or ():
        if name not in there:
            raise ConfigError(f"task {name!r} is not in this evaluation; there are: {', '.join(there)}")
    tasks = {name: there[name] for name in names or there}
    moment = datetime.fromtimestamp((evaluation.folder / FILE).stat().st_mtime)
    date, model = moment.isoformat().replace(":", "-"), UNSAFE.sub("__", evaluation.model)
    folder = out / model
    folder.mkdir(parents=True, exist_ok=True)
    files, hashes = [folder / f"results_{date}.json"], {}
    for task, records in tasks.items():
        if is_open(task, evaluation.manifest):
            lines = [sample_of(evaluation, number, record) for number, record in enumerate(first_answers(records))]
            hashes[task] = sha256("".join(it["doc_hash"] + it["prompt_hash"] + it["target_hash"] for it in lines))
            files.append(folder / f"samples_{task}_{date}.jsonl")
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            write_text(files[-1], text, "surrogatepass")
    found = results_of(evaluation, tasks, model, moment.timestamp())
    write_json(files[0], {**found, "task_hashes": hashes}, allow_nan=False)
    closed = tuple(task for task in tasks if not is_open(task, evaluation.manifest))
    return ExportedResults(tuple(files), closed)


def results_of(
    evaluation: Evaluation, tasks: Mapping[str, Sequence[Record]], model: str, date: float
) -> dict[str, Any]:
    """The aggregated results."""
    manifest, counting = evaluation.manifest, counting_of(evaluation.manifest)
    settings = dict(manifest.get("settings") or {})
    figures = {task: figures_of(summary_of(task, records, counting)) for task, records in tasks.items()}
    versions = manifest.get("versions") or {}
    return {
        "results": figures,
        "group_subtasks": {task: [] for task in tasks},
        "configs": {task: {"task": task, "metadata": {"judge": evaluation.judge}, **settings} for task in tasks},
        "versions": {task: versions.get("medix-verl", UNKNOWN) for task in tasks},
        "n-shot": {task: settings.get("fewshot") or 0 for task in tasks},
        "higher_is_better": {task: {name: True for name in metric_names(figures[task])} for task in tasks},
        "n-samples": {task: {"original": len(records), "effective": len(records)} for task, records in tasks.items()},
        "config": {
            "model": "medix_verl",
            "model_args": {"model": evaluation.model},
            "limit": settings.get("limit"),
            "gen_kwargs": {key: settings[key] for key in ("temperature", "max_tokens") if key in settings},
            "random_seed": manifest.get("seed"),
        },
        "date": date,
        "transformers_version": versions.get("transformers", UNKNOWN),
        "model_source": "medix_verl",
        "model_name": evaluation.model,
        "model_name_sanitized": model,
        "medix_verl": {"judge": manifest.get("judge"), "protocol": manifest.get("protocol"), "versions": versions},
    }


def metric_names(figures: Mapping[str, Any]) -> list[str]:
    """The metrics among a task's figures."""
    names = [key.partition(",")[0] for key in figures if "," in key]
    return [name for name in names if f"{name}_stderr,none" in figures]


def figures_of(summary: TaskSummary) -> dict[str, Any]:
    """`METRIC,none` and `METRIC_stderr,none` of a task."""
    whole = summary.overall
    score = METRICS.get(next(iter(summary.by_answer_type), ""), "acc")
    value = UNKNOWN if whole.estimate is None else whole.estimate.value
    found: dict[str, Any] = {"name": summary.task, "alias": summary.task, "sample_len": whole.counts.total}
    found |= {f"{score},none": value, f"{score}_stderr,none": UNKNOWN if whole.spread is None else error(whole.spread)}
    if whole.worst is not None and whole.best is not None:
        found |= {"bounds_low,none": whole.worst, "bounds_high,none": whole.best}
    for name, it in summary.metrics.items():
        half = (it.high - it.low) / 2 / student(CONFIDENCE, None)
        found |= {f"{name},none": it.value, f"{name}_stderr,none": half}
    return found


def error(spread: Spread) -> float | str:
    """The standard error of a mean."""
    if spread.points is not None:
        return UNKNOWN if spread.points.error is None else spread.points.error
    return math.sqrt(spread.mean * (1 - spread.mean) / spread.size)


def sample_of(evaluation: Evaluation, number: int, record: Record) -> dict[str, Any]:
    """The line of one answer."""
    counted = as_wrong(record) if counting_of(evaluation.manifest).errors == "wrong" else record
    score = METRICS.get(record.answer_type, "acc")
    metrics = dict(record.metrics) if counted.value is None else {score: counted.value, **record.metrics}
    doc = {"id": record.id, "question": record.question, "options": record.options, "answer": record.reference}
    prompt = prompt_of(evaluation, record)
    return {
        "doc_id": number,
        "doc": {**doc, "images": record.images, "modality": record.modality, **record.facets},
        "target": record.reference,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {}}},
        "resps": [[record.response]],
        "filtered_resps": [record.answer or ""],
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": sha256(json.dumps(doc, ensure_ascii=True)),
        "prompt_hash": sha256(prompt),
        "target_hash": sha256(record.reference),
        **metrics,
        "status": record.status,
        "reason": record.reason,
    }


def prompt_of(evaluation: Evaluation, record: Record) -> str:
    """The text of the user turn; for a conversation, which has no template, the question."""
    template = dict(evaluation.manifest.get("settings") or {}).get("template")
    if record.answer_type == "rubric" or template is None or not is_template(template):
        return record.question
    shown = tuple(ImageRef(path=name) for name in record.images)
    return render_prompt(
        Sample(record.id, record.data_source, record.question, record.reference, None, shown, record.options), template
    )


def sha256(text: str) -> str:
    """The SHA-256 hash, as the harness computes it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

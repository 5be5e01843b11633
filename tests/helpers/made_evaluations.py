# SPDX-License-Identifier: Apache-2.0
"""Made evaluations for the tests of what is written about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medix_verl.evaluation.store.manifest import FORMAT, write_manifest
from medix_verl.evaluation.store.records import Record, cut_off, record_path, write_records

SECRET = "findings of patient 4711"
"""A text of the credentialed task."""


def record(task: str, number: int, value: float | None, **more: Any) -> Record:
    given: dict[str, Any] = {
        **{"question": f"Question {number}?", "reference": "yes", "response": "<answer>x</answer>", "answer": "x"},
        **{"status": "unscored" if value is None else "scored", "reason": "no verdict" if value is None else ""},
        **{"answer_type": "closed", "options": ("yes", "no"), "tokens": (100, 10)},
    }
    return Record(task=task, id=f"{number:04d}", cluster=f"c{number}", value=value, **{**given, **more})


def evaluation(
    folder: Path,
    model: str,
    tasks: Mapping[str, Callable[[int], float | None]],
    judge: str = "judge",
    count: int = 80,
    **more: Any,
) -> Path:
    """An evaluation of which each task's scores are a function of the question's number."""
    done = {}
    for task, value in tasks.items():
        kind = {"answer_type": "report", "options": None, "reference": SECRET} if task.startswith("mimic") else {}
        records = [record(task, number, value(number), **kind, **more) for number in range(count)]
        write_records(record_path(folder, task), records)
        counts = {state: sum(it.status == state for it in records) for state in ("scored", "unscored", "error")}
        done[task] = {"questions": count, **counts, "cut_off": cut_off(records)}
    judging = {"kind": "rule", "model": []} if judge == "rule" else {"kind": "openai", "model": [judge]}
    write_manifest(
        folder,
        {
            **{"format": FORMAT, "model": model, "judge": judging, "judge_url": [], "seed": 0, "versions": {}},
            **{"protocol": {"name": "published"}, "settings": {"template": "medix", "limit": None}, "limits": {}},
            **{"tasks": list(tasks), "asked": list(tasks), "condition": "real", "conditions": ["real"]},
            **{"done": done, "finished": True, "failed": {}},
        },
    )
    return folder

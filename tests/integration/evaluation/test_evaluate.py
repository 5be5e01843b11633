# SPDX-License-Identifier: Apache-2.0
"""`medix-verl evaluate` against mock servers: killed at any moment, judged again, servers down, and all bad input."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from helpers.evaluations import begin, environment, evaluate, medqa, records, serving, summary

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(400),
]

COUNT = 48
AT_ONCE = 4


def flags(source: Path, out: Path, judge: Any = None, *more: object) -> list[object]:
    asked = ["--judge", "openai", "--judge-url", judge.url, "--judge-model", "mock-judge"] if judge is not None else []
    return [
        *("--tasks", "medqa", "--sources", f"medqa={source}", "--out", out, "--connections", AT_ONCE, *asked),
        *more,
    ]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return medqa(tmp_path_factory.mktemp("medqa"), COUNT)


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation that nothing has disturbed."""
    out = tmp_path_factory.mktemp("whole") / "eval"
    with serving() as model, serving() as judge:
        done = evaluate(model.url, *flags(source, out, judge))
        assert done.returncode == 0, done.stderr
        assert model.stats()["requests"] == COUNT
    return out


def test_records_manifest_and_table(undisturbed: Path) -> None:
    manifest = json.loads((undisturbed / "eval.json").read_text())
    assert manifest["finished"] and manifest["tasks"] == ["medqa"] and manifest["model"] == "mock-judge"
    lines = records(undisturbed)["medqa.jsonl"]
    assert len(lines) == COUNT == manifest["done"]["medqa"]["scored"]
    assert all("<think>" in line["response"] and len(line["votes"]) == 3 for line in lines)
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines)
    assert "| medqa |" in (undisturbed / "table.md").read_text()
    assert len(list((undisturbed / "logs").glob("*.eval"))) == 1


@pytest.mark.parametrize("slow", ["model", pytest.param("judge", marks=pytest.mark.long)])
def test_killed_and_resumed(source: Path, undisturbed: Path, tmp_path: Path, slow: str) -> None:
    out = tmp_path / "eval"
    delay = ("--latency-ms", "150", "--slots", str(AT_ONCE))
    with serving(*(delay if slow == "model" else ())) as model, serving(*(delay if slow == "judge" else ())) as judge:
        run = begin(model.url, *flags(source, out, judge))
        (model if slow == "model" else judge).wait_for(COUNT // 2)
        run.kill()
        run.communicate()
        before = {"model": model.stats(), "judge": judge.stats()}
        done = evaluate(model.url, *flags(source, out, judge, "--resume"))
        assert done.returncode == 0, done.stderr
        after = {"model": model.stats(), "judge": judge.stats()}
    assert records(out) == records(undisturbed)
    assert summary(out) == summary(undisturbed)
    # Nothing is asked twice but what was under way; three rounds a question, and a preflight of two a run.
    assert after["model"]["requests"] <= COUNT + AT_ONCE
    assert after["judge"]["requests"] <= 3 * COUNT + 2 * 2 + 2 * AT_ONCE
    assert before[slow]["requests"] < after[slow]["requests"]
    assert len(list((out / "logs").glob("*.eval"))) == 1


@pytest.mark.long
def test_a_judge_that_dies_ends_the_run_and_keeps_what_was_done(
    source: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "eval"
    with serving() as model, serving("--latency-ms", "150", "--slots", "4") as judge:
        run = begin(model.url, *flags(source, out, judge))
        judge.wait_for(COUNT)
        judge.stop()
        began = time.monotonic()
        _, message = run.communicate(timeout=120)
        assert time.monotonic() - began < 60
        assert run.returncode == 1 and "the judge failed" in message and "--resume" in message
        assert not json.loads((out / "eval.json").read_text())["finished"]
        assert len(records(out)["medqa.jsonl"]) == COUNT
        judge.start()
        done = evaluate(model.url, *flags(source, out, judge, "--resume"))
        assert done.returncode == 0, done.stderr
        assert model.stats()["requests"] <= COUNT + AT_ONCE
    assert records(out) == records(undisturbed)


def test_a_judge_that_is_not_there_is_told_before_anything_is_generated(source: Path, tmp_path: Path) -> None:
    with serving() as model, serving() as judge:
        judge.stop()
        began = time.monotonic()
        done = evaluate(model.url, *flags(source, tmp_path / "eval", judge))
        assert done.returncode == 1 and "cannot be asked" in done.stderr and time.monotonic() - began < 60
        assert model.stats()["requests"] == 0


def test_a_model_that_dies_ends_the_run(source: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with serving("--latency-ms", "150", "--slots", "4") as model, serving() as judge:
        run = begin(model.url, *flags(source, out, judge))
        model.wait_for(COUNT // 2)
        model.stop()
        began = time.monotonic()
        _, message = run.communicate(timeout=120)
        assert run.returncode == 1 and "the model failed" in message and time.monotonic() - began < 90
        model.start()
        done = evaluate(model.url, *flags(source, out, judge, "--resume"))
        assert done.returncode == 0, done.stderr
    assert records(out) == records(undisturbed)


@pytest.mark.long
def test_ctrl_c_ends_with_130_and_can_be_resumed(source: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with serving("--latency-ms", "150", "--slots", "4") as model, serving() as judge:
        run = begin(model.url, *flags(source, out, judge))
        model.wait_for(COUNT // 3)
        run.send_signal(signal.SIGINT)
        _, message = run.communicate(timeout=60)
        assert run.returncode == 130, message
        assert evaluate(model.url, *flags(source, out, judge, "--resume")).returncode == 0
    assert records(out) == records(undisturbed)


def test_rejudging_asks_the_model_nothing(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    with serving("--verdict", "no") as judge:
        words = ("--judge", "openai", "--judge-url", judge.url, "--judge-model", "other", "--out", out)
        done = evaluate("rejudge", undisturbed, *words)
        assert done.returncode == 0, done.stderr
        lines = records(out)["medqa.jsonl"]
        assert {line["judge"] for line in lines} == {"other"} and {line["value"] for line in lines} == {0.0}
        asked = judge.stats()["requests"]
        assert evaluate("rejudge", undisturbed, *words, "--resume").returncode == 0
        assert judge.stats()["requests"] == asked + 2  # the preflight: a right and a wrong answer
    whole = records(undisturbed)["medqa.jsonl"]
    assert [line["response"] for line in lines] == [line["response"] for line in whole]
    # It is an evaluation with logs of its own, and can be judged again; the first judge's words are not in them.
    assert evaluate("rejudge", out, "--judge", "rule", "--out", tmp_path / "third").returncode == 0
    assert evaluate("rejudge", undisturbed, "--judge", "rule", "--out", tmp_path / "direct").returncode == 0
    assert records(tmp_path / "third") == records(tmp_path / "direct")


SLICED = """
import sys
from medix_verl.evaluation.inspect import run as inspect_run
from medix_verl.cli.main import main
inspect_run.SLICE = 20
sys.exit(main(sys.argv[1:]))
"""


def test_a_long_task_is_run_in_slices(source: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Memory stays flat by it: each slice has its own log, and the figures are those of one piece."""
    out = tmp_path / "eval"
    with serving() as model, serving() as judge:
        words = map(str, ["evaluate", model.url, *flags(source, out, judge)])
        ran = subprocess.run(
            [sys.executable, "-c", SLICED, *words], env=environment(), capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert len(list((out / "logs").glob("*.eval"))) == 3
        assert records(out) == records(undisturbed) and summary(out) == summary(undisturbed)
        # Killed behind the second slice: its log and the first one's are not made again.
        logs = sorted((out / "logs").glob("*.eval"))
        logs[-1].unlink()
        (out / "records" / "medqa.jsonl").unlink()
        words = map(str, ["evaluate", model.url, *flags(source, out, judge, "--resume")])
        ran = subprocess.run(
            [sys.executable, "-c", SLICED, *words], env=environment(), capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        left = sorted((out / "logs").glob("*.eval"))
        assert left[:2] == logs[:2] and left[2:] != logs[2:] and len(left) == 3
        assert records(out) == records(undisturbed) and summary(out) == summary(undisturbed)
        done = evaluate("rejudge", out, "--out", tmp_path / "again", "--judge", "rule")
        assert done.returncode == 0, done.stderr
        assert model.stats()["requests"] == COUNT
    assert len(records(tmp_path / "again")["medqa.jsonl"]) == COUNT


def test_the_tasks_are_inspect_ais_own(source: Path, tmp_path: Path) -> None:
    # As installed: with the checkout on PYTHONPATH, inspect_ai meets its egg-info and takes the package for no package.
    installed = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with serving() as model:
        words = ["eval", "medix_verl/medqa", "--model", "medix/mock", "--model-base-url", model.url]
        args = ["-T", f"source={source}", "-T", "limit=5", "--log-dir", tmp_path / "logs", "--display", "plain"]
        done = subprocess.run(
            [Path(sys.executable).with_name("inspect"), *words, *args],
            capture_output=True,
            text=True,
            env={**installed, "XDG_DATA_HOME": str(tmp_path)},
            check=False,
            timeout=100,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert model.stats()["requests"] == 5
    from inspect_ai.log import list_eval_logs, read_eval_log

    (log,) = [read_eval_log(info) for info in list_eval_logs(str(tmp_path / "logs"))]
    assert log.status == "success" and log.results.scores[0].scored_samples == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "slake_vqq"), "did you mean 'slake_vqa'"),
        (("--tasks", "mimic_cxr_report_generation"), "physionet.org.*--sources mimic_cxr_report_generation=PATH"),
        (("--tasks", "medqa", "--sources", "medqa=nowhere"), "no such file or folder"),
        (("--tasks", "medqa", "--judge", "openai"), "--judge-url"),
        (("--tasks", "medqa", "--images", "blank"), "name vlm tasks"),
        (("--tasks", "medqa", "--limit", "0"), "give 1 or more"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with serving() as model:
        done = evaluate(model.url, *words, "--out", tmp_path / "eval")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert re.search(message, done.stderr), done.stderr


def test_an_empty_task_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "medqa"
    empty.mkdir()
    (empty / "test.json").write_text("")
    with serving() as model:
        done = evaluate(model.url, *flags(empty, tmp_path / "eval"))
    assert done.returncode == 1 and "medqa" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_a_second_run_into_the_folder_is_refused(undisturbed: Path, source: Path) -> None:
    with serving() as model, serving() as judge:
        assert "--resume" in evaluate(model.url, *flags(source, undisturbed, judge)).stderr
        other = evaluate(model.url, *flags(source, undisturbed, judge, "--resume", "--limit", 3))
        assert "settings.limit" in other.stderr
        done = evaluate(model.url, *flags(source, undisturbed, judge, "--resume"))
        assert done.returncode == 0 and model.stats()["requests"] == 0

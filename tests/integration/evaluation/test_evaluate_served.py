# SPDX-License-Identifier: Apache-2.0
"""Every task, on small copies in their published layouts, answered by the demo's own policy that vLLM serves,
and judged by the demo's own judge, served as well, and by the rule judge; and what a killed server leaves."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import time
from pathlib import Path

import psutil
import pytest

from helpers import evaluations as shared
from helpers import task_layouts as layouts
from medix_verl.evaluation.models.server import ServerSpec, serving

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.long,
    pytest.mark.timeout(1500),
]
SERVE = "--max-model-len 2048 --dtype float32 --enforce-eager"
COUNT = 60


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for task in layouts.WRITERS:
        layouts.write(task, folder / task)
    return folder


def test_all_tasks_against_the_demos_policy(demo_folder: Path, sets: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    words = [
        "--tasks",
        "all,healthbench_hard,healthbench_consensus",
        "--sources",
        sets,
        "--out",
        out,
        "--max-tokens",
        96,
        "--connections",
        8,
    ]
    spec = ServerSpec(str(demo_folder / "judge"), 300.0, tuple(SERVE.split()))
    with serving(spec, tmp_path / "judge.log", lambda line: None) as url:
        asked = ["--judge", "openai", "--judge-url", url, "--judge-model", spec.model, "--prompt", "medix_short"]
        # The demo's judge writes YES and NO; the published protocol asks for JSON.
        asked += ["--protocol", "robust", "--rounds", 1]
        # What is graded from 0 to 5 is beyond it, and a task that lost so much would not be finished.
        asked += ["--max-unscored", 1]
        done = shared.evaluate(demo_folder / "policy", *words, *asked, f"--serve-args={SERVE}", limit_s=1000)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "eval.json").read_text())
    assert manifest["finished"] and len(manifest["done"]) == len(layouts.WRITERS)
    found = shared.records(out)
    for task, count in layouts.EXPECTED.items():
        assert len(found[f"{task}.jsonl"]) == count
        assert all(line["response"] for line in found[f"{task}.jsonl"]), task
    # What is graded from 0 to 5 is beyond that judge; it may stay unscored, and says so.
    status = {task: {line["status"] for line in found[f"{task}.jsonl"]} for task in layouts.EXPECTED}
    assert status["slake_vqa"] == status["medqa"] == {"scored"}
    ruled = shared.evaluate("rejudge", out, "--judge", "rule", "--out", tmp_path / "ruled")
    assert ruled.returncode == 0, ruled.stderr
    again = shared.records(tmp_path / "ruled")
    assert {line["judge"] for line in again["slake_vqa.jsonl"]} == {"rule"}
    assert [line["response"] for line in again["medqa.jsonl"]] == [line["response"] for line in found["medqa.jsonl"]]


@pytest.mark.parametrize(
    ("change", "flags", "printed"),
    [
        (("intermediate_size", 2), "", "RuntimeError"),  # the engine's worker fails, and then engine and server
        (("intermediate_size", 1), "--max-model-len 100000000", "max_model_len (100000000) is greater"),
    ],
)
def test_a_checkpoint_that_cannot_be_served_ends_the_wait(
    demo_folder: Path, tmp_path: Path, change: tuple[str, int], flags: str, printed: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(demo_folder / "policy", model)
    config = json.loads((model / "config.json").read_text())
    config["text_config"][change[0]] *= change[1]
    (model / "config.json").write_text(json.dumps(config))
    shared.medqa(tmp_path / "medqa", 4)
    words = [model, "--tasks", "medqa", "--sources", f"medqa={tmp_path / 'medqa'}", "--out", tmp_path / "eval"]
    done = shared.evaluate(*words, f"--serve-args={flags}", limit_s=500)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "the model's server" in last and printed in last and "server.log" in last


def test_samples_do_not_depend_on_how_prompts_are_split(demo_folder: Path, tmp_path: Path) -> None:
    """Each sample has its seed; with 64 tokens a step, vLLM computes a prompt in several steps and side by side."""
    shared.medqa(tmp_path / "medqa", 8)
    words = [demo_folder / "policy", "--tasks", "medqa", "--sources", f"medqa={tmp_path / 'medqa'}", "--max-tokens", 24]
    words += ["--prompt", "medix_short", "--temperature", 1, "--generations", 4]
    answers = {}
    for name, tokens, connections in (("split", 64, 16), ("whole", 2048, 1)):
        flags = f"--serve-args={SERVE} --max-num-batched-tokens {tokens}"
        done = shared.evaluate(*words, "--connections", connections, flags, "--out", tmp_path / name, limit_s=400)
        assert done.returncode == 0, done.stderr
        lines = shared.records(tmp_path / name)["medqa.jsonl"]
        answers[name] = {(line["id"], line.get("repeat", 1)): line["response"] for line in lines}
    assert len(answers["split"]) == 32 and len(set(answers["split"].values())) > 16
    same = sum(answers["whole"][key] == text for key, text in answers["split"].items())
    assert same >= 28, "float32 sums differ with the batch, so single samples may"


def test_its_server_is_killed_and_the_run_resumed(demo_folder: Path, tmp_path: Path) -> None:
    shared.medqa(tmp_path / "medqa", COUNT)
    words = [demo_folder / "policy", "--tasks", "medqa", "--sources", f"medqa={tmp_path / 'medqa'}", "--max-tokens", 96]
    words += ["--prompt", "medix_short", "--connections", 2, f"--serve-args={SERVE}", "--out"]
    whole = shared.evaluate(*words, tmp_path / "whole", limit_s=400)
    assert whole.returncode == 0, whole.stderr
    run = shared.begin(*words, tmp_path / "killed")
    until = time.monotonic() + 300
    while shared.kept(tmp_path / "killed") < COUNT // 4:
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    for process in psutil.Process(run.pid).children(recursive=True):
        # A child may have ended since it was listed.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "serve" in " ".join(process.cmdline()):
                process.kill()
    _, printed = run.communicate(timeout=120)
    assert run.returncode == 1 and "Traceback" not in printed, printed
    assert shared.evaluate(*words, tmp_path / "killed", "--resume", limit_s=400).returncode == 0
    assert shared.summary(tmp_path / "killed") == shared.summary(tmp_path / "whole")

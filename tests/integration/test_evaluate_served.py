# SPDX-License-Identifier: Apache-2.0
"""Every task, on small copies in their published layouts, answered by the demo's own policy that vLLM serves."""

from __future__ import annotations

import importlib.util
import json
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.long,
    pytest.mark.timeout(900),
]
HERE = Path(__file__).parent
shared = SimpleNamespace(**runpy.run_path(str(HERE / "evaluations.py")))
SERVE = "--max-model-len 2048 --dtype float32 --enforce-eager"


@pytest.mark.skipif(shutil.which("vllm", path=str(Path(sys.executable).parent)) is None, reason="vLLM is not installed")
def test_all_tasks_against_the_demos_policy(demo_folder: Path, tmp_path: Path) -> None:
    layouts = SimpleNamespace(**runpy.run_path(str(HERE.parent / "unit" / "evaluation" / "task_layouts.py")))
    for task in layouts.WRITERS:
        layouts.write(task, tmp_path / "sets" / task)
    out = tmp_path / "eval"
    words = ["--tasks", "all", "--sources", tmp_path / "sets", "--out", out, "--max-tokens", 96, "--connections", 8]
    with shared.serving() as judge:
        asked = [
            "--judge",
            "openai",
            "--judge-url",
            judge.url,
            "--judge-model",
            "mock-judge",
            "--prompt",
            "medix_short",
        ]
        done = shared.evaluate(demo_folder / "policy", *words, *asked, f"--serve-args={SERVE}", limit_s=600)
        assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "eval.json").read_text())
    assert manifest["finished"] and len(manifest["done"]) == len(layouts.WRITERS)
    found = shared.records(out)
    for task, count in layouts.EXPECTED.items():
        assert len(found[f"{task}.jsonl"]) == count
        assert all(line["response"] and line["status"] == "scored" for line in found[f"{task}.jsonl"]), task
    assert (out / "table.md").read_text().count("%") > len(layouts.WRITERS)

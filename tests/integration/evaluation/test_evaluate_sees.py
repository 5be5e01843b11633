# SPDX-License-Identifier: Apache-2.0
"""`medix-verl evaluate` with a judge that sees the pictures, with a panel, and judged again; mock servers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from helpers import evaluations as shared
from helpers import task_layouts as layouts

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(400),
]


def judged_by(*servers: Any) -> list[object]:
    names = ",".join(f"judge-{place}" for place in range(len(servers)))
    named = ["--judge", "openai", "--judge-url", ",".join(one.url for one in servers), "--judge-model", names]
    return [*named, "--protocol", "robust", "--rounds", 1, "--judge-images", "--judge-prompt", "pictures"]


def shown(server: Any) -> set[str]:
    return set(server.stats()["pictures"])


def test_the_judges_see_the_task_s_own_pictures_and_again_when_judging_anew(tmp_path: Path) -> None:
    layouts.write("slake_vqa", tmp_path / "slake")
    out, again, blank = (tmp_path / name for name in ("eval", "again", "blank"))
    words = ["--tasks", "slake_vqa", "--sources", f"slake_vqa={tmp_path / 'slake'}"]
    with shared.serving() as model, shared.serving("--verdict", "yes") as one, shared.serving() as two:
        done = shared.evaluate(model.url, *words, "--out", out, *judged_by(one, two))
        # The two never agree, so that nothing has a score; judging again with one gives scores.
        assert done.returncode == 1 and "2 of 2 questions have no score" in done.stderr, done.stderr
        assert "the votes are split" in done.stderr and "evaluate rejudge DIR" in done.stderr
        first = shown(one)
        # The pictures of the task, and the one of our own with which the judge is tried before the run.
        assert len(first) >= 2 and shown(two) == first
        facts = json.loads((out / "eval.json").read_text())["judge"]
        assert facts["images"] is True and facts["model"] == ["judge-0", "judge-1"] and facts["prompt"] == "pictures"
        with shared.serving("--verdict", "yes") as third:
            done = shared.evaluate("rejudge", out, "--out", again, *judged_by(third))
            assert done.returncode == 0, done.stderr
            assert shown(third) == first
        assert json.loads((again / "eval.json").read_text())["finished"]
        (lines,) = shared.records(again).values()
        assert all(line["status"] == "scored" for line in lines)
        # The model is shown a grey picture; the judge still sees the question's own.
        with shared.serving("--verdict", "yes") as fourth:
            done = shared.evaluate(model.url, *words, "--out", blank, "--images", "blank", *judged_by(fourth))
            assert done.returncode == 0, done.stderr
            assert shown(fourth) == first


def test_a_judge_of_texts_is_told_before_the_model_is_asked(tmp_path: Path) -> None:
    layouts.write("slake_vqa", tmp_path / "slake")
    words = ["--tasks", "slake_vqa", "--sources", f"slake_vqa={tmp_path / 'slake'}", "--out", tmp_path / "eval"]
    with shared.serving() as model, shared.serving("--pictures", "refuse") as judge:
        done = shared.evaluate(model.url, *words, *judged_by(judge))
        assert done.returncode == 1 and "refuses a question with a picture" in done.stderr
        assert "--judge-images" in done.stderr and model.stats()["requests"] == 0

# SPDX-License-Identifier: Apache-2.0
"""HealthBench from its file to the table: what model and grader are sent, and a score that is cut at the mean."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers import evaluations as shared
from helpers.json_server import JsonHandler, serving

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(400),
]

TURNS = [("user", "It hurts."), ("assistant", "Where?")]


@contextmanager
def recording() -> Iterator[tuple[str, list[list[dict[str, Any]]]]]:
    """A server that is model and grader, and what it was sent. A criterion is met as its text says."""
    seen: list[list[dict[str, Any]]] = []

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.send({"object": "list", "data": [{"id": "m", "object": "model"}]})

        def do_POST(self) -> None:
            body = self.body()
            seen.append(body["messages"])
            text = body["messages"][-1]["content"]
            said = "Go to hospital."
            if "Criterion:" in text:
                said = json.dumps({"explanation": "as it says", "criteria_met": "This HOLDS" in text})
            elif "Which organ is shown?" in text:  # the preflight, which wants a score that can be read
                said = json.dumps({"score": 0 if "spleen" in text else 1})
            message = {"role": "assistant", "content": said}
            self.send({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "model": "m"})

    with serving(Handler) as url:
        yield url, seen


def row(number: int, *points: tuple[int, bool]) -> dict[str, Any]:
    turns = [*TURNS, ("user", f"Here {number}.")]
    return {
        "prompt_id": f"p{number}",
        "prompt": [{"role": role, "content": text} for role, text in turns],
        "rubrics": [
            {"criterion": f"This {'HOLDS' if met else 'FAILS'}", "points": worth, "tags": ["axis:accuracy"]}
            for worth, met in points
        ],
        "example_tags": ["theme:hedging"],
        "ideal_completions_data": None,
    }


def test_healthbench_from_its_file_to_the_table(tmp_path: Path) -> None:
    rows = [row(n, (4, True), (-2, False)) if n < 6 else row(n, (4, False), (-2, True)) for n in range(12)]
    source = tmp_path / "set"
    source.mkdir()
    lines = "".join(json.dumps(item) + "\n" for item in rows)
    (source / "2025-05-07-06-14-12_oss_eval.jsonl").write_text(lines, encoding="utf-8")
    with recording() as (url, seen):
        judge = ("--judge", "openai", "--judge-url", url, "--judge-model", "m", "--protocol", "published")
        done = shared.evaluate(
            url, "--tasks", "healthbench", "--sources", f"healthbench={source}", "--out", tmp_path / "e", *judge
        )
    assert done.returncode == 0, done.stderr
    asked = [messages for messages in seen if len(messages) == 3]
    # The turns as they are, and no template around them.
    assert sorted(messages[2]["content"] for messages in asked) == sorted(f"Here {n}." for n in range(12))
    assert all([(turn["role"], turn["content"]) for turn in messages[:2]] == TURNS for messages in asked)
    graded = [messages[0]["content"] for messages in seen if "Criterion:" in messages[-1]["content"]]
    assert len(graded) == 24 and all("assistant: Where?" in text and "> Go to hospital." in text for text in graded)
    values = [line["value"] for line in shared.records(tmp_path / "e")["healthbench.jsonl"]]
    assert sorted(values) == [-0.5] * 6 + [1.0] * 6
    assert shared.summary(tmp_path / "e")["tasks"][0]["overall"]["estimate"]["value"] == 0.25
    table = (tmp_path / "e" / "table.md").read_text(encoding="utf-8")
    assert "| healthbench | 25.0% ~[" in table
    assert "healthbench, by theme:" in table and "| hedging | 25.0% ~[" in table
    assert "healthbench, by axis:" in table and "| accuracy | 25.0% ~[" in table

# SPDX-License-Identifier: Apache-2.0
"""A task of one's own from its file to its report, with solved examples before its questions; a mock server."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from helpers import evaluations as shared
from helpers.json_server import JsonHandler, serving
from medix_verl import evaluate
from medix_verl.cli.main import main
from medix_verl.evaluation.assemble import TaskChoices

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(300),
]


@contextmanager
def recorder() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers `A` to everything, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.send({"data": [{"id": "m", "root": "org/m"}]})

        def do_POST(self) -> None:
            asked.append(self.body())
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A"}}
            self.send({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})

    with serving(Handler) as url:
        yield url, asked


def write(folder: Path, **keys: object) -> Path:
    """A file of one task: six questions with pictures, four solved ones."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["Frage,answer,options,image,split"]
    for number in range(10):
        picture = Image.new("RGB", (64, 64), (number * 20, 40, 200))
        picture.paste((255, 255, 255), (number * 5, number * 3, number * 5 + 12, number * 3 + 20))
        picture.save(folder / f"{number}.png")
        right = "nodule" if number % 2 else "cyst"
        split = "test" if number < 6 else "train"
        lines.append(f"What is marked in film {number}?,{right},cyst|nodule,{number}.png,{split}")
    (folder / "films.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "films.yaml"
    text = {"source": "films.csv", "columns": {"question": "Frage"}, "prompt": "published", "size": 6, **keys}
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    return path


def test_a_file_becomes_a_figure_and_a_page(tmp_path: Path) -> None:
    path, out = write(tmp_path / "lab"), tmp_path / "eval"
    with recorder() as (url, asked):
        done = shared.evaluate("run", url, "--tasks", path, "--few-shot", "2", "--out", out)
        assert done.returncode == 0, done.stderr
        assert "films: 6 questions\n" in done.stderr  # and no deviation
        again = shared.evaluate("run", url, "--tasks", path, "--few-shot", "2", "--out", out, "--resume")
        assert again.returncode == 0 and "1 of 1 tasks are done already" in again.stderr, again.stderr
        for other, messages in (
            (["--few-shot", "3"], "settings.few_shot 2, now it is 3"),
            ([], "settings.few_shot 2, now it is None"),
        ):
            changed = shared.evaluate("run", url, "--tasks", path, *other, "--out", out, "--resume")
            assert changed.returncode == 1 and messages in changed.stderr
        write(tmp_path / "lab", grading="report05")
        changed = shared.evaluate("run", url, "--tasks", path, "--few-shot", "2", "--out", out, "--resume")
        assert (
            changed.returncode == 1
            and "own.films.answer_types ['open', 'closed'], now it is ['report']" in changed.stderr
        )
    assert len(asked) == 6
    for body in asked:
        roles = [turn["role"] for turn in body["messages"]]
        assert roles == ["user", "assistant"] * 2 + ["user"]
        texts = [turn["content"][-1]["text"] for turn in body["messages"] if turn["role"] == "user"]
        assert all("Choices:\nA. cyst\nB. nodule" in text for text in texts)
        assert {turn["content"] for turn in body["messages"] if turn["role"] == "assistant"} <= {"A. cyst", "B. nodule"}
        shown = [turn["content"][0]["image_url"]["url"] for turn in body["messages"] if turn["role"] == "user"]
        assert len(set(shown)) == 3
    assert len({json.dumps(body["messages"][:4]) for body in asked}) == 1  # the same examples before each question

    path.unlink()  # what follows stands on the evaluation alone
    (tmp_path / "lab" / "films.csv").unlink()
    judged = shared.evaluate("rejudge", out, "--judge", "rule", "--out", tmp_path / "again")
    assert judged.returncode == 0, judged.stderr
    assert [item["value"] for item in shared.records(tmp_path / "again")["films.jsonl"]].count(1.0) == 3
    paired = shared.evaluate("compare", out, tmp_path / "again")
    assert paired.returncode == 0 and "films" in paired.stdout


def test_from_python(tmp_path: Path) -> None:
    path, messages = write(tmp_path / "lab"), list[str]()
    with recorder() as (url, asked):
        choices = TaskChoices(limit=4, few_shot=1)
        found = evaluate(url, path.as_posix(), tmp_path / "eval", choices=choices, say=messages.append)
    assert found.finished and len(found.tasks()["films"]) == 4 and len(asked) == 4
    assert "| films |" in found.table() and messages[-1].startswith("films: 4 scored")


def test_a_credentialed_task_of_ones_own_asks_nobody_remote(tmp_path: Path) -> None:
    path = write(tmp_path / "lab", credentialed=True)
    done = shared.evaluate("run", "http://192.0.2.7/v1", "--model-name", "m", "--tasks", path, "--out", tmp_path / "e")
    assert done.returncode == 1 and "is not local" in done.stderr and "films holds credentialed data" in done.stderr


def test_a_source_that_cannot_be_read_leaves_no_folder(tmp_path: Path) -> None:
    """And so the second try, of the right file, is not refused; the same where the model is not there."""
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    with recorder() as (url, asked):
        command = ["evaluate", "run", url, "--tasks", "medqa", "--sources", f"medqa={tmp_path / 'empty'}"]
        assert main([*command, "--out", str(out)]) == 1
        assert not out.exists() and not [one for one in asked if "messages" in one and "medqa" in json.dumps(one)]
    assert main(["evaluate", "run", "http://127.0.0.1:9/v1", *command[3:], "--out", str(out)]) == 1
    assert not out.exists()

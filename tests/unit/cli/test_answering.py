# SPDX-License-Identifier: Apache-2.0
"""Answers of a served model: in order, asked as in training, and all of them or none."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from medix_verl.cli.evaluate import answering
from medix_verl.cli.evaluate.answering import AnsweringSpec, answer_file, ask_all, line_of
from medix_verl.cli.scoring.score_input import read_lines
from medix_verl.data.prompts import render_prompt
from medix_verl.errors import DataError, SetupError
from medix_verl.thinking import Thinking
from medix_verl.types import ImageRef, Sample


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 10)).save(stream, "PNG")
    return stream.getvalue()


SAMPLES = [
    Sample("one", "s", "What is it?", "red", "CT_SCAN", (ImageRef(bytes=picture()),)),
    Sample("two", "s", "Which?", "B", options=("x", "y"), meta={"synonyms": ["beta"], "tolerance": 0.1}),
]


def ask(tmp_path: Path, reply: Callable[[dict[str, Any]], web.Response]) -> tuple[list[str], list[dict[str, Any]]]:
    """Ask SAMPLES of a server that replies so; the texts and what the server was sent."""
    bodies: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return reply(bodies[-1])

    async def talk() -> list[str]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        spec = AnsweringSpec(Path("model"), tmp_path / "q.parquet", tmp_path / "a.jsonl", "medix_short", connections=2)
        try:
            return await ask_all(f"http://127.0.0.1:{port}/v1", SAMPLES, spec, Path("the.log"))
        finally:
            await runner.cleanup()

    return asyncio.run(talk()), bodies


def says(text: str | None) -> web.Response:
    return web.json_response({"choices": [{"message": {"content": text}}]})


def test_answers_come_in_the_order_of_the_questions(tmp_path: Path) -> None:
    texts, bodies = ask(tmp_path, lambda body: says(body["messages"][0]["content"][-1]["text"][:200]))
    assert texts == [render_prompt(sample, "medix_short")[:200] for sample in SAMPLES]
    with_picture = next(body for body in bodies if len(body["messages"][0]["content"]) == 2)
    assert with_picture["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert {body["temperature"] for body in bodies} == {0}


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    assert ask(tmp_path, lambda body: says(None))[0] == ["", ""]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda body: web.Response(status=500, text="out of\nmemory"), r"\(HTTP 500: out of memory\); see the.log"),
        (lambda body: web.Response(text="no json"), "JSONDecodeError"),
        (lambda body: web.json_response({"choices": []}), "IndexError"),
    ],
)
def test_a_question_without_an_answer_ends_the_work(
    tmp_path: Path, reply: Callable[[dict[str, Any]], web.Response], message: str
) -> None:
    with pytest.raises(SetupError, match="got no answer from the model's server .*" + message):
        ask(tmp_path, reply)


def test_score_reads_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(line_of(sample, "an \ud800 answer") for sample in SAMPLES))
    first, second = read_lines(path)
    assert (first.id, first.response, first.reference.modality) == ("one", "an \ud800 answer", "CT_SCAN")
    assert (second.reference.options, second.reference.synonyms) == (("x", "y"), ("beta",))
    assert second.reference.tolerance == 0.1
    assert json.loads(path.read_text().splitlines()[0])["question"] == "What is it?"


def test_a_line_says_what_the_models_template_says_of_the_thinking(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line_of(SAMPLES[0], "a", Thinking.OPEN) + line_of(SAMPLES[1], "a"))
    assert [line.thinking for line in read_lines(path)] == [Thinking.OPEN, None]


def test_a_file_without_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "read_samples", lambda path: iter(()))
    with pytest.raises(DataError, match="has no rows"):
        answer_file(AnsweringSpec(tmp_path, tmp_path / "q.parquet", tmp_path / "a.jsonl"), tmp_path / "log")


def test_a_line_says_that_its_row_is_credentialed() -> None:
    rows = [Sample("a", "own/x", "What?", "red", meta={"credentialed": True}), Sample("b", "mimic-cxr", "What?", "red")]
    assert [json.loads(line_of(row, "red"))["credentialed"] for row in rows] == [True, True]
    assert "credentialed" not in json.loads(line_of(SAMPLES[0], "red"))

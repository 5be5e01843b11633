# SPDX-License-Identifier: Apache-2.0
"""An evaluation says what it did not do: refusals of the server, tasks that are missing, rows that were refused."""

from __future__ import annotations

import importlib.util
import json
import logging
import runpy
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(300),
]
shared = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("evaluations.py"))))
evaluate, medqa, records, serving = shared.evaluate, shared.medqa, shared.records, shared.serving
COUNT = 6
ANSWER = {"choices": [{"message": {"content": "<think>t</think> <answer>drug 0</answer>"}, "finish_reason": "stop"}]}


@contextmanager
def refusing(status: int, only: str = "", listed: bytes = b"") -> Iterator[SimpleNamespace]:
    """A server that answers questions with `only` in them with a status, and others; it lists models where it can."""
    seen = SimpleNamespace(asked=0, url="")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send(200 if listed else 404, listed)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.asked += 1
            if only.encode() in body:
                self.send(status, b'{"error": {"message": "refused for a test"}}')
            else:
                self.send(200, json.dumps(ANSWER).encode())

        def send(self, code: int, raw: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return medqa(tmp_path_factory.mktemp("medqa"), COUNT)


def flags(source: Path, out: Path, *more: object) -> list[object]:
    return ["--tasks", "medqa", "--sources", f"medqa={source}", "--out", out, "--connections", 2, *more]


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "eval.json").read_text())


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_of_everything_ends_the_run_at_once(source: Path, tmp_path: Path, status: int) -> None:
    out = tmp_path / "eval"
    with refusing(status) as server:
        done = evaluate(server.url, *flags(source, out, "--model-name", "wrong"))
        assert server.asked <= 4
    assert done.returncode == 1 and "Traceback" not in done.stderr
    told = done.stderr.splitlines()[-1]
    assert f"HTTP {status}" in told and "--model-name" in told and "--api-key-env" in told and "--resume" in told
    assert not manifest(out)["finished"] and "HTTP" in manifest(out)["failed"]["medqa"]
    assert "Not finished" in (out / "table.md").read_text()


def test_the_cause_mended_the_run_goes_on(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with refusing(403) as server:
        assert evaluate(server.url, *flags(source, out, "--model-name", "m")).returncode == 1
    with refusing(403, only="no question has this") as server:
        assert evaluate(server.url, *flags(source, out, "--model-name", "m", "--resume")).returncode == 0
        assert server.asked == COUNT
    assert manifest(out)["finished"] and manifest(out)["failed"] == {}


def test_one_question_that_is_refused_is_an_error_and_the_others_go_on(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with refusing(400, only="patient 3?") as server:
        done = evaluate(server.url, *flags(source, out, "--model-name", "m"))
    assert done.returncode == 0, done.stderr
    assert f"medqa: {COUNT - 1} scored, 1 error" in done.stderr
    (lost,) = [line for line in records(out)["medqa.jsonl"] if line["status"] == "error"]
    assert "refused for a test" in lost["reason"] and manifest(out)["finished"]


def test_a_task_of_which_every_question_is_refused_has_failed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with refusing(422) as server:
        done = evaluate(server.url, *flags(source, out, "--model-name", "m"))
        assert server.asked == COUNT
    assert (
        done.returncode == 1 and "1 of 1 tasks have no figure, the first medqa: no question was answered" in done.stderr
    )
    assert "HTTP 422" in done.stderr and not manifest(out)["finished"]


def test_a_name_that_is_not_listed_is_told_before_anything_is_asked(source: Path, tmp_path: Path) -> None:
    with refusing(404, listed=b'{"data": [{"id": "org/right"}]}') as server:
        done = evaluate(server.url, *flags(source, tmp_path / "eval", "--model-name", "org/rigth"))
        assert server.asked == 0
    assert done.returncode == 1 and "did you mean --model-name org/right?" in done.stderr


def test_a_subset_does_not_finish_the_evaluation(source: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "eval", tmp_path / "again"
    gone = tmp_path / "gone"
    gone.mkdir()
    sources = ["--sources", f"medqa={source}", f"pubmedqa={gone}", "--out", out]
    with serving() as model:
        both = evaluate(model.url, "--tasks", "medqa", "pubmedqa", *sources)
        assert both.returncode == 1 and "1 of 2 tasks have no figure, the first pubmedqa" in both.stderr
        part = evaluate(model.url, "--tasks", "medqa", *sources, "--resume")
    assert part.returncode == 0 and "not finished: pubmedqa of earlier runs" in part.stderr
    assert not manifest(out)["finished"] and "pubmedqa" in manifest(out)["failed"]
    assert "Not finished" in part.stdout and "pubmedqa: " in part.stdout
    judged = evaluate("rejudge", out, "--judge", "rule", "--out", again)
    assert judged.returncode == 1 and "the first pubmedqa" in judged.stderr
    assert not manifest(again)["finished"] and manifest(again)["done"]["medqa"]["scored"] == COUNT


def test_rows_that_were_refused_are_counted(tmp_path: Path) -> None:
    source, out = medqa(tmp_path / "medqa", COUNT), tmp_path / "eval"
    lines = (source / "test.json").read_text().splitlines()
    (source / "test.json").write_text(
        "\n".join([*lines, json.dumps({**json.loads(lines[0]), "id": "odd", "label": 9})])
    )
    with serving() as model:
        done = evaluate(model.url, *flags(source, out))
    assert done.returncode == 0, done.stderr
    (refused,) = manifest(out)["done"]["medqa"]["refused"].items()
    assert refused[1] == 1 and f"; 1 rows of its source refused (1 {refused[0]})" in done.stderr
    assert "| refused |" in done.stdout and f"| {COUNT} | 0 | 0 | 1 |" in done.stdout
    assert shared.summary(out)["tasks"][0]["refused"] == dict([refused])
    assert evaluate("rejudge", out, "--judge", "rule", "--out", tmp_path / "again").returncode == 0
    assert manifest(tmp_path / "again")["done"]["medqa"]["refused"] == dict([refused])


def test_two_rejudgings_into_one_folder_are_refused(source: Path, tmp_path: Path) -> None:
    from medix_verl.evaluation.manifest import held

    with serving() as model:
        assert evaluate(model.url, *flags(source, tmp_path / "eval")).returncode == 0
    with held(tmp_path / "again"):
        done = evaluate("rejudge", tmp_path / "eval", "--judge", "rule", "--out", tmp_path / "again")
    assert done.returncode == 1 and "another process is evaluating into" in done.stderr


def test_a_server_that_is_started_finds_models_and_login_where_they_were(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medix_verl.evaluation.model_source import Model
    from medix_verl.evaluation.suite import SuiteSpec, run_suite
    from medix_verl.evaluation.tasks import find

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    for name in ("HF_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    seen = tmp_path / "seen.json"
    program = (
        f"import json, os; open({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)));"
        "from medix_verl.evaluation.mock_model import main; main(['--port', '{port}'])"
    )
    model = Model("any", load_limit_s=60.0, command=(sys.executable, "-c", program))
    level = logging.getLogger().level
    run_suite(SuiteSpec(model, (find("medqa"),), tmp_path / "eval", sources={"medqa": source}), lambda line: None)
    assert logging.getLogger().level == level, "the caller's own warnings are silenced"
    given = json.loads(seen.read_text())
    assert given["XDG_CACHE_HOME"] == str(tmp_path / "mine") and "XDG_DATA_HOME" not in given
    assert (tmp_path / "eval" / "library" / "data").is_dir()
